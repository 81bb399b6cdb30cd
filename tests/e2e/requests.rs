//! What happens around requests to AWS: their rate, their errors, files that block, and AWS's clock.

use crate::common::{Account, FakeIam, Fault, On};
use crate::exporter::{Cli, Exporter, check, cli, serve, wait_for, wait_until};
use jiff::SignedDuration;
use std::process::Command;

const SKEW: &str = "iam_key_exporter_clock_skew_seconds";

/// A FIFO that no process writes to: opening it to read blocks.
fn fifo(command: &Cli, name: &str) -> String {
    let path = command.home().join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

/// One request in a hundred seconds: the retry is not sent before the check's time is over.
#[test]
fn retries_keep_the_request_rate() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("GetAccountSummary"), Fault::THROTTLED);
    let flags = ["--collector=live", "--account.name=x", "--aws.max-requests-per-second=0.01", "--check.timeout=2s"];
    let ran = check(&iam, flags).expect(3);
    assert!(ran.stderr().contains("(timeout)"), "{}", ran.stderr());
    assert_eq!(iam.calls_of("GetAccountSummary"), 1, "{:?}", iam.calls());
}

#[test]
fn error_codes_are_labels_from_a_closed_list() {
    let iam = FakeIam::start(Account::example());
    let unknown = Fault::Error { status: 400, code: "SomethingNew20260101", message: "x" };
    iam.fail_times(1, On::keys_of("alice"), unknown);
    iam.fail_times(1, On::keys_of("bob"), Fault::status(418));
    iam.fail_times(1, On::keys_of("dave"), Fault::HalfSent);
    iam.fail_times(1, On::keys_of("Erin"), Fault::instead("text/html", "<html></html>"));
    iam.fail_times(1, On::keys_of("bobby"), Fault::ACCESS_DENIED);
    let metrics = serve(&iam, ["--collector=live", "--check.interval=1h"]).wait_for_success();
    assert_eq!(metrics.request_failures("ListAccessKeys", "other"), 3.0, "{}", metrics.without_help());
    assert_eq!(metrics.request_failures("ListAccessKeys", "connection"), 1.0);
    assert_eq!(metrics.request_failures("ListAccessKeys", "AccessDenied"), 1.0);
    assert_eq!(metrics.sum("iam_key_exporter_aws_request_failures_total"), 5.0);
}

/// What AWS echoes of a request does not reach log, page or terminal; what helps to find the cause does.
#[test]
fn error_texts_of_aws_are_redacted() {
    let message = "User: arn:aws:sts::123456789012:assumed-role/the-role/the-session cannot use key \
                   ASIAIOSFODNN7EXAMPLE with X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLEIQoJb3JpZ2luX2VjEXAMPLE. \
                   The Canonical String for this request should have been POST host:iam.amazonaws.com";
    let secrets = ["ASIAIOSFODNN7EXAMPLE", "IQoJb3JpZ2luX2VjEXAMPLE", "host:iam", "Canonical String"];
    for (code, reason) in [("AccessDenied", "access_denied"), ("SignatureDoesNotMatch", "credentials")] {
        let iam = FakeIam::start(Account::example());
        iam.fail(On::operation("ListUsers"), Fault::Error { status: 403, code, message });
        let exporter = serve(&iam, ["--collector=live", "--log.level=trace"]);
        wait_until(reason, || exporter.metrics().failures(reason) >= 2.0);
        let ran = check(&iam, ["--collector=live"]).expect(3);
        let page = exporter.get("/").text();
        for (place, text) in [("log", exporter.log()), ("terminal", ran.stderr()), ("page", page.clone())] {
            for secret in secrets {
                assert!(!text.contains(secret), "{place} shows {secret}:\n{text}");
            }
        }
        for (place, text) in [("log", exporter.log()), ("terminal", ran.stderr())] {
            for word in [code, "assumed-role/the-role", "00000000-0000-4000-8000-000000000000"] {
                assert!(text.contains(word), "{place} does not show {word}:\n{text}");
            }
        }
        assert!(page.contains(reason), "{page}");
        for word in [code, "the-role", "the-session", "arn:"] {
            assert!(!page.contains(word), "the page shows {word}:\n{page}");
        }
    }
}

