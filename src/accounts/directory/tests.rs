use super::*;
use crate::model::{Partition, Tag};

fn id(digit: char) -> AccountId {
    digit.to_string().repeat(12).parse().unwrap()
}

fn member(digit: char, state: MemberState) -> Member {
    Member { id: id(digit), name: format!("name-{digit}"), state, units: vec![], tags: vec![] }
}

/// Accounts 1 (management), 2, 3, ...
fn members(digits: &str) -> Members {
    let members = digits.chars().map(|digit| member(digit, MemberState::Active)).collect();
    Members { management: id('1'), members }
}

fn settings(yaml: &str) -> Settings {
    Settings::from_yaml(yaml).unwrap()
}

fn directory(own: char, members: Members) -> Directory {
    let mut directory = Directory::default();
    directory.own_identified(Account {
        id: id(own),
        name: String::new(),
        partition: Partition::parse("aws-cn").unwrap(),
    });
    directory.listed(members, 33).unwrap();
    directory
}

/// Account, access and name of each target: `2 role-of-2 name-2`.
fn summary(targets: &Targets) -> Vec<String> {
    let short = |id: AccountId| id.as_str()[..1].to_owned();
    targets
        .accounts
        .values()
        .map(|t| {
            let access = match &t.access {
                Access::Own => "own".to_owned(),
                Access::Role(role) => format!("{}@{}", role.arn.name, short(role.arn.account)),
            };
            format!("{} {access} {}", t.account.map_or("?".into(), short), t.name)
        })
        .collect()
}

impl Directory {
    fn targets_of(&self, yaml: &str) -> Targets {
        let settings = settings(yaml);
        self.targets(&settings, settings.organization.as_ref(), Shard::ALL)
    }
}

const ORGANIZATION: &str = "organization:\n  role_name: audit\n";

#[test]
fn the_account_of_the_credentials_is_the_default() {
    let settings = settings("account: { name: mine }\naws: { max_requests_per_second: 3 }");
    let targets = Directory::default().targets(&settings, settings.organization.as_ref(), Shard::ALL);
    assert_eq!(summary(&targets), ["? own mine"]);
    assert_eq!(targets.accounts[&Key::Own].max_requests_per_second, 3.0);
    assert_eq!(targets.states, None);
}

#[test]
fn an_organisation_has_its_members_and_the_management_account() {
    for (management, expected) in [
        ("self", vec!["1 own name-1", "2 audit@2 name-2", "3 audit@3 name-3"]),
        ("assume", vec!["1 audit@1 name-1", "2 audit@2 name-2", "3 audit@3 name-3"]),
        ("skip", vec!["2 audit@2 name-2", "3 audit@3 name-3"]),
    ] {
        let settings = settings(&format!("{ORGANIZATION}  management_account: {management}\n  external_id: secret"));
        let targets = directory('1', members("123")).targets(&settings, settings.organization.as_ref(), Shard::ALL);
        assert_eq!(summary(&targets), expected);
        let Access::Role(role) = &targets.accounts[&Key::Account(id('2'))].access else { panic!("a role") };
        assert_eq!(role.arn.to_string(), "arn:aws-cn:iam::222222222222:role/audit");
        assert_eq!(role.external_id.as_ref().unwrap().expose(), "secret");
    }
}

#[test]
fn before_the_organisation_is_listed_there_are_the_listed_accounts() {
    let settings = settings(&format!(
        "{ORGANIZATION}accounts: [{{ role_arn: 'arn:aws:iam::444444444444:role/x' }}]\n\
         account_overrides: {{ '222222222222': {{}} }}"
    ));
    let targets = Directory::default().targets(&settings, settings.organization.as_ref(), Shard::ALL);
    assert_eq!(summary(&targets), ["4 x@4 "]);
    assert_eq!((targets.states, targets.notices.len()), (None, 0));
}

#[test]
fn a_listed_account_that_is_discovered_too_is_checked_once_as_listed() {
    let settings = settings(&format!(
        "{ORGANIZATION}accounts:\n- role_arn: arn:aws-cn:iam::222222222222:role/special\n- self: true\n  name: hub"
    ));
    let targets = directory('3', members("123")).targets(&settings, settings.organization.as_ref(), Shard::ALL);
    assert_eq!(summary(&targets), ["3 own hub", "1 own name-1", "2 special@2 name-2"]);
}

#[test]
fn states_decide_and_are_counted() {
    let mut listing = members("12");
    for (digit, state) in [
        ('3', MemberState::Suspended),
        ('4', MemberState::Closed),
        ('5', MemberState::Pending),
        ('6', MemberState::Unknown),
        ('7', MemberState::Active),
    ] {
        listing.members.push(member(digit, state));
    }
    let settings = settings(&format!("{ORGANIZATION}  exclude: {{ accounts: ['777777777777'] }}"));
    let targets = directory('1', listing).targets(&settings, settings.organization.as_ref(), Shard::ALL);
    assert_eq!(summary(&targets), ["1 own name-1", "2 audit@2 name-2", "6 audit@6 name-6"]);
    let counts: Vec<(&str, u64)> = targets.states.unwrap().into_iter().collect();
    assert_eq!(counts, [("active", 2), ("excluded", 1), ("pending", 1), ("suspended", 2), ("unknown", 1)]);
}

