//! Accounts, roles and organisations against the scripted fake of AWS.

use super::common::{Account as Inventory, FakeIam, Fault, Member, On, Organization, Pages};
use super::counting::RequestObserver;
use super::reception::LARGE_ANSWERS;
use super::{Aws, Process};
use crate::model::{Access, Role};
use crate::source::{MemberLister, MemberState, Members, SourceError, Wanted};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const OWN: &str = "123456789012";
const ONE: &str = "111111111111";
const TWO: &str = "222222222222";

/// Service, operation and failure.
type Kind = (&'static str, String, Option<&'static str>);

#[derive(Default)]
struct Requests(Mutex<BTreeMap<Kind, usize>>);

impl RequestObserver for Requests {
    fn request(&self, service: &'static str, operation: &str, failure: Option<&'static str>) {
        *self.0.lock().unwrap().entry((service, operation.to_owned(), failure)).or_default() += 1;
    }
}

impl Requests {
    fn count(&self, service: &'static str, operation: &str, failure: Option<&'static str>) -> usize {
        self.0.lock().unwrap().get(&(service, operation.to_owned(), failure)).copied().unwrap_or_default()
    }
}

fn role(account: &str) -> Role {
    Role::new(format!("arn:aws:iam::{account}:role/iam-key-exporter").parse().unwrap())
}

fn with_external_id(account: &str, id: &str) -> Role {
    Role { external_id: Some(id.parse().unwrap()), ..role(account) }
}

fn account(process: &Arc<Process>, role: Role) -> Arc<Aws> {
    process.account(Access::Role(Box::new(role)), String::new(), 5000.0)
}

fn two_members() -> Organization {
    Organization::new([Member::new(ONE, Inventory::example()), Member::new(TWO, Inventory::of_size(3))])
}

async fn process(iam: &FakeIam) -> (Arc<Process>, Arc<Requests>) {
    let requests = Arc::new(Requests::default());
    (Process::at(&iam.url(), Arc::clone(&requests) as Arc<dyn RequestObserver>).await, requests)
}

async fn users(aws: &Aws) -> usize {
    aws.iam().await.unwrap().list_users().send().await.unwrap().users().len()
}

#[tokio::test]
async fn accounts_are_kept_apart_and_each_role_is_assumed_once() {
    let iam = FakeIam::start(Inventory::of_size(1)).organization(two_members());
    let (process, requests) = process(&iam).await;
    let own = process.account(Access::Own, "own".into(), 5000.0);
    let (one, two) = (account(&process, role(ONE)), account(&process, role(TWO)));
    for _ in 0..3 {
        for (aws, id, count) in [(&own, OWN, 1), (&one, ONE, 7), (&two, TWO, 3)] {
            let found = aws.account().await.unwrap();
            assert_eq!((found.id.as_str(), found.partition.as_str()), (id, "aws"));
            assert_eq!(users(aws).await, count, "{id}");
            aws.confirm(&found).await.unwrap();
            assert_eq!(users(aws).await, count, "outside of a check, too");
        }
    }
    assert_eq!((iam.assumed(ONE), iam.assumed(TWO)), (1, 1));
    assert_eq!(iam.calls_of("GetCallerIdentity"), 6, "a role's session names its account");
    assert_eq!(requests.count("sts", "AssumeRole", None), 2);
    assert_eq!(requests.count("iam", "ListUsers", None), 18);
    let call = iam.calls().into_iter().find(|c| c.operation == "AssumeRole").unwrap();
    assert_eq!(call.parameters["RoleSessionName"], "iam-key-exporter");
    assert_eq!(call.parameters["DurationSeconds"], "3600");
    assert!(!call.parameters.contains_key("ExternalId"));
}

#[tokio::test]
async fn the_external_id_is_sent_and_never_shown() {
    let iam =
        FakeIam::start(Inventory::example())
            .organization(Organization::new([Member::new(ONE, Inventory::example()).external_id("the-right-one")]));
    let (process, _) = process(&iam).await;
    assert_eq!(account(&process, with_external_id(ONE, "the-right-one")).account().await.unwrap().id.as_str(), ONE);
    for role in [role(ONE), with_external_id(ONE, "a-wrong-one")] {
        let error = account(&process, role).account().await.unwrap_err();
        assert_eq!(error.reason(), "role_denied");
        let text = format!("{error} {error:?}");
        for word in ["arn:aws:iam::111111111111:role/iam-key-exporter", "AccessDenied", "external ID", "sts:AssumeRole"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("a-wrong-one") && !text.contains("the-right-one"), "{text}");
    }
}

