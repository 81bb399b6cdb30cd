//! The page for people: what this is, how the last check went, where to go.

use super::Status;
use crate::model::Timestamp;
use std::fmt::Write;

pub fn page(status: &Status) -> String {
    let mut rows = String::new();
    let account = match &status.account_id {
        None => "not known yet".to_owned(),
        Some(id) if status.account_name.is_empty() => id.clone(),
        Some(id) => format!("{id} ({})", status.account_name),
    };
    row(&mut rows, "Account", &account);
    row(&mut rows, "State of the last check", &last_check(status));
    row(&mut rows, "Last successful check", &status.last_success.map_or("none yet".to_owned(), second));
    if status.last_success.is_some() {
        row(&mut rows, "IAM users", &format!("{} ({} of unknown status)", status.users, status.unknown_users));
    }
    for (rule, violations) in &status.violations {
        let count = violations.map_or("cannot be judged with the facts at hand".to_owned(), |n| n.to_string());
        row(&mut rows, &format!("Violations of {rule}"), &count);
    }
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>iam-key-exporter</title>
<style>
body {{ font-family: sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem; color-scheme: light dark; }}
th {{ text-align: left; font-weight: normal; padding: .2rem 2rem .2rem 0; opacity: .7; }}
td {{ padding: .2rem 0; }}
</style>
</head>
<body>
<h1>iam-key-exporter</h1>
<p>Keeps checking IAM users for more than one active access key. Version {version}.</p>
<table>
{rows}</table>
<ul>
<li><a href="/metrics">Metrics</a></li>
<li><a href="/-/healthy">Health</a></li>
<li><a href="/-/ready">Readiness</a></li>
</ul>
</body>
</html>
"#,
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn last_check(status: &Status) -> String {
    match (&status.failure, status.last_success) {
        (Some(failure), _) => format!("failed at {}: {} ({})", second(failure.at), failure.message, failure.reason),
        (None, Some(_)) => "succeeded".to_owned(),
        (None, None) => "under way".to_owned(),
    }
}

fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn row(rows: &mut String, name: &str, value: &str) {
    let _ = writeln!(rows, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value));
}

/// Names and AWS's messages are data, not markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::Failure;
    use super::*;

    #[test]
    fn messages_cannot_become_markup() {
        let status = Status {
            failure: Some(Failure {
                at: Timestamp::UNIX_EPOCH,
                reason: "unexpected_response",
                message: "<script>alert(1)</script> & more".into(),
            }),
            ..Status::default()
        };
        let page = page(&status);
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; more"));
        assert!(!page.contains("<script>"));
    }
}