#[test]
fn filters_select_by_account_unit_and_tag_and_exclude_wins() {
    let mut listing = members("12345");
    for (digit, units, env) in
        [('2', vec!["r-root", "ou-root-11111111"], "prod-a"), ('3', vec!["r-root", "ou-root-22222222"], "test")]
    {
        let member = listing.members.iter_mut().find(|m| m.id == id(digit)).unwrap();
        member.units = units.into_iter().map(String::from).collect();
        member.tags = Tag::new("env", env).into_iter().collect();
    }
    let skip = format!("{ORGANIZATION}  management_account: skip\n");
    for (filters, expected) in [
        ("  include: { accounts: ['444444444444'] }", vec!["4 audit@4 name-4"]),
        (
            "  include: { organizational_units: [ou-root-22222222], accounts: ['222222222222'] }",
            vec!["2 audit@2 name-2", "3 audit@3 name-3"],
        ),
        ("  include: { tags: { env: 'prod-*' } }", vec!["2 audit@2 name-2"]),
        ("  include: { organizational_units: [r-root] }\n  exclude: { tags: { env: test } }", vec!["2 audit@2 name-2"]),
        ("  exclude: { organizational_units: [r-root] }", vec!["4 audit@4 name-4", "5 audit@5 name-5"]),
    ] {
        let settings = settings(&format!("{skip}{filters}"));
        let targets = directory('1', listing.clone()).targets(&settings, settings.organization.as_ref(), Shard::ALL);
        assert_eq!(summary(&targets), expected, "{filters}");
        assert_eq!(targets.notices, BTreeSet::new(), "{filters}");
    }
}

#[test]
fn what_matches_nothing_is_reported() {
    let settings = settings(&format!(
        "{ORGANIZATION}  include: {{ organizational_units: [ou-root-99999999] }}\n  exclude: {{ accounts: ['888888888888'], \
         tags: {{ env: x }} }}\naccount_overrides: {{ '999999999999': {{}} }}"
    ));
    let targets = directory('1', members("123")).targets(&settings, settings.organization.as_ref(), Shard::ALL);
    let filter = |text: &str| Notice::UnmatchedFilter(text.into());
    let expected = [
        filter("account 888888888888"),
        filter("ou-root-99999999"),
        filter("tag env=x"),
        Notice::UnusedOverride(id('9')),
    ];
    assert_eq!(targets.notices, BTreeSet::from(expected));
    assert!(targets.accounts.is_empty(), "the unit does not exist, so nothing is included");
}

#[test]
fn overrides_apply_to_one_account() {
    let settings = settings(&format!(
        "{ORGANIZATION}account_overrides:\n  '222222222222':\n    name: two\n    policy: {{ key_age: {{ enabled: false }} }}\n    \
         max_requests_per_second: 1"
    ));
    let targets = directory('1', members("123")).targets(&settings, settings.organization.as_ref(), Shard::ALL);
    assert_eq!(summary(&targets), ["1 own name-1", "2 audit@2 two", "3 audit@3 name-3"]);
    let [two, three] = ['2', '3'].map(|digit| &targets.accounts[&Key::Account(id(digit))]);
    assert!(!two.rules.key_age.enabled && three.rules.key_age.enabled);
    assert_eq!((two.max_requests_per_second, three.max_requests_per_second), (1.0, 10.0));
}

#[test]
fn every_account_is_in_one_shard() {
    let settings = settings(ORGANIZATION);
    let directory = directory('1', members("123456789"));
    let mut all = Vec::new();
    for index in 0..4 {
        let targets = directory.targets(&settings, settings.organization.as_ref(), Shard { index, total: 4 });
        assert_eq!(targets.states.as_ref().unwrap()["active"], 9, "states are of the whole organisation");
        all.extend(summary(&targets));
    }
    all.sort();
    assert_eq!(all, summary(&directory.targets(&settings, settings.organization.as_ref(), Shard::ALL)));
}

#[test]
fn a_listing_that_shrinks_has_to_be_confirmed() {
    let mut directory = directory('1', members("123456789"));
    directory.listed(members("123456"), 33).unwrap();
    assert_eq!(directory.listed(members("1"), 33), Err(Shrunken { missing: 5, known: 6 }));
    assert_eq!(directory.targets_of(ORGANIZATION).accounts.len(), 6, "nothing is dropped");
    assert!(directory.listed(members("1"), 33).is_ok(), "confirmed");
    assert_eq!(directory.targets_of(ORGANIZATION).accounts.len(), 1);
}

#[test]
fn only_the_accounts_that_stay_missing_are_confirmed() {
    let mut directory = directory('1', members("123456"));
    assert!(directory.listed(members("12"), 33).is_err());
    assert_eq!(directory.listed(members("16"), 33), Err(Shrunken { missing: 4, known: 6 }), "others are missing");
    assert!(directory.listed(members("126"), 33).is_ok(), "those that came back are no doubt");
    assert!(directory.listed(members("12345"), 33).is_ok(), "accounts are added at once");
    assert!(directory.listed(members("1"), 100).is_ok(), "switched off");
}

#[test]
fn why_an_account_is_gone() {
    let before = directory('1', members("12345"));
    let mut after = before.clone();
    let mut listing = members("124");
    listing.members.push(member('5', MemberState::Suspended));
    after.listed(listing, 100).unwrap();
    let departure = |digit| after.departure(id(digit), &before, true);
    assert_eq!(departure('3'), Some(Departure::Left));
    assert_eq!(departure('5'), Some(Departure::Suspended));
    assert_eq!(departure('4'), None, "it is still a member");
    assert_eq!(departure('9'), None, "it was in the configuration only");

    let mut moved = Directory::default();
    let mut listing = members("123");
    listing.members[2].units.push("ou-fake-11111111".into());
    moved.listed(listing, 100).unwrap();
    assert_eq!(moved.departure(id('3'), &before, true), Some(Departure::Excluded));
    assert_eq!(moved.departure(id('3'), &before, false), None, "the configuration may have caused it");
    assert_eq!(moved.departure(id('2'), &before, true), None, "it was excluded for another reason");
}
