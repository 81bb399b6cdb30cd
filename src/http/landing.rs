//! Status page: version, outcome of the latest checks, links.

use super::Status;
use super::status::AccountStatus;
use crate::model::Timestamp;
use std::fmt::Write;

/// An organisation has thousands of accounts; the page shows the first ones and the number of the rest.
const MOST_ACCOUNTS: usize = 50;

/// The page as HTML, with the first 50 accounts in the order of their IDs. The paths of its links begin with `links`.
pub fn page(status: &Status, links: &str) -> String {
    let mut accounts = String::new();
    for (id, account) in status.accounts().take(MOST_ACCOUNTS) {
        add_account(&mut accounts, id, account);
    }
    let more = status.accounts().len().saturating_sub(MOST_ACCOUNTS);
    if more > 0 {
        let _ = writeln!(accounts, "<p>{more} more accounts are in the metrics.</p>");
    }
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>iam-key-exporter</title>
<style>
body {{ font-family: sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem; color-scheme: light dark; }}
table {{ margin: 1rem 0; }}
th {{ text-align: left; font-weight: normal; padding: .2rem 2rem .2rem 0; opacity: .7; }}
td {{ padding: .2rem 0; }}
</style>
</head>
<body>
<h1>iam-key-exporter</h1>
<p>Checks IAM users for more than one active access key. Version {version}.</p>
{accounts}<ul>
<li><a href="{links}/metrics">Metrics</a></li>
<li><a href="{links}/-/healthy">Health</a></li>
<li><a href="{links}/-/ready">Readiness</a></li>
</ul>
</body>
</html>
"#,
        version = env!("CARGO_PKG_VERSION"),
        links = escape(links),
    )
}

fn add_account(out: &mut String, id: &str, account: &AccountStatus) {
    let label = if account.name.is_empty() { id.to_owned() } else { format!("{id} ({})", account.name) };
    out.push_str("<table>\n");
    row(out, "Account", &label);
    row(out, "State of the last check", &last_check(account));
    row(out, "Last successful check", &account.last_success.map_or("none yet".to_owned(), second));
    if account.last_success.is_some() {
        row(out, "IAM users", &format!("{} ({} of unknown status)", account.users, account.unknown_users));
    }
    for (rule, violations) in &account.violations {
        let count = violations.map_or("not evaluated: the inventory is incomplete".to_owned(), |n| n.to_string());
        row(out, &format!("Violations of {rule}"), &count);
    }
    out.push_str("</table>\n");
}

fn last_check(account: &AccountStatus) -> String {
    match (&account.failure, account.last_success) {
        (Some(failure), _) => format!("failed at {} ({})", second(failure.at), failure.reason),
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

/// Names are data, not markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        let mut status = Status::default();
        status.account("1", |a| a.name = "<script>alert(1)</script> & more".into());
        let page = page(&status, "");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; more"));
        assert!(!page.contains("<script>"));
    }

    #[test]
    fn the_page_of_an_organisation_is_bounded() {
        let mut status = Status::default();
        for number in 0..5000 {
            status.account(&format!("{number:012}"), |_| ());
        }
        let page = page(&status, "");
        assert_eq!(page.matches("<table>").count(), MOST_ACCOUNTS);
        assert!(page.contains("4950 more accounts"));
    }
}
