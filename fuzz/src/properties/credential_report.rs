//! The credential report: what is parsed is what the cells contain, and a damaged cell or a cut never makes keys disappear.

use super::{cuts, now};
use csv::{ReaderBuilder, StringRecord, WriterBuilder};
use iam_key_exporter::model::{AccessKey, Collector, KeysResult, LastUsed, ListedUser, count_active};
use iam_key_exporter::source::credential_report::{CredentialReport, parse};
use std::collections::HashMap;

/// The property of this report.
pub fn holds(data: &[u8]) {
    let report = match parse(data, now(), Collector::Report) {
        Ok(report) => report,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    compare_with_cells(data, &report);
    let text = write(&report);
    assert_eq!(parse(text.as_bytes(), now(), Collector::Report).as_ref(), Ok(&report), "written back as {text}");
    for end in cuts(data.len()) {
        cut_off(&report, &data[..end]);
    }
}

/// Every row is a user with as many active keys as it has columns that are true.
fn compare_with_cells(data: &[u8], report: &CredentialReport) {
    let text = std::str::from_utf8(data).expect("a report is UTF-8").trim_start_matches('\u{feff}');
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().expect("a header").iter().map(|name| name.trim().to_owned()).collect();
    let columns: Vec<usize> =
        (1..).map_while(|key| header.iter().position(|name| *name == format!("access_key_{key}_active"))).collect();
    let user = header.iter().position(|name| name == "user").expect("a column of the user");
    let rows: Vec<StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let by_name: HashMap<&str, &ListedUser> =
        report.listing.users().iter().map(|user| (user.name.as_str(), user)).collect();
    let roots = rows.iter().filter(|row| &row[user] == "<root_account>").count();
    assert_eq!(by_name.len() + roots, rows.len(), "every row is a user of its own");
    assert_eq!(report.root_active_keys.is_some(), roots == 1);
    // A row that is longer has commas in its name.
    for row in rows.iter().filter(|row| row.len() == header.len()) {
        let active = columns.iter().filter(|column| is_true(&row[**column])).count();
        match by_name.get(&row[user]) {
            Some(user) => assert_eq!(count_active(keys(user)), active, "{row:?}"),
            None => assert_eq!(report.root_active_keys, u32::try_from(active).ok(), "{row:?}"),
        }
    }
}

/// Whether the cell is true; a cell that is neither true nor false is not in a report that was parsed.
fn is_true(cell: &str) -> bool {
    match cell.trim().to_ascii_lowercase().as_str() {
        "true" => true,
        "false" => false,
        _ => panic!("{cell:?} was taken for a Boolean value"),
    }
}

fn keys(user: &ListedUser) -> &[AccessKey] {
    match &user.keys {
        KeysResult::Complete(keys) | KeysResult::Partial(keys) => keys,
        KeysResult::Failed(reason) => panic!("a report has no reason to fail for one user: {reason}"),
    }
}

/// The beginning of a report is refused, or has users of the whole one with the same keys.
fn cut_off(whole: &CredentialReport, beginning: &[u8]) {
    let Ok(part) = parse(beginning, now(), Collector::Report) else { return };
    let users: HashMap<&str, &ListedUser> = whole.listing.users().iter().map(|u| (u.name.as_str(), u)).collect();
    for user in part.listing.users() {
        let known = users.get(user.name.as_str()).unwrap_or_else(|| panic!("{:?} is no user", user.name));
        assert_eq!(count_active(keys(user)), count_active(keys(known)), "{:?}", user.name);
        assert_eq!(keys(user).len(), keys(known).len(), "{:?}", user.name);
    }
    assert!(part.root_active_keys.is_none() || part.root_active_keys == whole.root_active_keys);
}

/// The report as AWS would write it.
fn write(report: &CredentialReport) -> String {
    let root = report.root_active_keys.unwrap_or_default() as usize;
    let most = report.listing.users().iter().map(|user| keys(user).len()).max().unwrap_or_default().max(root).max(2);
    let mut header = vec!["user".to_owned(), "arn".into(), "user_creation_time".into()];
    for key in 1..=most {
        header.extend(["active", "last_rotated", "last_used_date"].map(|what| format!("access_key_{key}_{what}")));
    }
    header.push("additional_credentials_info".into());
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    let mut row = |cells: Vec<String>| writer.write_record(cells).expect("memory takes it");
    row(header);
    let absent = || "N/A".to_owned();
    let key_cells = |key: Option<&AccessKey>| match key {
        None => ["false".to_owned(), absent(), absent()],
        Some(key) => [
            key.is_active().to_string(),
            key.created().map_or_else(absent, |at| at.to_string()),
            match key.last_used() {
                LastUsed::Unknown => "no_information".into(),
                LastUsed::Never => absent(),
                LastUsed::At(at) => at.to_string(),
            },
        ],
    };
    if let Some(active) = report.root_active_keys {
        let mut cells = vec!["<root_account>".to_owned(), report.account.root_arn(), absent()];
        for key in 0..most {
            cells.extend([((key as u32) < active).to_string(), absent(), absent()]);
        }
        row([cells, vec![absent()]].concat());
    }
    for user in report.listing.users() {
        let arn = format!("arn:{}:iam::{}:user{}{}", report.account.partition, report.account.id, user.path, user.name);
        let mut cells = vec![user.name.to_string(), arn, user.created.map_or_else(absent, |at| at.to_string())];
        for key in 0..most {
            cells.extend(key_cells(keys(user).get(key)));
        }
        let more = if matches!(user.keys, KeysResult::Partial(_)) { "1 more access key".into() } else { absent() };
        row([cells, vec![more]].concat());
    }
    String::from_utf8(writer.into_inner().expect("memory takes it")).expect("text is UTF-8")
}
