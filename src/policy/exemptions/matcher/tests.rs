use super::*;
use crate::model::{Partition, Timestamp};
use proptest::prelude::*;

fn exemption(user: &str, account: Option<&str>) -> Exemption {
    Exemption::new(user.into(), account.map(|id| id.parse().unwrap()), None, "r".into(), Timestamp::MAX)
}

fn account() -> Account {
    Account { id: "123456789012".parse().unwrap(), name: String::new(), partition: Partition::default() }
}

fn arn(name: &str) -> String {
    format!("arn:aws:iam::123456789012:user/{name}")
}

fn one_by_one(exemptions: &Exemptions, name: &str, arn: &str) -> Vec<usize> {
    (0..exemptions.len()).filter(|i| exemptions[*i].matches(&account(), name, arn)).collect()
}

#[test]
fn literal_wildcard_and_arn_patterns_match_in_any_case() {
    let patterns = ["Bob", "b*", "?ob", "*", "??", "arn:aws:iam::*:user/BOB", "arn:*", "alice", "", "*b*b*", "bobby"];
    let exemptions: Exemptions = patterns.iter().map(|p| exemption(p, None)).collect();
    assert_eq!(exemptions.matching(&account(), "bob", &arn("bob")), [0, 1, 2, 3, 5, 6, 9]);
    assert_eq!(exemptions.matching(&account(), "BO", &arn("BO")), [1, 3, 4, 6]);
}

#[test]
fn an_exemption_of_another_account_does_not_match() {
    let exemptions: Exemptions =
        [Some("123456789012"), Some("999999999999"), None].iter().map(|a| exemption("b*", *a)).collect();
    assert_eq!(exemptions.matching(&account(), "bob", &arn("bob")), [0, 2]);
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
    let exemptions: Exemptions = patterns.map(|p| exemption(&p, None)).collect();
    for i in 0..2000 {
        let name = format!("ci-{:05}-{i}", i * 4);
        let candidates = exemptions.candidates(&name, &arn(&name));
        assert!(candidates.len() <= 2, "{name}: {candidates:?}");
        assert!(exemptions.matching(&account(), &name, &arn(&name)).contains(&(i * 4)));
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
            prop_assert_eq!(exemptions.matching(&account(), &name, &arn), one_by_one(&exemptions, &name, &arn));
        }
    }
}
