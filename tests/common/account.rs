//! Generated accounts, in every input format of the exporter: AWS's responses, a credential report, an inventory.
//! Dates are relative to now, so that the verdicts do not depend on the date of the test run.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct Account {
    pub id: String,
    pub partition: String,
    /// The account alias.
    pub alias: Option<String>,
    /// Active keys of root.
    pub root_keys: u32,
    pub users: Vec<User>,
}

#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    pub path: String,
    pub tags: Vec<(String, String)>,
    /// Names of the IAM groups that the user is in.
    pub groups: Vec<String>,
    pub keys: Vec<Key>,
    /// Text of the report's column of that name; the column is present if a user has one.
    pub additional_credentials_info: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Key {
    pub id: String,
    pub active: bool,
    pub created: Timestamp,
    pub last_used: Option<Timestamp>,
}

/// Now, in whole seconds as AWS writes dates.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("now is a date")
}

pub fn days_ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * days)
}

/// When every user was created: the same date in each answer.
pub fn users_created() -> Timestamp {
    let day = 86_400;
    Timestamp::from_second(days_ago(500).as_second() / day * day).expect("it is a date")
}

impl Key {
    /// An active key of this age that was used yesterday.
    pub fn active(days: i64) -> Key {
        Key { id: String::new(), active: true, created: days_ago(days), last_used: Some(days_ago(days.min(1))) }
    }

    pub fn inactive(days: i64) -> Key {
        Key { active: false, ..Key::active(days) }
    }

    #[must_use]
    pub fn used(self, last_used: Option<Timestamp>) -> Key {
        Key { last_used, ..self }
    }
}

impl User {
    pub fn new(name: &str, keys: impl IntoIterator<Item = Key>) -> User {
        // Every key has an ID of its own, as long as AWS's are.
        let id = |i: usize| format!("AKIA{:016X}", i as u64 ^ checksum(name) << 4);
        let keys = keys.into_iter().enumerate().map(|(i, key)| Key { id: id(i), ..key }).collect();
        User {
            name: name.into(),
            path: "/".into(),
            tags: vec![],
            groups: vec![],
            keys,
            additional_credentials_info: None,
        }
    }

    #[must_use]
    pub fn path(self, path: &str) -> User {
        User { path: path.into(), ..self }
    }

    #[must_use]
    pub fn tag(mut self, key: &str, value: &str) -> User {
        self.tags.push((key.into(), value.into()));
        self
    }

    #[must_use]
    pub fn group(mut self, name: &str) -> User {
        self.groups.push(name.into());
        self
    }
}

fn checksum(text: &str) -> u64 {
    text.bytes().fold(7, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()) & 0xff_ffff_ffff)
}

impl Account {
    pub fn new(users: impl IntoIterator<Item = User>) -> Account {
        let mut users: Vec<User> = users.into_iter().collect();
        users.sort_by_key(|u| u.name.to_lowercase());
        Account { id: "123456789012".into(), partition: "aws".into(), alias: None, root_keys: 0, users }
    }

    /// Users that are easy to handle incorrectly: `bob` and `bobby`, a comma, inactive keys, paths.
    /// In violation of the policy: `bob` (for 20 days) and `team.lead` (for 3 days).
    pub fn example() -> Account {
        Account::new([
            User::new("alice", [Key::active(12)]),
            User::new("a,b", [Key::active(30), Key::inactive(60)]),
            User::new("bob", [Key::active(50), Key::active(20)]),
            User::new("bobby", []),
            User::new("dave", [Key::inactive(80), Key::inactive(70)]),
            User::new("Erin", [Key::inactive(40), Key::active(5)]),
            User::new("team.lead", [Key::active(3), Key::active(9)]).path("/team/platform/"),
        ])
    }

    /// As many users with one key each.
    pub fn of_size(users: usize) -> Account {
        Account::new((0..users).map(|i| User::new(&format!("user-{i:04}"), [Key::active(10)])))
    }

    #[must_use]
    pub fn root_keys(self, root_keys: u32) -> Account {
        Account { root_keys, ..self }
    }

    pub fn arn(&self, user: &User) -> String {
        format!("arn:{}:iam::{}:user{}{}", self.partition, self.id, user.path, user.name)
    }

    pub fn user(&mut self, name: &str) -> &mut User {
        self.users.iter_mut().find(|u| u.name == name).unwrap_or_else(|| panic!("no user {name}"))
    }

    pub fn remove(&mut self, name: &str) {
        self.users.retain(|u| u.name != name);
    }

    /// CSV in the format of AWS: the root user first, no newline at the end.
    pub fn credential_report(&self) -> String {
        let additional = self.users.iter().any(|u| u.additional_credentials_info.is_some());
        let mut header = String::from(
            "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
             password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,\
             access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,\
             access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,access_key_2_last_used_region,\
             access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated",
        );
        if additional {
            header.push_str(",additional_credentials_info");
        }
        let root_arn = format!("arn:{}:iam::{}:root", self.partition, self.id);
        let root_keys: Vec<Key> = (0..self.root_keys).map(|_| Key::active(400)).collect();
        let mut lines = vec![header, report_row("<root_account>", &root_arn, &root_keys)];
        lines.extend(self.users.iter().map(|u| report_row(&u.name, &self.arn(u), &u.keys)));
        if additional {
            let infos = self.users.iter().map(|u| u.additional_credentials_info.as_deref().unwrap_or("N/A"));
            for (line, info) in lines[1..].iter_mut().zip(std::iter::once("N/A").chain(infos)) {
                line.push_str(&format!(",{info}"));
            }
        }
        lines.join("\n")
    }

    /// The exporter's own JSON.
    pub fn inventory(&self) -> Value {
        json!({
            "version": 1,
            "account": { "id": self.id, "partition": self.partition },
            "root": { "active_access_keys": self.root_keys },
            "users": self.users.iter().map(|u| json!({
                "name": u.name,
                "path": u.path,
                "groups": u.groups,
                "tags": u.tags.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "access_keys": u.keys.iter().map(|k| json!({
                    "id": k.id,
                    "status": if k.active { "active" } else { "inactive" },
                    "created": k.created.to_string(),
                    "last_used": k.last_used.map_or("never".to_owned(), |t| t.to_string()),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }
}

fn report_row(name: &str, arn: &str, keys: &[Key]) -> String {
    let date = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    let quoted = |text: &str| if text.contains(',') { format!("\"{text}\"") } else { text.to_owned() };
    let mut cells = vec![quoted(name), quoted(arn), date(users_created())];
    cells.extend(["false", "N/A", "N/A", "N/A", "false"].map(String::from));
    for index in 0..2 {
        match keys.get(index) {
            None => cells.extend(["false", "N/A", "N/A", "N/A", "N/A"].map(String::from)),
            Some(key) => {
                cells.extend([key.active.to_string(), date(key.created)]);
                match key.last_used {
                    Some(at) => cells.extend([date(at), "us-east-1".into(), "s3".into()]),
                    None => cells.extend(["N/A", "N/A", "N/A"].map(String::from)),
                }
            }
        }
    }
    cells.extend(["false", "N/A", "false", "N/A"].map(String::from));
    cells.join(",")
}
