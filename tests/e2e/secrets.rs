//! Nothing secret leaves the process: not in logs (at level trace), metrics, pages, reports and errors.
//!
//! Every secret of these tests contains one of [`MARKS`]: access key IDs of all kinds, secret keys, session tokens, web
//! identity and SSO tokens, external IDs, passwords of proxies. Two things are allowed, and stated in
//! [`key_ids_are_shown_where_they_are_asked_for`]: with `--metrics.access-key-id`, access key IDs are in `/metrics` and in
//! the reports of `check`, and nowhere else. External IDs are shown as `[redacted]`.

use crate::common::{Account, FakeIam, Fault, Member, On, Organization, Report, now};
use crate::exporter::{Cli, Exporter, NOBODY, check, cli, wait_until};
use crate::http;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const MARKS: [&str; 8] = ["hush", "Hush", "AKIA", "ASIA", "AROA", "IQoJ", "eyJ", "a-secret-that-is-none"];

const ONE: &str = "111111111111";
const TWO: &str = "222222222222";
const THREE: &str = "333333333333";
const CONFIG: &str = "accounts:\n\
    - {self: true}\n\
    - {role_arn: 'arn:aws:iam::111111111111:role/iam-key-exporter', external_id: hush-hush-hush}\n\
    - {role_arn: 'arn:aws:iam::222222222222:role/iam-key-exporter', external_id: hush-the-wrong-one}\n\
    - {role_arn: 'arn:aws:iam::333333333333:role/iam-key-exporter'}\n";

/// As AWS, or a proxy in between, can echo what was sent. It is valid in XML.
const ECHO: &str = "User: arn:aws:sts::123456789012:assumed-role/exporter/i-1 with key ASIAIOSFODNN7EXAMPLE (or \
    AKIAIOSFODNN7EXAMPLE of arn:aws:sts::1:assumed-role/AROAIOSFODNN7EXAMPLE/x), SecretAccessKey=hushhush, \
    X-Amz-Security-Token=IQoJb3JpZ2luX2VjFAKEIQoJb3JpZ2luX2VjFAKE&amp;Version=1, \
    hush7hush/K7MDENG+bPxRfiCYEXAMPLEKEYhush is not authorized";

/// Fails the test if a secret is in this text.
#[track_caller]
fn hides_secrets(place: &str, text: &str) {
    for mark in MARKS {
        let line = text.lines().find(|line| line.contains(mark));
        assert!(line.is_none(), "{place} shows {mark}: {}", line.unwrap_or_default());
    }
}

/// Fails the test if one of its pages, or its log, shows a secret.
#[track_caller]
fn serves_no_secrets(exporter: &Exporter) {
    for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/livez", "/readyz", "/nowhere", "/metrics?name=x"] {
        hides_secrets(path, &exporter.get(path).text());
    }
    hides_secrets("the log", &exporter.log());
}

/// A variable of another program that logs by it must not change what is logged.
fn tracing_everything(command: Cli) -> Cli {
    let everything = "trace,aws_smithy_runtime=trace,aws_config=trace,hyper=trace,rustls=trace";
    command.env("RUST_LOG", everything).env("RUST_BACKTRACE", "full").arg("--log.level=trace")
}

/// Its users have tags as the console makes them: the ID of a key with its description.
fn account() -> Account {
    let mut account = Account::example();
    for user in &mut account.users {
        let ids: Vec<String> = user.keys.iter().map(|key| key.id.clone()).collect();
        user.tags.extend(ids.into_iter().map(|id| (id, "laptop".to_owned())));
        user.tags.push(("team".into(), "platform".into()));
    }
    account
}

fn fake() -> FakeIam {
    let iam = FakeIam::start(account()).organization(Organization::new([
        Member::new(ONE, account()).external_id("hush-hush-hush"),
        Member::new(TWO, account()).external_id("hush-the-right-one"),
        Member::new(THREE, account()),
    ]));
    let invalid = Fault::Error {
        status: 400,
        code: "ValidationError",
        message: "1 validation error detected: Value 'hush-the-wrong-one' at 'externalId' failed to satisfy constraint",
    };
    iam.fail_times(1, On::assuming(TWO), invalid);
    iam
}

