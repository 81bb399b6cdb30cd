use super::*;
use proptest::prelude::*;

/// What the tests ask of a report.
trait Inspect {
    fn user(&self, name: &str) -> Option<&ListedUser>;
}

impl Inspect for CredentialReport {
    fn user(&self, name: &str) -> Option<&ListedUser> {
        self.listing.users().iter().find(|u| u.name.as_str() == name)
    }
}

fn keys(user: &ListedUser) -> &[AccessKey] {
    match &user.keys {
        KeysResult::Complete(keys) | KeysResult::Partial(keys) => keys,
        KeysResult::Failed(reason) => panic!("{reason}"),
    }
}

fn active_keys(user: &ListedUser) -> usize {
    count_active(keys(user))
}

const HEADER: &str = "user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,\
    password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,\
    access_key_1_last_used_region,access_key_1_last_used_service,access_key_2_active,access_key_2_last_rotated,\
    access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,\
    cert_1_last_rotated,cert_2_active,cert_2_last_rotated";
const ROOT_ROW: &str = "<root_account>,arn:aws:iam::123456789012:root,2019-01-01T00:00:00+00:00,not_supported,\
    2026-01-01T00:00:00+00:00,not_supported,not_supported,true,false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,\
    false,N/A";
const NONE: &str = "false,N/A,N/A,N/A,N/A";
const ACTIVE: &str = "true,2026-01-01T00:00:00+00:00,2026-05-01T08:15:00Z,eu-west-1,s3";
const UNUSED: &str = "TRUE,2026-02-01T00:00:00Z,N/A,N/A,N/A";
const INACTIVE: &str = "FALSE,2025-02-01T00:00:00+00:00,no_information,N/A,N/A";

fn row(user: &str, key_1: &str, key_2: &str) -> String {
    let name = user.trim_matches('"');
    let quoted = if user.starts_with('"') { "\"" } else { "" };
    format!(
        "{user},{quoted}arn:aws:iam::123456789012:user/{name}{quoted},2025-01-01T00:00:00+00:00,false,N/A,N/A,N/A,false,{key_1},{key_2},false,N/A,false,N/A"
    )
}

fn report(rows: &[String]) -> String {
    let mut lines = vec![HEADER.to_owned(), ROOT_ROW.to_owned()];
    lines.extend_from_slice(rows);
    lines.join("\n")
}

fn parsed(text: &str) -> Result<CredentialReport, ReportError> {
    parse(text.as_bytes(), Timestamp::UNIX_EPOCH, Collector::Report)
}

fn error(text: &str) -> String {
    parsed(text).unwrap_err().to_string()
}

#[test]
fn keys_are_read_with_their_dates() {
    let inventory = parsed(&report(&[row("bob", ACTIVE, UNUSED), row("bobby", INACTIVE, NONE)])).unwrap();
    assert_eq!(inventory.account.id.as_str(), "123456789012");
    assert_eq!(inventory.root_active_keys, Some(0));
    let bob = inventory.user("bob").unwrap();
    assert_eq!((active_keys(bob), &*bob.path), (2, "/"));
    let of_bob = keys(bob);
    assert_eq!(of_bob[0].last_used(), LastUsed::At("2026-05-01T08:15:00Z".parse().unwrap()));
    assert_eq!(of_bob[1].last_used(), LastUsed::Never);
    let bobby = inventory.user("bobby").unwrap();
    assert_eq!(active_keys(bobby), 0);
    assert_eq!(keys(bobby)[0].last_used(), LastUsed::Unknown);
}

#[test]
fn a_comma_in_a_name_shifts_nothing() {
    let inventory = parsed(&report(&[row("\"a,b\"", ACTIVE, UNUSED)])).unwrap();
    assert_eq!(inventory.listing.users()[0].name.as_str(), "a,b");
    assert_eq!(active_keys(&inventory.listing.users()[0]), 2);
}

