//! The inventory file: what is parsed is what the JSON contains, and parsing what was written gives the same.

use super::now;
use iam_key_exporter::model::{AccessKey, AccessKeyId, DetailsResult, KeysResult, LastUsed, Timestamp, count_active};
use iam_key_exporter::source::inventory_file::{Inventory, parse};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// The property of this file.
pub fn holds(data: &[u8]) {
    let modified = Timestamp::UNIX_EPOCH;
    let inventory = match parse(data, modified, now()) {
        Ok(inventory) => sorted(inventory),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let value: Value = serde_json::from_slice(data).expect("an inventory is JSON");
    compare(&inventory, &value);
    let written = write(&inventory).to_string();
    let again = parse(written.as_bytes(), modified, now()).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(sorted(again), inventory, "written back as {written}");
}

/// The details of users are in any order.
fn sorted(mut inventory: Inventory) -> Inventory {
    if let DetailsResult::Complete { users, .. } = &mut inventory.details {
        users.sort_by(|a, b| a.0.cmp(&b.0));
    }
    inventory
}

fn compare(inventory: &Inventory, value: &Value) {
    let entries = value["users"].as_array().expect("a list of users");
    let users = inventory.listing.users();
    assert_eq!(users.len(), entries.len(), "every entry is a user");
    assert!(inventory.listing.at() <= now());
    let by_name: BTreeMap<&str, &Value> = entries.iter().map(|e| (e["name"].as_str().unwrap_or_default(), e)).collect();
    let mut names = HashSet::new();
    for user in users {
        assert!(names.insert(user.name.folded()), "{:?} occurs twice", user.name);
        assert!(user.path.starts_with('/') && user.path.ends_with('/'), "{:?}", user.path);
        assert!(user.observed_at <= now());
        let entry = by_name.get(user.name.as_str()).expect("a user has an entry");
        match (&user.keys, entry["access_keys"].as_array()) {
            (KeysResult::Failed(_), None) => {}
            (KeysResult::Complete(keys), Some(written)) => {
                let active: Vec<&Value> = written.iter().filter(|key| key["status"] == "active").collect();
                let ids: HashSet<&str> = active.iter().filter_map(|key| key["id"].as_str()).collect();
                let unnamed = active.iter().filter(|key| key["id"].is_null()).count();
                let counted = count_active(keys);
                // A key that is listed twice counts once, at least if both have the same date.
                assert!((ids.len() + unnamed..=active.len()).contains(&counted), "{counted} of {written:?}");
            }
            (keys, written) => panic!("{keys:?} is not {written:?}"),
        }
    }
}

fn write(inventory: &Inventory) -> Value {
    let DetailsResult::Complete { scope, users: details } = &inventory.details else {
        panic!("a file has the details")
    };
    let details: BTreeMap<_, _> = details.iter().map(|(name, details)| (name.clone(), details)).collect();
    let user = |user: &iam_key_exporter::model::ListedUser| {
        let own = details.get(&user.name);
        let mut entry = json!({
            "name": user.name.as_str(),
            "path": &*user.path,
            "observed_at": user.observed_at.to_string(),
            "tags": own.map(|d| d.tags.iter().map(|t| (t.key.to_string(), t.value.to_string())).collect::<BTreeMap<_, _>>())
                .unwrap_or_default(),
            "access_keys": match &user.keys {
                KeysResult::Complete(keys) | KeysResult::Partial(keys) => keys.iter().map(key).collect(),
                KeysResult::Failed(_) => Value::Null,
            },
        });
        if let Some(created) = user.created {
            entry["created"] = created.to_string().into();
        }
        let groups: Vec<&str> = own.map(|d| d.groups.iter().map(|group| &**group).collect()).unwrap_or_default();
        if scope.groups || !groups.is_empty() {
            entry["groups"] = groups.into();
        }
        entry
    };
    let account = &inventory.account;
    let mut file = json!({
        "version": 1,
        "account": { "id": account.id.as_str(), "name": account.name, "partition": account.partition.as_str() },
        "generated_at": inventory.listing.at().to_string(),
        "users": inventory.listing.users().iter().map(user).collect::<Vec<_>>(),
    });
    if let Some(keys) = inventory.root_active_keys {
        file["root"] = json!({ "active_access_keys": keys });
    }
    file
}

fn key(key: &AccessKey) -> Value {
    json!({
        "id": key.id.as_ref().map(AccessKeyId::as_str),
        "status": key.status.as_str(),
        "created": key.created().map(|at| at.to_string()),
        "last_used": match key.last_used() {
            LastUsed::Unknown => Value::Null,
            LastUsed::Never => "never".into(),
            LastUsed::At(at) => at.to_string().into(),
        },
    })
}
