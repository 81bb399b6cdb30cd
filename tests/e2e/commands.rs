//! The small commands: help, version, completions, manual page, schema, health check.

use crate::common::{Account, FakeIam, Fault, On};
use crate::exporter::{cli, serve};
use serde_json::{Value, json};
use std::net::TcpListener;

#[test]
fn help_names_every_command_and_flag() {
    let help = cli(["--help"]).run().expect(0).stdout();
    for command in ["serve", "check", "verify-config", "healthcheck", "inventory-schema", "completions", "man"] {
        assert!(help.contains(command), "{command} is missing:\n{help}");
    }
    let page = include_str!("../../docs/configuration.md");
    for row in page.lines().filter(|l| l.starts_with("| `--")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let flag = cells[1].trim_matches('`');
        let commands = cells[4].replace("all", "serve, check");
        for command in commands.split(", ").filter(|c| !c.is_empty()) {
            let help = cli([command, "--help"]).run().expect(0).stdout();
            assert!(help.contains(flag), "{command} --help lacks {flag}");
            let variable = format!("IAM_KEY_EXPORTER_{}", flag[2..].to_uppercase().replace(['.', '-'], "_"));
            assert!(help.contains(&variable), "{command} --help lacks {variable}");
        }
    }
}

#[test]
fn the_version_is_the_crates() {
    let version = cli(["--version"]).run().expect(0).stdout();
    assert_eq!(version.trim(), format!("iam-key-exporter {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_for_every_shell() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef iam-key-exporter"),
        ("fish", "complete -c iam-key-exporter"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let script = cli(["completions", shell]).run().expect(0).stdout();
        assert!(script.contains(word) && script.contains("web.listen-address"), "{shell}");
    }
    cli(["completions", "tcsh"]).run().expect(2);
}

#[test]
fn bash_accepts_its_completions() {
    let script = cli(["completions", "bash"]).run().expect(0).stdout();
    let ask = format!(
        "{script}\nfunction=$(complete -p iam-key-exporter | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         COMP_WORDS=(iam-key-exporter check --coll); COMP_CWORD=2\n\
         \"$function\" iam-key-exporter --coll check; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = std::process::Command::new("bash").args(["-c", &ask]).output().unwrap();
    let offered = String::from_utf8(output.stdout).unwrap();
    assert!(offered.lines().any(|l| l == "--collector"), "{offered}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_manual_page_is_roff() {
    let page = cli(["man"]).run().expect(0).stdout();
    assert!(page.contains(".TH iam-key-exporter 1") && page.contains(".SH"), "{page}");
}

/// The printed schema and the reader agree on what an inventory is.
#[test]
fn the_schema_accepts_what_is_read_and_refuses_what_is_not() {
    let schema: Value = cli(["inventory-schema"]).run().expect(0).json();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let base = || Account::example().inventory();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut inventory = base();
        change(&mut inventory);
        inventory
    };
    let samples: Vec<(&str, bool, Value)> = vec![
        ("the example", true, base()),
        ("the least", true, json!({"version": 1, "account": {"id": "123456789012"}, "users": []})),
        ("unknown keys", true, with(&|i| i["users"][0]["access_keys"] = Value::Null)),
        (
            "all that is optional",
            true,
            with(&|i| {
                i["generated_at"] = "2026-01-31T12:00:00Z".into();
                i["account"]["name"] = "prod".into();
                i["users"][0]["created"] = "2026-01-31T12:00:00+01:00".into();
                i["users"][0]["observed_at"] = "2026-01-31T12:00:00Z".into();
            }),
        ),
        (
            "a key of which little is known",
            true,
            with(&|i| i["users"][0]["access_keys"] = json!([{"status": "inactive"}])),
        ),
        ("nothing known of last use", true, with(&|i| i["users"][0]["access_keys"][0]["last_used"] = Value::Null)),
        (
            "no member access_keys",
            false,
            with(&|i| {
                i["users"][0].as_object_mut().unwrap().remove("access_keys");
            }),
        ),
        (
            "no users",
            false,
            with(&|i| {
                i.as_object_mut().unwrap().remove("users");
            }),
        ),
        ("another version", false, with(&|i| i["version"] = 2.into())),
        ("a short account", false, with(&|i| i["account"]["id"] = "1234".into())),
        ("letters in the account", false, with(&|i| i["account"]["id"] = "12345678901x".into())),
        ("an unknown member", false, with(&|i| i["users"][0]["mfa"] = true.into())),
        ("a wrong status", false, with(&|i| i["users"][0]["access_keys"][0]["status"] = "Active".into())),
        ("a wrong date", false, with(&|i| i["users"][0]["access_keys"][0]["created"] = "yesterday".into())),
        ("a wrong last use", false, with(&|i| i["users"][0]["access_keys"][0]["last_used"] = "soon".into())),
        ("an empty name", false, with(&|i| i["users"][0]["name"] = "".into())),
        ("a name that is too long", false, with(&|i| i["users"][0]["name"] = "x".repeat(65).into())),
        ("a path without slashes", false, with(&|i| i["users"][0]["path"] = "team".into())),
        ("root of another kind", false, with(&|i| i["root"] = json!({"active_access_keys": "no"}))),
        ("negative keys of root", false, with(&|i| i["root"] = json!({"active_access_keys": -1}))),
    ];
    for (what, sound, inventory) in samples {
        assert_eq!(validator.is_valid(&inventory), sound, "{what}: by the schema");
        let ran =
            cli(["check", "--input.inventory=i.json", "--output=json"]).file("i.json", inventory.to_string()).run();
        assert_eq!(ran.stdout().is_empty(), !sound, "{what}: by the reader: {}", ran.stderr());
    }
}

#[test]
fn healthcheck_asks_a_running_exporter() {
    let iam = FakeIam::start(Account::example());
    iam.fail(On::EVERYTHING, Fault::ACCESS_DENIED);
    let exporter = serve(&iam, [""; 0]);
    let ask = |path: &str| cli(["healthcheck", &format!("--url=http://{}{path}", exporter.address())]).run();
    ask("/-/healthy").expect(0);
    let not_ready = ask("/readyz").expect(1);
    assert!(not_ready.stderr().contains("503"), "{}", not_ready.stderr());
    ask("/nowhere").expect(1);
    let address = exporter.address();
    drop(exporter);
    let gone = cli(["healthcheck", &format!("--url=http://{address}/")]).run().expect(1);
    assert!(gone.stderr().contains(&address.to_string()), "{}", gone.stderr());
    for url in ["ftp://x/", "nonsense", "http://"] {
        cli(["healthcheck", &format!("--url={url}")]).run().expect(1);
    }
}

/// A server that accepts the connection and never answers is not healthy.
#[test]
fn healthcheck_does_not_wait_for_ever() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/-/healthy", silent.local_addr().unwrap());
    let asked = cli(["healthcheck", &format!("--url={url}")]).spawn();
    let (status, _) = asked.wait_for_end();
    assert_eq!(status.code(), Some(1), "{}", asked.log());
}