#[test]
fn unquoted_commas_are_restored_where_the_result_is_unambiguous() {
    for name in ["a,b", "a,b,c", ",", "a,,b"] {
        let inventory = parsed(&report(&[row(name, ACTIVE, UNUSED), row("carol", NONE, NONE)])).unwrap();
        assert_eq!(active_keys(inventory.user(name).unwrap()), 2, "{name}");
    }
    let in_path = row("a,b", ACTIVE, NONE).replace("user/a,b", "user/x,y/a,b");
    assert_eq!(&*parsed(&report(&[in_path])).unwrap().listing.users()[0].path, "/x,y/");
    let elsewhere = row("a,b", ACTIVE, NONE).replace("user/a,b", "user/other");
    assert!(error(&report(&[elsewhere])).contains("row 3: 23 columns, the header has 22"));
}

#[test]
fn columns_are_found_by_name() {
    // Another order, an unknown column, optional ones left out.
    let text = "future,access_key_2_active,access_key_1_active,arn,user\n\
        x,false,true,arn:aws-cn:iam::123456789012:user/p/q/eve,eve\n\
        x,false,false,arn:aws-cn:iam::123456789012:root,<root_account>";
    let inventory = parsed(text).unwrap();
    assert_eq!(inventory.account.partition.as_str(), "aws-cn");
    assert_eq!(&*inventory.listing.users()[0].path, "/p/q/");
    assert_eq!(active_keys(&inventory.listing.users()[0]), 1);
    assert_eq!(keys(&inventory.listing.users()[0])[0].last_used(), LastUsed::Unknown);
}

#[test]
fn line_ends_marks_and_a_missing_root_row_do_not_matter() {
    let text = report(&[row("bob", ACTIVE, NONE)]);
    let crlf = format!("\u{feff}{}\r\n", text.replace('\n', "\r\n"));
    assert_eq!(parsed(&crlf), parsed(&text));
    let without_root = text.replace(&format!("{ROOT_ROW}\n"), "");
    assert_eq!(parsed(&without_root).unwrap().root_active_keys, None);
}

#[test]
fn roots_keys_are_roots() {
    let text = report(&[]).replace("true,false,N/A,N/A,N/A,N/A,false", &format!("true,{ACTIVE},false"));
    let inventory = parsed(&text).unwrap();
    assert_eq!((inventory.root_active_keys, inventory.listing.users().len()), (Some(1), 0));
}

#[test]
fn with_more_credentials_than_columns_the_keys_are_partial() {
    let add = |line: &str, value: &str| format!("{line},{value}");
    let text = [
        add(HEADER, "additional_credentials_info"),
        add(ROOT_ROW, "N/A"),
        add(&row("one", ACTIVE, NONE), "1 more access key"),
        add(&row("two", ACTIVE, UNUSED), "1 more access key"),
        add(&row("usual", ACTIVE, NONE), ""),
    ]
    .join("\n");
    let inventory = parsed(&text).unwrap();
    let user = |name| inventory.user(name).unwrap();
    for (name, listed, partial) in [("one", 1, true), ("two", 2, true), ("usual", 1, false)] {
        assert_eq!(active_keys(user(name)), listed, "{name}");
        assert_eq!(matches!(user(name).keys, KeysResult::Partial(_)), partial, "{name}");
    }
}

