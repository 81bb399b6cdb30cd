use super::*;
use crate::model::{Partition, Tag, UserDetails};
use proptest::prelude::*;

fn exemption(user: &str, account: Option<&str>) -> Exemption {
    Exemption::new(user.into(), account.map(|id| id.parse().unwrap()), None, "r".into(), Timestamp::MAX)
}

fn account() -> Account {
    Account { id: "123456789012".parse().unwrap(), name: String::new(), partition: Partition::default() }
}

/// The path, tags and groups of the tests' users.
struct Profile {
    path: &'static str,
    details: UserDetails,
}

fn profile(path: &'static str, tags: &[(&str, &str)], groups: &[&str]) -> Profile {
    let tags = tags.iter().filter_map(|(key, value)| Tag::new(key, value)).collect();
    Profile { path, details: UserDetails { tags, groups: groups.iter().map(|g| Arc::from(*g)).collect() } }
}

fn selector(user: Option<&str>, path: Option<&str>, group: Option<&str>, tags: &[(&str, &str)]) -> Selector {
    let text = |text: Option<&str>| text.map(String::from);
    let tag = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Selector { user: text(user), path: text(path), group: text(group), tag }
}

fn selecting(selector: Selector) -> Exemption {
    Exemption::new(selector, None, None, "r".into(), Timestamp::MAX)
}

fn subject<'a>(name: &'a str, arn: &'a str) -> Subject<'a> {
    Subject { name, arn, path: Some("/"), details: UserDetails::empty() }
}

fn arn(name: &str) -> String {
    format!("arn:aws:iam::123456789012:user/{name}")
}

fn one_by_one(exemptions: &Exemptions, subject: &Subject<'_>) -> Vec<usize> {
    (0..exemptions.len()).filter(|i| exemptions[*i].matches(&account(), subject)).collect()
}

#[test]
fn literal_wildcard_and_arn_patterns_match_in_any_case() {
    let patterns = ["Bob", "b*", "?ob", "*", "??", "arn:aws:iam::*:user/BOB", "arn:*", "alice", "", "*b*b*", "bobby"];
    let exemptions: Exemptions = patterns.iter().map(|p| exemption(p, None)).collect();
    assert_eq!(exemptions.matching(&account(), &subject("bob", &arn("bob"))), [0, 1, 2, 3, 5, 6, 9]);
    assert_eq!(exemptions.matching(&account(), &subject("BO", &arn("BO"))), [1, 3, 4, 6]);
}

#[test]
fn an_exemption_of_another_account_does_not_match() {
    let exemptions: Exemptions =
        [Some("123456789012"), Some("999999999999"), None].iter().map(|a| exemption("b*", *a)).collect();
    assert_eq!(exemptions.matching(&account(), &subject("bob", &arn("bob"))), [0, 2]);
}

#[test]
fn all_parts_of_a_selector_have_to_match() {
    let bot = profile("/service/ci/", &[("Team", "web-1"), ("stage", "prod")], &["bots", "Admins"]);
    for (selector, matches) in [
        (selector(None, Some("/service/*"), None, &[]), true),
        (selector(None, Some("/SERVICE/CI/"), None, &[]), true),
        (selector(None, Some("/service/"), None, &[]), false),
        (selector(None, Some("/ci/"), None, &[]), false),
        (selector(None, None, Some("admin?"), &[]), true),
        (selector(None, None, Some("admin"), &[]), false),
        (selector(None, None, None, &[("team", "web-*")]), true),
        (selector(None, None, None, &[("team", "WEB-*")]), false),
        (selector(None, None, None, &[("tea?", "*")]), false),
        (selector(None, None, None, &[("owner", "*")]), false),
        (selector(None, None, None, &[("team", "web-*"), ("stage", "prod")]), true),
        (selector(None, None, None, &[("team", "web-*"), ("stage", "dev")]), false),
        (selector(Some("b?t"), Some("/service/*"), Some("bots"), &[("team", "*")]), true),
        (selector(Some("bat"), Some("/service/*"), Some("bots"), &[("team", "*")]), false),
        (selector(Some("bot"), Some("/*"), Some("no"), &[]), false),
        (selector(Some("*"), Some("/x/*"), None, &[]), false),
    ] {
        let arn = "arn:aws:iam::123456789012:user/service/ci/bot";
        let subject = Subject { name: "bot", arn, path: Some(bot.path), details: &bot.details };
        let exemptions: Exemptions = [selecting(selector.clone())].into_iter().collect();
        assert_eq!(exemptions.matching(&account(), &subject).len(), usize::from(matches), "{selector}");
    }
}

#[test]
fn the_root_user_has_neither_path_nor_tags_nor_groups() {
    let selectors = [
        selector(Some("<root*"), None, None, &[]),
        selector(Some("*:root"), None, None, &[]),
        selector(None, Some("*"), None, &[]),
        selector(None, None, Some("*"), &[]),
        selector(None, None, None, &[("owner", "*")]),
        selector(Some("*"), Some("/*"), None, &[]),
    ];
    let exemptions: Exemptions = selectors.into_iter().map(selecting).collect();
    assert_eq!(exemptions.matching(&account(), &Subject::root(&account().root_arn())), [0, 1]);
}