#[tokio::test]
async fn a_denied_role_affects_no_other_and_is_not_assumed_at_each_check() {
    let iam = FakeIam::start(Inventory::example()).organization(two_members());
    iam.fail(On::assuming(ONE), Fault::ACCESS_DENIED);
    let (process, requests) = process(&iam).await;
    let (one, two) = (account(&process, role(ONE)), account(&process, role(TWO)));
    for _ in 0..5 {
        assert_eq!(one.account().await.unwrap_err().reason(), "role_denied");
        assert!(two.account().await.is_ok());
    }
    assert_eq!(iam.assumed(ONE), 1);
    assert_eq!(requests.count("sts", "AssumeRole", Some("AccessDenied")), 1);
}

#[tokio::test]
async fn faults_of_sts_have_their_own_reasons_and_name_the_role() {
    for (fault, reason) in [
        (Fault::THROTTLED, "throttled"),
        (Fault::EXPIRED_TOKEN, "credentials"),
        (Fault::SERVICE_FAILURE, "service_failure"),
        (Fault::Close, "connection"),
        (Fault::HalfSent, "connection"),
        (Fault::instead("text/html", "<html></html>"), "unexpected_response"),
        (Fault::CutAfter("</Credentials>"), "unexpected_response"),
        (Fault::CutAfter("<AssumeRoleResult>"), "unexpected_response"),
    ] {
        let iam = FakeIam::start(Inventory::example()).organization(two_members());
        iam.fail(On::assuming(ONE), fault.clone());
        let (process, _) = process(&iam).await;
        let error = account(&process, role(ONE)).account().await.unwrap_err();
        assert_eq!(error.reason(), reason, "{fault:?}: {error}");
        assert!(error.to_string().contains("role/iam-key-exporter"), "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn a_session_of_another_account_is_refused() {
    let iam = FakeIam::start(Inventory::example()).organization(two_members());
    let answer = super::common::answers::answer(
        "AssumeRole",
        "<AssumedRoleUser><Arn>arn:aws:sts::222222222222:assumed-role/iam-key-exporter/x</Arn>\
         <AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>ASIA1</AccessKeyId>\
         <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>\
         </Credentials>",
    );
    iam.fail(On::assuming(ONE), Fault::instead("text/xml", answer));
    let (process, _) = process(&iam).await;
    let error = account(&process, role(ONE)).account().await.unwrap_err();
    let expected = SourceError::AccountMismatch { expected: ONE.parse().unwrap(), found: TWO.parse().unwrap() };
    assert_eq!(error, expected);
}

/// The role in account two is assumed by the session of the role in account one.
#[tokio::test]
async fn roles_are_chained() {
    let iam = FakeIam::start(Inventory::example()).organization(two_members());
    let (process, _) = process(&iam).await;
    let chained = Role { base: Some(Box::new(role(ONE))), ..role(TWO) };
    let aws = account(&process, chained.clone());
    assert_eq!(aws.account().await.unwrap().id.as_str(), TWO);
    let assumed: Vec<_> = iam.calls().into_iter().filter(|c| c.operation == "AssumeRole").collect();
    let by: Vec<&str> = assumed.iter().map(|c| c.account.as_str()).collect();
    assert_eq!(by, [OWN, ONE]);
    // Without the first role, the second is not to blame.
    let iam = FakeIam::start(Inventory::example()).organization(two_members());
    iam.fail(On::assuming(ONE), Fault::ACCESS_DENIED);
    let (process, _) = self::process(&iam).await;
    let error = account(&process, chained).account().await.unwrap_err();
    assert!(matches!(&error, SourceError::RoleDenied { role, .. } if role.account.as_str() == ONE), "{error}");
    assert_eq!(iam.assumed(TWO), 0);
}

/// In mid-check the session is over, and the role is not allowed any more: the error is the role's.
#[tokio::test]
async fn a_role_that_is_denied_in_mid_check_is_named() {
    let iam = FakeIam::start(Inventory::example()).organization(two_members());
    iam.change_organization(|o| o.session = jiff::SignedDuration::from_secs(2));
    let (process, _) = process(&iam).await;
    let one = account(&process, role(ONE));
    one.account().await.unwrap();
    iam.fail(On::assuming(ONE), Fault::ACCESS_DENIED);
    let list = || async { one.iam().await.unwrap().list_users().send().await };
    let error = loop {
        match list().await {
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            Err(error) => break super::errors::classify("ListUsers", &error),
        }
    };
    assert!(matches!(&error, SourceError::RoleDenied { .. } | SourceError::Credentials(_)), "{error}");
    assert!(error.concerns_account());
}

#[tokio::test]
async fn the_alias_is_the_name_of_an_account_without_one() {
    let named = |alias: &str| Inventory { alias: Some(alias.into()), ..Inventory::example() };
    let iam = FakeIam::start(named("own-alias"))
        .organization(Organization::new([Member::new(ONE, named("payments")), Member::new(TWO, Inventory::example())]));
    let (process, _) = process(&iam).await;
    let own = process.account(Access::Own, String::new(), 5000.0);
    let configured = process.account(Access::Own, "configured".into(), 5000.0);
    let (one, two) = (account(&process, role(ONE)), account(&process, role(TWO)));
    for _ in 0..3 {
        for (aws, name) in [(&own, "own-alias"), (&configured, "configured"), (&one, "payments"), (&two, "")] {
            assert_eq!(aws.account().await.unwrap().name, name);
        }
    }
    assert_eq!(iam.calls_of("ListAccountAliases"), 3, "once for each account without a name");
}

/// A name is no reason for a check to fail.
#[tokio::test]
async fn an_alias_that_cannot_be_read_is_no_error() {
    let alias = On::operation("ListAccountAliases");
    for (fault, requests) in
        [(Fault::ACCESS_DENIED, 1), (Fault::instead("text/xml", "<html>"), 1), (Fault::THROTTLED, 3), (Fault::Close, 3)]
    {
        let iam = FakeIam::start(Inventory { alias: Some("x".into()), ..Inventory::example() });
        iam.fail(alias.clone(), fault.clone());
        let (process, _) = process(&iam).await;
        let own = process.account(Access::Own, String::new(), 5000.0);
        for _ in 0..3 {
            assert_eq!(own.account().await.unwrap().name, "", "{fault:?}");
        }
        assert_eq!(iam.calls_of("ListAccountAliases"), requests, "{fault:?}");
        iam.heal();
        assert_eq!(own.account().await.unwrap().name, if requests == 1 { "" } else { "x" }, "{fault:?}");
    }
}

async fn members(iam: &FakeIam, wanted: Wanted) -> Result<Members, SourceError> {
    let (process, _) = process(iam).await;
    let organization = process.organization(None);
    organization.members(&wanted).await
}

const LIST: Wanted = Wanted { units: false, tags: false };
const UNITS: Wanted = Wanted { units: true, tags: false };
const TAGS: Wanted = Wanted { units: false, tags: true };

#[tokio::test]
async fn every_account_of_an_organisation_is_listed_once() {
    for (pages, calls) in [(Pages::Of(20), 3), (Pages::Of(7), 8), (Pages::WithEmptyOnes, 102)] {
        let iam = FakeIam::start(Inventory::example()).organization(Organization::of_size(50).pages(pages));
        let members = members(&iam, LIST).await.unwrap();
        assert_eq!((members.management.as_str(), members.members.len()), (OWN, 51), "{pages:?}");
        assert!(members.members.is_sorted_by_key(|m| m.id));
        assert_eq!(iam.calls_of("ListAccounts"), calls, "{pages:?}");
        assert_eq!(iam.calls().len(), calls + 1, "{pages:?}");
        let member = members.members.iter().find(|m| m.id.as_str() == "100000000007").unwrap();
        assert_eq!((member.name.as_str(), member.state), ("account-100000000007", MemberState::Active));
        assert!(member.units.is_empty() && member.tags.is_empty());
    }
}

#[tokio::test]
async fn accounts_that_are_listed_twice_are_one() {
    let mut organization = two_members();
    organization.members.push(Member::new(ONE, Inventory::example()));
    let iam = FakeIam::start(Inventory::example()).organization(organization);
    assert_eq!(members(&iam, LIST).await.unwrap().members.len(), 3);
}

/// Never a part: any page that fails fails the list.
#[tokio::test]
async fn a_list_that_is_not_complete_is_an_error() {
    const LATER: Fault = Fault::Error { status: 400, code: "AccessDeniedException", message: "no" };
    for (times, fault, reason) in [
        (0, LATER, "access_denied"),
        (2, LATER, "access_denied"),
        (
            0,
            Fault::Error { status: 400, code: "AWSOrganizationsNotInUseException", message: "no" },
            "unexpected_response",
        ),
        (1, Fault::instead("application/x-amz-json-1.1", r#"{"Accounts":[{"Id":"1"#), "unexpected_response"),
        (1, Fault::instead("application/x-amz-json-1.1", "{}"), "unexpected_response"),
        (1, Fault::instead("application/x-amz-json-1.1", r#"{"Accounts":[{"Id":"12"}]}"#), "unexpected_response"),
        (1, Fault::instead("text/html", "<html></html>"), "unexpected_response"),
        (0, Fault::Endless, "unexpected_response"),
        (1, Fault::CutAfter("\"Accounts\":[{"), "unexpected_response"),
    ] {
        let iam = FakeIam::start(Inventory::example()).organization(Organization::of_size(50));
        if times > 0 {
            iam.fail_times(times, On::operation("ListAccounts"), Fault::Right);
        }
        iam.fail(On::operation("ListAccounts"), fault.clone());
        let error = members(&iam, LIST).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{fault:?}: {error}");
        assert!(error.to_string().contains("ListAccounts"), "{error}");
    }
    for pages in [Pages::RepeatedMarker, Pages::Endless] {
        let iam = FakeIam::start(Inventory::example()).organization(Organization::of_size(5).pages(pages));
        assert_eq!(members(&iam, LIST).await.unwrap_err().reason(), "pagination", "{pages:?}");
    }
    let mut without_management = two_members();
    without_management.own = Some(Member::new(OWN, Inventory::example()).not_listed());
    let iam = FakeIam::start(Inventory::example()).organization(without_management);
    assert!(members(&iam, LIST).await.unwrap_err().to_string().contains("management account"));
}

#[tokio::test]
async fn throttled_pages_are_requested_again() {
    let iam = FakeIam::start(Inventory::example()).organization(Organization::of_size(50));
    let throttled = Fault::Error { status: 400, code: "TooManyRequestsException", message: "slow down" };
    iam.fail_times(2, On::operation("ListAccounts"), throttled);
    let (process, requests) = process(&iam).await;
    assert_eq!(process.organization(None).members(&LIST).await.unwrap().members.len(), 51);
    assert_eq!(requests.count("organizations", "ListAccounts", Some("TooManyRequestsException")), 2);
    assert_eq!(requests.count("organizations", "ListAccounts", None), 3);
}

#[tokio::test]
async fn the_state_counts_and_the_status_only_where_it_is_missing() {
    let member =
        |i: usize, state, status| Member { state, status, ..Member::new(&format!("1{i:011}"), Inventory::of_size(0)) };
    let cases = [
        (Some("ACTIVE"), Some("SUSPENDED"), MemberState::Active),
        (Some("PENDING_CLOSURE"), Some("ACTIVE"), MemberState::Suspended),
        (Some("CLOSED"), Some("SUSPENDED"), MemberState::Closed),
        (Some("PENDING_ACTIVATION"), None, MemberState::Pending),
        (None, Some("SUSPENDED"), MemberState::Suspended),
        (None, Some("ACTIVE"), MemberState::Active),
        (Some("HIBERNATING"), Some("ACTIVE"), MemberState::Unknown),
        (None, None, MemberState::Unknown),
    ];
    let listed = cases.iter().enumerate().map(|(i, (state, status, _))| member(i, *state, *status));
    let iam = FakeIam::start(Inventory::example()).organization(Organization::new(listed));
    let states: Vec<_> = members(&iam, LIST).await.unwrap().members.iter().map(|m| m.state).collect();
    assert_eq!(states[..cases.len()], cases.map(|(.., state)| state));
}

fn tree() -> Organization {
    let unit = |i: usize| ["ou-a", "ou-b", "ou-c"].into_iter().take(i % 4).collect::<Vec<_>>();
    let member = |i: usize| Member::new(&format!("1{i:011}"), Inventory::of_size(0)).units(&unit(i));
    let mut organization = Organization::new((0..60).map(member));
    organization.empty_units = vec![vec!["ou-empty".into()], vec!["ou-a".into(), "ou-empty2".into()]];
    organization
}

#[tokio::test]
async fn units_come_from_paths_or_else_from_the_tree() {
    let with_paths = FakeIam::start(Inventory::example()).organization(tree());
    let expected = members(&with_paths, UNITS).await.unwrap();
    assert_eq!(with_paths.calls().len(), 1 + 4, "no further calls");
    let units = |i: usize| expected.members[i].units.join(" ");
    assert_eq!((units(0), units(3), units(60)), ("r-root".into(), "r-root ou-a ou-b ou-c".into(), "r-root".into()));

    let without = FakeIam::start(Inventory::example()).organization(tree().without_paths());
    assert_eq!(members(&without, UNITS).await.unwrap(), expected);
    // Root and five units, each with its units and accounts, and one page for the list of roots.
    assert_eq!(without.calls_of("ListOrganizationalUnitsForParent"), 6);
    assert_eq!(without.calls_of("ListAccountsForParent"), 6);
    assert_eq!(without.calls_of("ListParents"), 0);
    let plain = FakeIam::start(Inventory::example()).organization(tree().without_paths());
    members(&plain, LIST).await.unwrap();
    assert_eq!(plain.calls().len(), 1 + 4, "units are not wanted");
}

/// Few accounts without a path are asked for one by one.
#[tokio::test]
async fn parents_of_few_accounts_are_requested_one_by_one() {
    let iam = FakeIam::start(Inventory::example()).organization(tree());
    let whole = members(&iam, UNITS).await.unwrap();
    // The account was moved while the tree was read: no list of accounts has it.
    let iam = FakeIam::start(Inventory::example()).organization(tree().without_paths());
    iam.change_organization(|o| o.hidden_from_tree = vec!["100000000007".into(), "100000000011".into()]);
    assert_eq!(members(&iam, UNITS).await.unwrap(), whole);
    // Three units and the root above one account, and the unit that they share above the other.
    assert_eq!(iam.calls_of("ListParents"), 5, "units that are known are not requested again");
    // Too many of them are an incomplete answer.
    iam.change_organization(|o| o.hidden_from_tree = o.members.iter().map(|m| m.account.id.clone()).collect());
    let error = members(&iam, UNITS).await.unwrap_err();
    assert!(matches!(error, SourceError::Incomplete(_)), "{error}");
}

#[tokio::test]
async fn tags_are_requested_for_accounts_in_use_and_only_if_wanted() {
    let iam = FakeIam::start(Inventory::example()).organization(Organization::new([
        Member::new(ONE, Inventory::of_size(0)).tag("env", "prod").tag("AKIAIOSFODNN7EXAMPLE", "x"),
        Member::new(TWO, Inventory::of_size(0)).tag("env", "test").state("SUSPENDED"),
    ]));
    let listed = members(&iam, TAGS).await.unwrap();
    let tags: Vec<String> =
        listed.members.iter().map(|m| m.tags.iter().map(|t| format!("{}={}", t.key, t.value)).collect()).collect();
    assert_eq!(tags, ["env=prod", "", ""]);
    assert_eq!(iam.calls_of("ListTagsForResource"), 2);
    iam.fail(
        On::operation("ListTagsForResource"),
        Fault::Error { status: 400, code: "AccessDeniedException", message: "" },
    );
    assert_eq!(members(&iam, TAGS).await.unwrap_err().reason(), "access_denied");
}

#[tokio::test]
async fn an_organisation_is_listed_with_the_discovery_role() {
    let iam = FakeIam::start(Inventory::example()).organization(two_members());
    let (process, _) = process(&iam).await;
    let organization = process.organization(Some(role(ONE)));
    // Not yet a delegated administrator.
    let error = organization.members(&LIST).await.unwrap_err();
    assert_eq!((error.reason(), iam.calls_in(ONE)), ("access_denied", 1), "{error}");
    iam.change_organization(|o| o.delegated = vec![ONE.into()]);
    assert_eq!(organization.members(&LIST).await.unwrap().members.len(), 3);
    assert_eq!(iam.assumed(ONE), 1);
    // The role is denied: one error, and no request to Organizations.
    let denied = process.organization(Some(with_external_id("333333333333", "xy")));
    assert_eq!(denied.members(&LIST).await.unwrap_err().reason(), "role_denied");
    assert!(iam.calls().iter().filter(|c| c.json).all(|c| c.account == ONE));
}

/// With many accounts at once, few credential reports are in memory.
#[tokio::test]
async fn a_credential_report_is_received_in_its_turn() {
    use super::collect::{AwsSource, Choice, Options};
    use crate::model::DetailsScope;
    use crate::source::{NoProgress, Request, Source};

    let iam = FakeIam::start(Inventory::example());
    let (process, _) = process(&iam).await;
    let turns = Arc::clone(&process.large_answers);
    let all = Arc::clone(&turns).acquire_many_owned(LARGE_ANSWERS as u32).await.unwrap();
    let source = AwsSource::new(
        process.account(Access::Own, "own".into(), 5000.0),
        Choice::Report,
        Options { last_used: false, details: DetailsScope::default() },
    );
    let check = tokio::spawn(async move {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        let details = DetailsScope::default();
        let request =
            Request { only_user: None, details, known_report: None, deadline, progress: Arc::new(NoProgress) };
        let account = source.account(&request).await.unwrap();
        source.collect(&account, &request).await.unwrap().len()
    });
    while iam.calls_of("GetCredentialReport") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!check.is_finished(), "it waits for its turn");
    drop(all);
    assert_eq!(check.await.unwrap(), 2, "the listing, and root");
    assert_eq!(turns.available_permits(), LARGE_ANSWERS);
}