#[test]
fn errors_name_row_and_column() {
    let good = report(&[row("bob", ACTIVE, NONE), row("carol", NONE, NONE)]);
    let with_bob = |from: &str, to: &str| error(&report(&[row("bob", ACTIVE, NONE).replacen(from, to, 1)]));
    for (message, words) in [
        (error(""), vec!["empty"]),
        (error("  \n"), vec!["empty"]),
        (error("<!DOCTYPE html><html>"), vec!["HTML"]),
        (error("{\"user\":1}"), vec!["JSON"]),
        (error(HEADER), vec!["no rows"]),
        (error(&good.replacen("access_key_2_active", "other", 1)), vec!["header", "access_key_2_active"]),
        (error(&good.replacen("mfa_active", "user", 1)), vec!["twice", "user"]),
        (
            error(&good.replace(",false,N/A\n<root", "\n<root").replacen("carol,", "carol,,", 1)),
            vec!["row 4", "23 columns", "22"],
        ),
        (with_bob("true,2026", "yes,2026"), vec!["row 3", "access_key_1_active", "yes"]),
        (with_bob("2026-01-01T", "2026-13-01T"), vec!["row 3", "access_key_1_last_rotated", "2026-13-01"]),
        (with_bob("2026-05-01T08:15:00Z", "yesterday"), vec!["row 3", "access_key_1_last_used_date", "yesterday"]),
        (with_bob("123456789012", "999999999999"), vec!["row 3", "arn", "999999999999", "123456789012"]),
        (with_bob("arn:aws:iam", "arn:aws:s3"), vec!["row 3", "arn", "not the ARN"]),
        (with_bob("user/bob", "user/rob"), vec!["row 3", "arn", "rob"]),
        (error(&report(&[row("bob", ACTIVE, NONE), row("BOB", NONE, NONE)])), vec!["row 4", "bob", "twice"]),
        (error(&report(&[ROOT_ROW.to_owned()])), vec!["row 3", "user", "root"]),
        (error(&report(&[row("\"bob", ACTIVE, NONE), row("carol", NONE, NONE)])), vec!["row 3"]),
        (error(&good[..good.len() - 30]), vec!["row 4", "columns"]),
        (error(&good[..good.len() - 1]), vec!["row 4", "cert_2_last_rotated", "N/"]),
        (error(&good[..good.len() - 3]), vec!["row 4", "cert_2_last_rotated", "empty"]),
    ] {
        for word in words {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
    }
    let mut bytes = good.into_bytes();
    let at = bytes.len() - 5;
    bytes[at] = 0xff;
    let message = parse(&bytes, Timestamp::UNIX_EPOCH, Collector::Report).unwrap_err().to_string();
    assert!(message.contains("row 4") && message.contains("UTF-8"), "{message}");
}

#[derive(Debug, Clone, Copy)]
struct KeyCase {
    present: bool,
    active: bool,
}

fn cell(case: KeyCase) -> &'static str {
    match (case.present, case.active) {
        (false, _) => NONE,
        (true, true) => ACTIVE,
        (true, false) => INACTIVE,
    }
}

fn users() -> impl Strategy<Value = std::collections::BTreeMap<String, (KeyCase, KeyCase)>> {
    let case = || (any::<bool>(), any::<bool>()).prop_map(|(present, active)| KeyCase { present, active });
    // Lower case only: IAM's names are unique without regard to case.
    proptest::collection::btree_map("[a-z0-9+=,.@_-]{1,64}", (case(), case()), 0..12)
}

proptest! {
    #[test]
    fn whatever_is_written_is_counted(users in users()) {
        let rows: Vec<String> = users
            .iter()
            .map(|(name, (a, b))| row(&format!("\"{name}\""), cell(*a), cell(*b)))
            .collect();
        let inventory = parsed(&report(&rows)).unwrap();
        prop_assert_eq!(inventory.listing.users().len(), users.len());
        for (name, (a, b)) in &users {
            let expected = [a, b].iter().filter(|c| c.present && c.active).count();
            prop_assert_eq!(active_keys(inventory.user(name).unwrap()), expected, "{}", name);
        }
    }

    #[test]
    fn a_report_cut_off_inside_a_row_is_never_taken_for_whole(users in users(), cut in any::<prop::sample::Index>()) {
        let rows: Vec<String> = users
            .iter()
            .map(|(name, (a, b))| row(&format!("\"{name}\""), cell(*a), cell(*b)))
            .collect();
        let text = report(&rows);
        let at = cut.index(text.len());
        // At the end of a row nothing shows that more was to come.
        let at_row_end = text[..at].ends_with('\n') || text[at..].starts_with('\n');
        prop_assume!(at > HEADER.len() && !at_row_end);
        prop_assert!(parsed(&text[..at]).is_err(), "{}", &text[..at]);
    }

    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, Timestamp::UNIX_EPOCH, Collector::Report);
        let mut text = report(&[]).into_bytes();
        text.extend_from_slice(b"\n");
        text.extend_from_slice(&bytes);
        let _ = parse(&text, Timestamp::UNIX_EPOCH, Collector::Report);
    }
}