/// The number of failed checks of an account.
fn failures_of(account: &str, exporter: &Exporter) -> f64 {
    let metrics = exporter.metrics();
    let start = format!("iam_key_exporter_check_failures_total{{account_id=\"{account}\"");
    let values =
        metrics.text().lines().filter(|line| line.starts_with(&start)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

/// Answers that carry secrets: errors, and what is no answer.
fn faults() -> Vec<Fault> {
    let error = |status, code| Fault::Error { status, code, message: ECHO };
    let cut = "<ListUsersResponse><ListUsersResult><Users><member><UserName>AKIAIOSFODNN7EXAMPLE";
    vec![
        error(403, "AccessDenied"),
        error(403, "ExpiredToken"),
        error(403, "SignatureDoesNotMatch"),
        error(400, "AKIAIOSFODNN7EXAMPLE"),
        error(500, "ServiceFailure"),
        Fault::instead("text/html", format!("<html>{ECHO}</html>")),
        Fault::instead("text/xml", format!("<AKIAIOSFODNN7EXAMPLE>{ECHO}")),
        Fault::instead("text/xml", cut),
        Fault::instead("text/plain", ECHO),
    ]
}

#[test]
fn a_busy_run_shows_no_secret() {
    for (collector, operation, format) in [
        ("live", "ListUsers", "text"),
        ("report", "GetCredentialReport", "json"),
        ("auto", "GetAccountSummary", "text"),
    ] {
        let iam = fake();
        let command =
            cli(["serve", "--config.file=c.yaml", "--check.interval=200ms", "--web.enable-lifecycle"]).aws(&iam);
        let command = command.args(["--collect.last-used", "--collect.tags=team", "--collect.owner-tag=owner,team"]);
        let command = command.args([format!("--collector={collector}"), format!("--log.format={format}")]);
        let command = command.env("IAM_KEY_EXPORTER_PASWORD", "hush-hush").env("AWS_SESSION_TOKEN", "IQoJhush");
        let exporter = tracing_everything(command).file("c.yaml", CONFIG).serve();
        wait_until("the first accounts", || exporter.metrics().sum("iam_key_exporter_account_up") >= 3.0);
        for fault in faults() {
            iam.fail(On::keys_of("alice").in_account(ONE), fault.clone());
            iam.fail(On::operation(operation).in_account(THREE), fault);
            let failed = failures_of(THREE, &exporter);
            if collector == "report" {
                // As if AWS were generating one: otherwise the known report is not transferred again.
                iam.fail_times(1, On::operation("GenerateCredentialReport").in_account(THREE), Fault::LIMIT_EXCEEDED);
            }
            wait_until("a failed check", || failures_of(THREE, &exporter) > failed);
            iam.heal();
        }
        std::fs::write(exporter.home().join("c.yaml"), CONFIG.replace("hush-hush-hush", "'hush hush hush'")).unwrap();
        let reload = http::request(exporter.address(), "POST", "/-/reload", &[("Content-Length", "0")]);
        assert_eq!(reload.status, 500);
        hides_secrets("the answer to a reload", &reload.text());
        wait_until("the record of the reload", || exporter.logged("configuration not reloaded") == 1);
        // It was there to be hidden.
        assert!(exporter.log().contains("[redacted]"), "{}", exporter.log());
        serves_no_secrets(&exporter);
    }
}

#[test]
fn a_malformed_report_or_inventory_shows_no_key_id() {
    let report = account().credential_report().replacen("true", "AKIAIOSFODNN7EXAMPLE", 1);
    let inventory = account().inventory().to_string();
    let malformed = [
        ("--input.credential-report=f", report.clone()),
        ("--input.credential-report=f", report.replace(",false", ",\"ASIAIOSFODNN7EXAMPLE")),
        ("--input.inventory=f", inventory.replacen("\"active\"", "\"AKIAIOSFODNN7EXAMPLE\"", 1)),
        ("--input.inventory=f", inventory.replacen("\"access_keys\"", "\"AKIAIOSFODNN7EXAMPLE\"", 1)),
        ("--input.inventory=f", inventory.replacen("\"created\":\"", "\"created\":\"AKIAIOSFODNN7EXAMPLE", 1)),
        (
            "--input.inventory=f",
            inventory.replacen("\"access_keys\":[", "\"access_keys\":[\"AKIAIOSFODNN7EXAMPLE\",", 1),
        ),
    ];
    for (flag, content) in malformed {
        assert!(MARKS.iter().any(|mark| content.contains(mark)));
        let ran = tracing_everything(cli(["check", flag])).file("f", &content).run().expect(3);
        hides_secrets(flag, &(ran.stdout() + &ran.stderr()));
        assert!(ran.stderr().contains("file_malformed"), "{}", ran.stderr());
    }
    let iam = FakeIam::start(account());
    iam.set_report(Report::Fixed { content: report.into_bytes(), generated_at: now() });
    let ran = check(&iam, ["--collector=report", "--log.level=trace"]).expect(3);
    assert!(ran.stderr().contains("report_malformed"), "{}", ran.stderr());
    hides_secrets("the error", &ran.stderr());
}

#[test]
fn reports_and_verified_configurations_show_no_secret() {
    let iam = fake();
    iam.fail(On::operation("ListUsers").in_account(THREE), faults().remove(0));
    let command = |name: &str| tracing_everything(cli([name, "--config.file=c.yaml"]).aws(&iam)).file("c.yaml", CONFIG);
    for output in ["table", "json", "csv", "prometheus"] {
        let ran = command("check").args(["--collect.last-used", "--collect.tags=team", &format!("--output={output}")]);
        let ran = { ran }.run().expect(3);
        assert!(ran.stdout().contains("bob"), "{output}: {}{}", ran.stdout(), ran.stderr());
        hides_secrets(output, &(ran.stdout() + &ran.stderr()));
    }
    let printed = command("verify-config").run().expect(0);
    assert!(printed.stdout().contains("external_id: '[redacted]'") || printed.stdout().contains("[redacted]"));
    let table = command("verify-config").arg("--aws").run().expect(3);
    assert!(table.stdout().contains(TWO), "{}", table.stdout());
    for ran in [printed, table] {
        hides_secrets("verify-config", &(ran.stdout() + &ran.stderr()));
    }
}

#[test]
fn key_ids_are_shown_where_they_are_asked_for() {
    let iam = FakeIam::start(account());
    let flags = ["--metrics.access-key-id", "--collector=live", "--log.level=trace"];
    let exporter = cli(["serve"]).aws(&iam).args(flags).serve();
    assert!(exporter.wait_for_success().text().contains("access_key_id=\"AKIA"));
    hides_secrets("the page", &exporter.get("/").text());
    hides_secrets("the log", &exporter.log());
    for (output, shows) in [("json", true), ("prometheus", true), ("table", true), ("csv", false)] {
        let ran = check(&iam, flags).expect(1);
        hides_secrets("standard error", &ran.stderr());
        let ran = cli(["check"]).aws(&iam).args(flags).arg(format!("--output={output}")).run().expect(1);
        assert_eq!(ran.stdout().contains("AKIA"), shows, "{output}: {}", ran.stdout());
        hides_secrets("standard error", &ran.stderr());
    }
}

/// A value is quoted by errors only where it cannot be a secret.
#[test]
fn errors_about_a_configuration_show_no_external_id() {
    let role = "role_arn: 'arn:aws:iam::111111111111:role/x'";
    for config in [
        format!("accounts: [{{ {role}, external_id: 'hush hush' }}]\n"),
        format!("accounts: [{{ {role}, external_id: [hush-hush] }}]\n"),
        format!("accounts: [{{ {role}, external_id: {{ hush-hush: 1 }} }}]\n"),
        format!("accounts: [{{ {role}, external_id: hush-hush, external_id: hush-hush }}]\n"),
        format!("accounts: [{{ {role}, external_id: hush-hush, nonsense: 1 }}]\n"),
        format!("accounts: [{{ {role}, external_id: hush-hush: hush }}]\n"),
        format!("accounts: [{{ {role}, external_id: \"hush-hush }}]\n"),
        format!("accounts: [{{ {role}, external_id: !hush hush-hush }}, 1]\n"),
        format!("accounts: [{{ {role}, external_id: hush-hush }}, {{ {role}, external_id: hush-hush }}]\n"),
        "accounts: [{ self: true, external_id: hush-hush }]\n".to_owned(),
        "accounts:\n  - self: true\n    external_id:\n      - hush-hush\n   bad: indent\n".to_owned(),
        "organization: { role_name: x, external_id: hush hush }\n".to_owned(),
        "organization: { external_id: hush-hush }\n".to_owned(),
        "organization: { role_name: x, external_id: |\n  hush\n}\n".to_owned(),
    ] {
        for name in ["check", "verify-config", "serve"] {
            let ran = cli([name, "--config.file=c.yaml", "--log.level=trace"]).file("c.yaml", &config).run().expect(2);
            hides_secrets(&config, &(ran.stdout() + &ran.stderr()));
        }
    }
}

type With<'a> = Box<dyn Fn(Cli) -> Cli + 'a>;

/// Credentials of every kind, each of which fails with an answer or a file that carries a secret.
#[test]
fn no_source_of_credentials_is_shown() {
    let iam = FakeIam::start(account());
    iam.fail(On::EVERYTHING, Fault::Error { status: 403, code: "InvalidIdentityToken", message: ECHO });
    let url = iam.url();
    let at_aws = |command: Cli| command.env("AWS_ENDPOINT_URL", &url);
    let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6Imh1c2gifQ.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6aHVzaCJ9.hushHushHush";
    let keys =
        "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = hush/hush\naws_session_token = IQoJhush\n";
    let sso = "[default]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n\
               [sso-session s]\nsso_region = us-east-1\nsso_start_url = https://hush.awsapps.com/start\n";
    let sso_token = r#"{"accessToken":"eyJhush","expiresAt":"2099-01-01T00:00:00Z","refreshToken":"hush","clientId":"hush",
        "clientSecret":"hush","region":"us-east-1","startUrl":"https://hush.awsapps.com/start"}"#;
    // The name is the SHA-1 of the session's name.
    let sso_cache = ".aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json";
    let web_identity = |command: Cli| {
        let file = command.home().join("token");
        let command = command.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x");
        at_aws(command).env("AWS_WEB_IDENTITY_TOKEN_FILE", file).file("token", token)
    };
    let process = |output: &str| {
        let script = format!("cat <<'E'\n{output}\nE\n");
        move |command: Cli| {
            let profile = format!("[default]\ncredential_process = sh {}/p.sh\n", command.home().display());
            at_aws(command).file("p.sh", &script).file(".aws/config", profile)
        }
    };
    let printed =
        r#"{"Version":1,"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"hush","SessionToken":"IQoJhush"}"#;
    let kinds: [(&str, With); 11] = [
        ("web identity", Box::new(web_identity)),
        ("environment", Box::new(|c| at_aws(c).credentials().env("AWS_SESSION_TOKEN", "IQoJhush"))),
        ("credentials file", Box::new(|c| at_aws(c).file(".aws/credentials", format!("[default]\n{keys}")))),
        (
            "profile with a role",
            Box::new(|c| {
                let profile =
                    "[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = s\nexternal_id = hush-hush\n";
                at_aws(c).file(".aws/credentials", format!("[s]\n{keys}")).file(".aws/config", profile)
            }),
        ),
        (
            "broken credentials file",
            Box::new(|c| at_aws(c).file(".aws/credentials", format!("[default\n{keys}hush\n= hush"))),
        ),
        ("process", Box::new(process(printed))),
        ("process without version", Box::new(process(&printed.replace("\"Version\":1,", "")))),
        ("process with cut output", Box::new(process(&printed[..printed.len() - 4]))),
        ("SSO", Box::new(|c| at_aws(c).file(".aws/config", sso).file(sso_cache, sso_token))),
        (
            "container",
            Box::new(|c| {
                at_aws(c)
                    .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/credentials?hush=hush"))
                    .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic hushHush")
            }),
        ),
        (
            "proxy",
            Box::new(|c| {
                let proxied = c.credentials().env("HTTP_PROXY", "http://hush-user:hush-password@127.0.0.1:1");
                proxied.env("HTTPS_PROXY", "http://hush-user:hush-password@127.0.0.1:1")
            }),
        ),
    ];
    for (kind, with) in &kinds {
        let ran = tracing_everything(with(cli(["check", "--collector=live", "--check.timeout=10s"]))).run().expect(3);
        hides_secrets(kind, &(ran.stdout() + &ran.stderr()));
    }
}

/// The web configuration: private keys, hashes of passwords, and the passwords that clients send, right or wrong.
#[test]
fn nothing_of_the_web_configuration_is_shown() {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (identity.cert.pem(), identity.signing_key.serialize_pem());
    let hash = bcrypt::hash("hush-hush", 4).unwrap();
    // The headers of clients: hush-user:hush-hush, and with a wrong password.
    let [right, wrong] = ["aHVzaC11c2VyOmh1c2gtaHVzaA==", "aHVzaC11c2VyOmh1c2gtd3Jvbmc="];
    let key_lines = key.lines().filter(|line| !line.starts_with('-'));
    let secrets: Vec<&str> = key_lines.chain([&hash[7..], right, wrong]).collect();
    let hides = |place: &str, text: &str| {
        hides_secrets(place, text);
        // Also as the numbers of its bytes.
        let numbers = |secret: &str| format!("{:?}", &secret.as_bytes()[..8]).trim_matches(['[', ']']).to_owned();
        let shown = secrets.iter().find(|secret| text.contains(**secret) || text.contains(&numbers(secret)));
        assert!(shown.is_none(), "{place} shows {}:\n{text}", shown.unwrap_or(&""));
    };
    let indented = |text: &str| text.replace('\n', "\n    ");
    let tls =
        format!("tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n", indented(&certificate), indented(&key));
    let users = format!("basic_auth_users:\n  admin: {hash}\n");
    let served = [users.clone(), format!("{users}rate_limit: {{ interval: 1h, burst: 6 }}\n"), format!("{tls}{users}")];
    let broken = [
        format!("basic_auth_users:\n  admin: {}\n", &hash[..59]),
        format!("basic_auth_users:\n  admin: [{hash}]\n"),
        format!("basic_auth_users: {hash}\n"),
        format!("basic_auth_users:\n  - admin: {hash}\n"),
        format!("basic_auth_users:\n  admin: {hash}\n  admin: {hash}\n"),
        "basic_auth_users:\n  admin: hush-hush\n".to_owned(),
        format!("{users}{users}"),
        tls.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN KEY-----"),
        tls.replacen(&key[40..60], "hush-hush-hush", 1),
        tls.replace("  key: |", "  key:"),
        tls.replace("  key: |", "  kez: |"),
        tls.replace("  key: |", "  client_auth_type: |"),
        tls.replace("  key: |", "  key_file: x\n  key: |"),
        tls.replace("  key: |", "  key_file: |"),
        tls.replace("  key: |", "  cipher_suites: [TLS_X]\n  min_version: |"),
        tls.replace("-----END PRIVATE KEY-----", ""),
        tls.replace("-----BEGIN PRIVATE KEY-----\n    ", "-----BEGIN PRIVATE KEY----- "),
        tls.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----"),
        format!("basic_auth_users:\n  {hash}: admin\n"),
        format!("tls_server_config: {{ curve_preferences: [{hash}] }}\n"),
        format!("rate_limit: {{ interval: {hash}, burst: 1 }}\n"),
        format!("http_server_config: {{ headers: {{ X-Frame-Options: {hash} }} }}\n"),
    ];
    for (server, text) in served.iter().enumerate() {
        let command =
            tracing_everything(cli(["serve", "--demo", "--web.enable-lifecycle", "--web.config.file=w.yaml"]));
        let exporter = command.file("w.yaml", text).serve();
        for credentials in [right, wrong, "hush", ""] {
            let header = format!("Basic {credentials}");
            for path in ["/metrics", "/", "/hush-hush", "/?password=hush-hush"] {
                // To a server with TLS it is no request.
                if let Ok(answer) = http::try_request(exporter.address(), "GET", path, &[("Authorization", &header)]) {
                    hides(path, &String::from_utf8_lossy(&answer.body));
                }
            }
        }
        // Some of them: a reload takes a second.
        for broken in broken.iter().skip(server).step_by(8) {
            let failures = exporter.logged(" WARN ") + exporter.logged("ERROR");
            std::fs::write(exporter.home().join("w.yaml"), broken).unwrap();
            exporter.signal("HUP");
            wait_until("the refusal", || exporter.logged(" WARN ") + exporter.logged("ERROR") > failures);
        }
        hides("the log", &exporter.log());
    }
    for broken in &broken {
        for name in ["serve", "verify-config"] {
            let command = tracing_everything(cli([name, "--demo", "--web.config.file=w.yaml"]));
            let ran = command.file("w.yaml", broken).run().expect(2);
            hides(broken, &(ran.stdout() + &ran.stderr()));
        }
    }
}

#[test]
fn memory_and_environment_are_closed_to_other_processes_and_to_core_dumps() {
    let iam = FakeIam::start(Account::example());
    let exporter = cli(["serve", "--collector=live"]).aws(&iam).without_privileges().serve();
    exporter.wait_for_success();
    let process = Path::new("/proc").join(exporter.pid().to_string());
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    for file in ["environ", "mem", "maps"] {
        let file = process.join(file);
        assert_eq!(file.metadata().unwrap().uid(), 0, "{file:?} belongs to the user of the process");
        let mut reader = Command::new("head");
        reader.args(["-c", "1"]).arg(&file);
        if rustix::process::geteuid().is_root() {
            reader.uid(NOBODY).gid(NOBODY);
        }
        let read = reader.output().unwrap();
        assert!(!read.status.success() && read.stdout.is_empty(), "{file:?} is readable to another process");
    }
    // The exporter itself still reads what its metrics are made of.
    let metrics = exporter.metrics();
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_threads",
        "process_start_time_seconds",
        "process_open_fds",
        "process_max_fds",
    ] {
        assert!(
            metrics.value(name) > Some(0.0) || name == "process_cpu_seconds_total",
            "{name}: {:?}",
            metrics.value(name)
        );
    }
    assert!(metrics.value("process_cpu_seconds_total").is_some());
}