#[test]
fn tags_and_groups_are_needed_by_exemptions_in_force_alone() {
    let end: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
    let until = |selector, expires| Exemption::new(selector, None, None, "r".into(), expires);
    let exemptions: Exemptions = [
        until("bob".into(), Timestamp::MAX),
        until(selector(None, None, None, &[("Team", "*")]), end),
        until(selector(None, None, Some("bots"), &[("stage", "*")]), Timestamp::MAX),
    ]
    .into_iter()
    .collect();
    let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let second = std::time::Duration::from_secs(1);
    assert_eq!(exemptions.needs(end - second), DetailsScope::new(&keys(&["stage", "team"]), true));
    assert_eq!(exemptions.needs(end), DetailsScope::new(&keys(&["stage"]), true));
    let names: Exemptions = [until("bob".into(), Timestamp::MAX)].into_iter().collect();
    assert!(names.needs(end).is_empty());
}

/// Without an index, each of these users would be compared with each pattern twice.
#[test]
fn patterns_of_other_users_are_not_tried() {
    let patterns = (0..20_000).map(|i| match i % 4 {
        0 => format!("ci-{i:05}-*"),
        1 => format!("*-bot-{i:05}"),
        2 => format!("arn:aws:iam::*:user/team-{i:05}/*"),
        _ => format!("x*{i:05}*y?"),
    });
    let by_user = patterns.map(|p| exemption(&p, None));
    let team = |i: usize| format!("team-{i:05}");
    let others = (0..20_000).map(|i| match i % 3 {
        0 => selecting(selector(None, Some(&format!("/{}/*", team(i))), None, &[])),
        1 => selecting(selector(Some("*"), None, Some(&format!("*-{}", team(i))), &[])),
        _ => selecting(selector(None, None, None, &[("team", &team(i)), ("stage", "*")])),
    });
    let exemptions: Exemptions = by_user.chain(others).collect();
    let members = profile("/team-00003/", &[("team", "team-00005"), ("stage", "prod")], &["all-team-00004"]);
    let arn_of_member = "arn:aws:iam::123456789012:user/team-00003/ann";
    let member = Subject { name: "ann", arn: arn_of_member, path: Some(members.path), details: &members.details };
    assert!(exemptions.candidates(&member).len() <= 5, "{:?}", exemptions.candidates(&member));
    assert_eq!(exemptions.matching(&account(), &member), [20_003, 20_004, 20_005]);
    for i in 0..2000 {
        let name = format!("ci-{:05}-{i}", i * 4);
        let candidates = exemptions.candidates(&subject(&name, &arn(&name)));
        assert!(candidates.len() <= 2, "{name}: {candidates:?}");
        assert!(exemptions.matching(&account(), &subject(&name, &arn(&name))).contains(&(i * 4)));
    }
}

proptest! {
    #[test]
    fn the_index_finds_what_trying_each_pattern_finds(
        patterns in proptest::collection::vec("[abAB*?İiKk/:]{0,6}|arn:aws:iam::[*0-9]{1,3}:user/[ab*?]{0,4}", 0..40),
        names in proptest::collection::vec("[abABİiKk]{0,6}", 1..10),
    ) {
        let exemptions: Exemptions = patterns.iter().map(|p| exemption(p, None)).collect();
        for name in names {
            let arn = arn(&name);
            let subject = subject(&name, &arn);
            prop_assert_eq!(exemptions.matching(&account(), &subject), one_by_one(&exemptions, &subject));
        }
    }

    #[test]
    fn the_index_finds_what_trying_each_selector_finds(
        selectors in proptest::collection::vec(any_selector(), 0..40),
        users in proptest::collection::vec(any_user(), 1..10),
    ) {
        let exemptions: Exemptions = selectors.into_iter().map(selecting).collect();
        for (name, path, details) in users {
            let arn = format!("arn:aws:iam::123456789012:user{path}{name}");
            let subject = Subject { name: &name, arn: &arn, path: Some(&path), details: &details };
            let expected = one_by_one(&exemptions, &subject);
            prop_assert_eq!(exemptions.matching(&account(), &subject), expected);
        }
    }
}

fn any_selector() -> impl Strategy<Value = Selector> {
    let pattern = || proptest::option::weighted(0.3, "[aB*?K]{1,3}");
    let path = proptest::option::weighted(0.3, "/([aB*?]{0,2}/)?|\\*");
    let tag = proptest::collection::btree_map("[aAb]", "[aB*?]{1,3}", 0..3);
    (pattern(), path, pattern(), tag).prop_map(|(user, path, group, tag)| Selector { user, path, group, tag })
}

fn any_user() -> impl Strategy<Value = (String, String, UserDetails)> {
    let tags = proptest::collection::vec(("[aAb]", "[abABk]{0,3}"), 0..3);
    let groups = proptest::collection::vec("[abAB]{1,3}", 0..3);
    ("[abABk]{1,4}", "/([abAB]{1,2}/)?", tags, groups).prop_map(|(name, path, tags, groups)| {
        let tags = tags.iter().filter_map(|(key, value)| Tag::new(key, value)).collect();
        (name, path, UserDetails { tags, groups: groups.iter().map(|g| Arc::from(g.as_str())).collect() })
    })
}