#[test]
fn the_standard_error_of_a_credential_process_is_redacted() {
    let script = "#!/bin/sh\necho 'no luck with AKIAIOSFODNN7EXAMPLE' >&2\n\
                  echo '{\"SecretAccessKey\": \"hush-hush\", \"SessionToken\":\"IQoJb3JpZ2luX2VjEXAMPLEIQoJb3JpZ2luX2Vj\"}' >&2\n\
                  exit 1\n";
    let iam = FakeIam::start(Account::example());
    let command = |name: &str| {
        let command = cli([name, "--collector=live", "--check.timeout=20s"]).env("AWS_ENDPOINT_URL", iam.url());
        let command = command.file("credentials.sh", script);
        let profile = format!("[default]\ncredential_process = sh {}/credentials.sh\n", command.home().display());
        command.file(".aws/config", profile)
    };
    let ran = command("check").run().expect(3);
    let exporter = command("serve").arg("--log.level=trace").serve();
    wait_until("a failure in the log", || exporter.logged("no luck with") >= 1);
    for text in [ran.stderr(), exporter.log()] {
        assert!(text.contains("no luck with"), "{text}");
        for secret in ["AKIAIOSFODNN7EXAMPLE", "hush-hush", "IQoJb3JpZ2luX2VjEXAMPLE"] {
            assert!(!text.contains(secret), "{secret} is shown:\n{text}");
        }
    }
    assert!(!exporter.get("/").text().contains("no luck"));
}

#[test]
fn an_answer_that_cannot_be_parsed_is_named_with_the_parse_error() {
    for (body, word) in [
        ("<html><p>Login</p></html>", "ListUsersResponse"),
        ("{}", "XML"),
        ("", "XML"),
        (
            "<ListUsersResponse><ListUsersResult><IsTruncated>perhaps</IsTruncated></ListUsersResult></ListUsersResponse>",
            "boolean",
        ),
    ] {
        let iam = FakeIam::start(Account::example());
        iam.fail(On::operation("ListUsers"), Fault::instead("text/xml", body));
        let ran = check(&iam, ["--collector=live"]).expect(3);
        let text = ran.stderr();
        assert!(text.contains("(unexpected_response)") && text.contains("ListUsers"), "{body}: {text}");
        assert!(!text.contains("without an error code"), "{body}: {text}");
        assert!(text.contains(word), "{body}: {text}");
    }
}

/// As a connection that is reset before the answer begins.
#[test]
fn a_connection_that_ends_within_the_answer_is_a_connection_error() {
    // Many users, so that the SDK's budget of retries ends soon.
    let iam = FakeIam::start(Account::of_size(60));
    iam.fail(On::operation("ListAccessKeys"), Fault::HalfSent);
    let ran = check(&iam, ["--collector=live", "--aws.concurrency=64"]).expect(3);
    assert!(ran.stderr().contains("(connection)"), "{}", ran.stderr());
    assert!(ran.stderr().contains("ListAccessKeys"), "{}", ran.stderr());
}

/// The SDK has log events of its own for each attempt.
#[test]
fn the_log_has_events_of_the_exporter_only() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::operation("ListUsers"), Fault::instead("text/html", "<html><p>Login"));
    let command = cli(["serve", "--collector=live", "--log.format=json", "--web.listen-address=127.0.0.1:0"]);
    let exporter = command.aws(&iam).spawn();
    wait_until("a failure", || exporter.logged("check failed") >= 1);
    let errors: Vec<String> = exporter.log().lines().filter(|l| l.contains("\"ERROR\"")).map(str::to_owned).collect();
    assert_eq!(errors, [""; 0]);
}

const BLOCKING_FILES: [(&str, &[(&str, &str)]); 3] = [
    ("AWS_CONFIG_FILE", &[]),
    ("AWS_SHARED_CREDENTIALS_FILE", &[]),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", &[("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/exporter")]),
];

/// A command whose file of that name blocks.
fn with_blocking_file(iam: &FakeIam, name: &str, variable: &str, others: &[(&str, &str)]) -> Cli {
    let command = cli([name, "--collector=live"]).env("AWS_ENDPOINT_URL", iam.url());
    let path = fifo(&command, "blocks");
    let command = command.env(variable, path);
    others.iter().fold(command, |command, (name, value)| command.env(name, value))
}

