//! `verify-config --aws`: which accounts can be reached, and what is missing in the others.

use crate::common::{Account, FakeIam, Fault, Key, Member, On, Organization, User};
use crate::exporter::{Ran, cli};

const ORGANIZATION: &str = "organization: { role_name: audit/exporter, external_id: wrong-external-id }\n";
const NO_PERMISSION: Fault = Fault::Error {
    status: 403,
    code: "AccessDenied",
    message: "User: arn is not authorized to perform: sts:AssumeRole because no identity-based policy allows it",
};
const FORBIDDEN: Fault = Fault::Error {
    status: 403,
    code: "AccessDenied",
    message: "not authorized to perform: iam:ListUsers with an explicit deny in a service control policy",
};

fn fake(digits: &str) -> FakeIam {
    let account = Account::new([User::new("eve", [Key::active(20), Key::active(3)])]);
    let member = |digit: char| Member::new(&digit.to_string().repeat(12), account.clone()).role(Some("audit/exporter"));
    FakeIam::start(account.clone()).organization(Organization::new(digits.chars().map(member)))
}

fn verify(iam: &FakeIam, config: &str, args: &[&str]) -> Ran {
    cli(["verify-config", "--aws", "--config.file=c.yaml"]).aws(iam).file("c.yaml", config).args(args).run()
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("no line {start:?}:\n{text}"))
}

#[test]
fn accounts_that_can_be_reached_need_few_requests() {
    let iam = fake("23");
    let text = verify(&iam, ORGANIZATION, &["--collect.last-used", "--collect.tags=team"]).expect(0).stdout();
    let organization = line(&text, "organization  ");
    assert!(organization.contains("own credentials") && organization.ends_with("  reachable"), "{text}");
    let two = line(&text, "222222222222");
    assert!(two.contains("account-222222222222  arn:aws:iam::222222222222:role/audit/exporter"), "{text}");
    assert!(two.ends_with("  reachable") && text.ends_with("\n3 accounts, 3 reachable\n"), "{text}");
    let of_account = iam.calls().into_iter().filter(|c| c.account == "222222222222").map(|c| c.operation);
    let operations =
        ["GetAccountSummary", "ListUsers", "ListAccessKeys", "GetAccessKeyLastUsed", "GetAccountAuthorizationDetails"];
    assert_eq!(of_account.collect::<Vec<_>>(), operations);
    iam.forget_calls();
    verify(&iam, ORGANIZATION, &["--collector=report"]).expect(0);
    let of_account = iam.calls().into_iter().filter(|c| c.account == "222222222222").map(|c| c.operation);
    assert_eq!(of_account.collect::<Vec<_>>(), ["GenerateCredentialReport", "GetCredentialReport", "ListAccessKeys"]);
}

#[test]
fn what_is_missing_is_named_with_the_command_that_creates_it() {
    let iam = fake("2345678");
    iam.change_organization(|o| {
        o.member("333333333333").role = None;
        o.member("444444444444").external_id = Some("expected-external-id".into());
    });
    let on = |operation, account: &str| On::operation(operation).in_account(account);
    iam.fail(on("ListUsers", "555555555555"), Fault::ACCESS_DENIED);
    iam.fail(on("ListAccessKeys", "555555555555"), Fault::ACCESS_DENIED);
    iam.fail(on("GetAccountAuthorizationDetails", "555555555555"), Fault::ACCESS_DENIED);
    iam.fail(on("ListUsers", "666666666666"), Fault::THROTTLED);
    iam.fail(On::assuming("777777777777"), NO_PERMISSION);
    iam.fail(on("ListUsers", "888888888888"), FORBIDDEN);
    let ran = verify(&iam, ORGANIZATION, &["--collect.tags=team"]).expect(3);
    let text = ran.stdout();
    for account in ["123456789012", "222222222222"] {
        assert!(line(&text, account).ends_with("  reachable"), "{text}");
    }
    for account in ["333333333333", "444444444444"] {
        let cannot = "the role cannot be assumed: it does not exist, its trust policy does not name the exporter's own \
                      role, or requires another external ID";
        assert!(line(&text, account).ends_with(cannot), "{text}");
    }
    let denied = "missing permission: iam:ListUsers, iam:ListAccessKeys, iam:GetAccountAuthorizationDetails";
    assert!(line(&text, "555555555555").ends_with(denied), "{text}");
    assert!(line(&text, "666666666666").contains("not verified (throttled): "), "{text}");
    assert!(line(&text, "777777777777").ends_with("has no permission sts:AssumeRole for it"), "{text}");
    assert!(line(&text, "888888888888").ends_with("iam:ListUsers, which a policy forbids explicitly"), "{text}");
    assert!(text.contains("\n8 accounts, 2 reachable\n"), "{text}");
    for fix in [
        "\n333333333333, 444444444444: with credentials of the account, HUB_ROLE_ARN being",
        "--template-file deploy/aws/organization/member-role.yaml --capabilities CAPABILITY_NAMED_IAM \
         --parameter-overrides HubRoleArn=HUB_ROLE_ARN ExternalId=EXTERNAL_ID RoleName=exporter RolePath=/audit/ \
         CollectTags=true\n",
        "\n555555555555: with credentials of the account:\n  aws iam put-role-policy --role-name exporter --policy-name auto \
         --policy-document file://deploy/aws/policies/auto.json\n",
        "--policy-name tags --policy-document file://deploy/aws/policies/tags.json\n",
        "\n777777777777: with credentials of the account that the exporter runs in",
        "file://deploy/aws/policies/assume.json\n",
    ] {
        assert!(text.contains(fix), "{fix:?} is missing:\n{text}");
    }
    for secret in ["wrong-external-id", "expected-external-id", "AKIA", "ASIA"] {
        assert!(!text.contains(secret) && !ran.stderr().contains(secret), "{text}{}", ran.stderr());
    }
}

