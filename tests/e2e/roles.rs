//! Credentials of roles, with the whole program: renewal, and what is never shown.

use crate::common::{Account, FakeIam, Fault, Member, On, Organization};
use crate::exporter::{Exporter, cli, wait_until};
use jiff::SignedDuration;

const ONE: &str = "111111111111";
const TWO: &str = "222222222222";
const CONFIG: &str = "accounts:\n\
    - {role_arn: 'arn:aws:iam::111111111111:role/iam-key-exporter', external_id: hush-hush-hush}\n\
    - {role_arn: 'arn:aws:iam::222222222222:role/iam-key-exporter', external_id: not-the-right-one}\n";

fn organization() -> Organization {
    Organization::new([
        Member::new(ONE, Account::example()).external_id("hush-hush-hush"),
        Member::new(TWO, Account::example()).external_id("another-secret"),
    ])
}

fn serve(iam: &FakeIam, flags: &[&str]) -> Exporter {
    let common = ["serve", "--collector=live", "--config.file=c.yaml", "--log.level=trace"];
    cli(common).args(flags).file("c.yaml", CONFIG).aws(iam).serve()
}

/// Key IDs, tokens and external IDs, also in the errors that AWS echoes.
#[test]
fn nothing_of_a_roles_credentials_is_shown() {
    let iam = FakeIam::start(Account::example()).organization(organization());
    let echo = "User: arn:aws:sts::123456789012:assumed-role/exporter/i-1 with ASIAFAKEFAKEFAKEFAKE and \
                X-Amz-Security-Token=IQoJb3JpZ2luX2VjFAKEIQoJb3JpZ2luX2VjFAKE is not authorized";
    iam.fail_times(
        1,
        On::operation("ListUsers").in_account(ONE),
        Fault::Error { status: 403, code: "AccessDenied", message: echo },
    );
    let exporter = serve(&iam, &["--check.interval=100ms"]);
    wait_until("account one", || {
        exporter.metrics().value(r#"iam_key_exporter_account_up{account_id="111111111111"}"#) == Some(1.0)
    });
    wait_until("the denied role", || exporter.log().contains("role_denied"));
    let shown = [exporter.log(), exporter.get("/metrics").text(), exporter.get("/").text()].join("\n");
    assert!(exporter.log().contains("role/iam-key-exporter"), "{}", exporter.log());
    for secret in ["ASIA", "AKIA", "IQoJ", "hush", "right-one", "another-secret", "a-secret-that-is-none"] {
        assert!(!shown.contains(secret), "{secret} is shown:\n{shown}");
    }
    assert_eq!(iam.assumed(TWO), 1, "a denied role is not assumed at each check");
}

/// Sessions of a few seconds: checks go on without a failure while each is replaced by the next.
#[test]
fn sessions_are_renewed_before_they_end() {
    let iam = FakeIam::start(Account::example()).organization(organization());
    iam.change_organization(|o| o.session = SignedDuration::from_secs(4));
    let exporter = serve(&iam, &["--check.interval=100ms"]);
    wait_until("three sessions", || iam.assumed(ONE) >= 3);
    let metrics = exporter.metrics();
    assert_eq!(metrics.value(r#"iam_key_exporter_account_up{account_id="111111111111"}"#), Some(1.0));
    assert!(!exporter.log().contains("ExpiredToken"), "{}", exporter.log());
}