#[test]
fn a_file_of_the_sdk_that_blocks_is_given_up_in_time() {
    for (variable, others) in BLOCKING_FILES {
        let iam = FakeIam::start(Account::example());
        let mut command = with_blocking_file(&iam, "check", variable, others).arg("--check.timeout=1s");
        let ran = command.run().expect(3);
        assert!(ran.stderr().contains("(timeout)"), "{variable}: {}", ran.stderr());
        assert_eq!(ran.stdout(), "", "{variable}");
        assert_eq!(iam.calls(), [], "{variable}");
    }
}

#[test]
fn a_file_of_the_sdk_that_blocks_stops_nothing_else() {
    for (variable, others) in BLOCKING_FILES {
        let iam = FakeIam::start(Account::example());
        let timing = ["--check.interval=50ms", "--check.timeout=50ms"];
        let exporter = with_blocking_file(&iam, "serve", variable, others).args(timing).serve();
        let failed = |exporter: &Exporter, times| {
            wait_for(variable, || Some(exporter.metrics()).filter(|m| m.failures("timeout") >= times))
        };
        let threads = failed(&exporter, 3.0).sum("process_threads");
        let metrics = failed(&exporter, 20.0);
        assert_eq!(exporter.get("/livez").status, 200, "{variable}");
        assert!(metrics.sum("process_threads") <= threads + 1.0, "{variable}: a thread hangs for each check");
        exporter.signal("TERM");
        assert!(exporter.wait_for_end().0.success(), "{variable}");
    }
}

/// The file is written at last: what was waiting for it goes on.
#[test]
fn a_file_of_the_sdk_that_is_there_late_is_used() {
    let iam = FakeIam::start(Account::example());
    let command = with_blocking_file(&iam, "serve", "AWS_CONFIG_FILE", &[]);
    let exporter = command.args(["--check.interval=100ms", "--check.timeout=1s"]).serve();
    wait_until("a failure", || exporter.metrics().failures("timeout") >= 1.0);
    let path = exporter.home().join("blocks");
    let profile =
        "[default]\naws_access_key_id = AKIAFAKEFAKEFAKEFAKE\naws_secret_access_key = a-secret-that-is-none\n";
    // The SDK reads it several times: the read that blocks gets the content, later ones find a regular file.
    let blocked = exporter.home().join("blocked");
    std::fs::rename(&path, &blocked).unwrap();
    std::fs::write(&path, profile).unwrap();
    std::fs::write(&blocked, profile).unwrap();
    exporter.wait_for_success();
}

#[test]
fn clock_skew_is_measured_exported_and_logged_once_a_change() {
    let iam = FakeIam::start(Account::example());
    let exporter = serve(&iam, ["--collector=live"]);
    let skew = |exporter: &Exporter| exporter.metrics().value(SKEW);
    exporter.wait_for_success();
    assert_eq!(skew(&exporter), Some(0.0));
    assert_eq!(exporter.logged("local clock"), 0, "{}", exporter.log());

    for (hours, logged) in [(1, 1), (-1, 1)] {
        iam.set_clock_ahead(SignedDuration::from_hours(hours));
        let expected = 3600.0 * hours as f64;
        wait_until("the skew", || skew(&exporter).is_some_and(|s| (s - expected).abs() <= 60.0));
        exporter.wait_for_another_check();
        assert_eq!(exporter.logged("the local clock differs from AWS's"), logged, "{}", exporter.log());
    }
    assert_eq!(exporter.logged("WARN"), 1, "{}", exporter.log());

    iam.set_clock_ahead(SignedDuration::from_secs(200));
    wait_until("the skew", || skew(&exporter).is_some_and(|s| (100.0..=210.0).contains(&s)));
    wait_until("the log", || exporter.logged("the local clock agrees with AWS's") == 1);
}

#[test]
fn clock_skew_is_absent_until_it_is_known() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::EVERYTHING, Fault::Hang);
    let exporter = serve(&iam, ["--collector=live"]);
    wait_until("the call that hangs", || !iam.calls().is_empty());
    assert_eq!(exporter.metrics().value(SKEW), None);
}