#[test]
fn where_every_role_is_denied_the_exporter_itself_may_lack_the_permission() {
    let iam = fake("23");
    iam.fail(On::operation("AssumeRole"), Fault::ACCESS_DENIED);
    let config = "organization: { role_name: iam-key-exporter, management_account: skip }\n";
    let text = verify(&iam, config, &[]).expect(3).stdout();
    let two = line(&text, "222222222222");
    assert!(two.contains("requires an external ID, and none is configured; or"), "{text}");
    assert!(two.ends_with("the exporter's own role has no permission sts:AssumeRole"), "{text}");
    assert!(text.contains("HubRoleArn=HUB_ROLE_ARN OrganizationId=ORGANIZATION_ID\n"), "{text}");
    assert!(text.contains("or, if the role is there, with") && text.contains("policies/assume.json"), "{text}");
}

#[test]
fn an_organisation_that_cannot_be_listed_is_named_and_listed_accounts_are_tried() {
    let iam = fake("23");
    let denied = Fault::Error { status: 400, code: "AccessDeniedException", message: "You don't have permissions" };
    iam.fail(On::operation("ListAccounts"), denied);
    let role = "accounts: [{ role_arn: 'arn:aws:iam::222222222222:role/audit/exporter', name: two }]\n";
    let text = verify(&iam, &format!("{ORGANIZATION}{role}"), &[]).expect(3).stdout();
    let organization = line(&text, "organization ");
    assert!(organization.ends_with("missing permission: organizations:ListAccounts"), "{text}");
    assert!(line(&text, "222222222222  two").ends_with("  reachable"), "{text}");
    assert!(text.contains("--content file://deploy/aws/organization/delegation.json\n"), "{text}");
    assert!(text.contains("file://deploy/aws/policies/discovery.json\n"), "{text}");
    let discovery = "organization: { role_name: x, discovery_role_arn: 'arn:aws:iam::999999999999:role/discovery' }\n";
    let text = verify(&iam, discovery, &[]).expect(3).stdout();
    assert!(line(&text, "organization ").contains("role/discovery  the role cannot be assumed: "), "{text}");
    assert!(text.contains("RoleName=discovery Discovery=true\n"), "{text}");
}

#[test]
fn without_accounts_the_credentials_are_verified() {
    let iam = fake("");
    let own = |args: &[&str]| cli(["verify-config", "--aws"]).aws(&iam).args(args).run();
    let text = own(&[]).expect(0).stdout();
    assert!(line(&text, "123456789012").ends_with("own credentials  reachable"), "{text}");
    iam.fail(On::operation("ListUsers"), Fault::ACCESS_DENIED);
    let text = own(&["--collector=live"]).expect(3).stdout();
    assert!(text.contains("--role-name HUB_ROLE --policy-name live "), "{text}");
    iam.heal();
    iam.fail(On::EVERYTHING, Fault::BAD_TOKEN);
    let text = own(&[]).expect(3).stdout();
    assert!(line(&text, "own account").contains("not verified (credentials): "), "{text}");
    let demo = own(&["--demo"]).expect(2);
    assert!(demo.stderr().contains("--aws") && demo.stdout().is_empty(), "{}", demo.stderr());
    let settings = cli(["verify-config", "--aws=false"]).run().expect(0).stdout();
    assert!(settings.contains("policy:"), "{settings}");
}
