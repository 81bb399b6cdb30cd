//! The configuration file: YAML in the shape of [`Settings`]. Unknown keys are errors.

use super::exemptions::ExemptionEntry;
use super::settings::Settings;
use crate::model::{Access, AccountId};
use crate::policy::{Policy, Selector};
use std::collections::HashSet;

/// What is wrong with the content of a file, on one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is not YAML, or not in the shape of the settings; with line and column.
    #[error("{0}")]
    Yaml(String),
    /// Two exemptions have the same selector, account and rule.
    #[error("exemptions: number {number} ({selector}) repeats the users, account and rule of an earlier one")]
    RepeatedExemption {
        /// The position of the second one in the list, counted from 1.
        number: usize,
        /// The selector of the exemption, as text.
        selector: String,
    },
    /// Two entries of `accounts` are of the same account.
    #[error("accounts: number {number} repeats {account}")]
    RepeatedAccount {
        /// The position of the second one in the list, counted from 1.
        number: usize,
        /// The account, or that it is the one of the credentials.
        account: String,
    },
    /// An account of the organisation is selected and deselected by its ID.
    #[error("organization: account {0} is both in include and in exclude")]
    IncludedAndExcluded(AccountId),
}

impl Settings {
    /// Parses YAML; an empty document has the defaults.
    ///
    /// # Errors
    /// [`FileError`], with line and column, or with the number of the exemption.
    pub fn from_yaml(text: &str) -> Result<Self, FileError> {
        // The parser does not accept an empty document.
        if is_empty(text) {
            return Ok(Settings::default());
        }
        let settings: Settings =
            serde_saphyr::from_str_with_options(text, options()).map_err(|e| FileError::Yaml(one_line(text, &e)))?;
        settings.check_exemptions()?;
        settings.check_accounts()?;
        Ok(settings)
    }

    fn check_accounts(&self) -> Result<(), FileError> {
        let mut seen = HashSet::new();
        for (number, entry) in (1..).zip(&self.accounts) {
            let account = match &entry.access {
                Access::Own => "self".to_owned(),
                Access::Role(role) => format!("account {}", role.arn.account),
            };
            if !seen.insert(account.clone()) {
                return Err(FileError::RepeatedAccount { number, account });
            }
        }
        let both = self.organization.as_ref().and_then(|o| o.include.accounts.intersection(&o.exclude.accounts).next());
        both.map_or(Ok(()), |account| Err(FileError::IncludedAndExcluded(*account)))
    }

    /// Two exemptions for the same users, account and rule contradict each other, if only by their dates.
    fn check_exemptions(&self) -> Result<(), FileError> {
        let mut seen = HashSet::new();
        for (number, entry) in (1..).zip(&self.exemptions) {
            let selector = entry.selector.selector();
            // Their labels would be the same.
            let Selector { user, path, group, .. } = selector.clone();
            let tag = selector.tag_text();
            if !seen.insert((user, path, group, tag, entry.account, entry.rule.map(|r| r.name()))) {
                return Err(FileError::RepeatedExemption { number, selector: selector.to_string() });
            }
        }
        Ok(())
    }

    /// YAML that [`Settings::from_yaml`] parses to the same settings.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("plain data serializes")
    }

    /// The policy with its exemptions.
    pub fn policy(&self) -> Policy {
        Policy {
            rules: self.policy,
            exemptions: self.exemptions.iter().map(ExemptionEntry::exemption).collect(),
            without_root: false,
        }
    }
}

/// Whether a document has no content but comments.
pub(super) fn is_empty(text: &str) -> bool {
    text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#') || l.trim() == "---")
}

/// The size of the file is the limit: the library's own are reached by 36,000 exemptions. Aliases stay limited.
pub(super) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { budget: serde_saphyr::budget! { max_nodes: 8_000_000, max_events: 16_000_000 } }
}

/// The library's message with the name of the key, without hints for users of the library. Its first line: those that
/// follow are lines of the file around the mistake, which can contain an external ID.
pub(super) fn one_line(text: &str, error: &serde_saphyr::Error) -> String {
    let message = error.to_string();
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let message = message.lines().next().unwrap_or_default();
    let message = message.trim_end().replace(", set DuplicateKeyPolicy in Options if acceptable", "");
    let key = error.location().and_then(|at| key_of_value(text, at.line(), at.column()));
    match (key, message.split_once(": ")) {
        (Some(key), Some((place, what))) if place.starts_with("line ") => format!("{place}: {key}: {what}"),
        _ => message,
    }
}

/// The key before the value at this line and column, both counted from 1.
fn key_of_value(text: &str, line: u64, column: u64) -> Option<&str> {
    let line = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    // With nothing after the key, the place is that of the colon, or the end of the line.
    let end = line.char_indices().nth(column).map_or(line.len(), |(end, _)| end);
    let (before, value) = line.split_at_checked(end)?;
    let before = if value.starts_with(':') { before } else { before.trim_end().strip_suffix(':')? };
    let start = before
        .rfind(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .map_or(0, |at| at.saturating_add(1));
    let key = before.get(start..).filter(|key| !key.is_empty())?;
    // It can be the end of a value with a colon, which can be a secret: a key is at the beginning of an entry.
    let (around, indent) = (before.get(..start)?.trim_end(), before.get(..start)?.ends_with([' ', '{']));
    (start == 0 || indent && (around.is_empty() || around.ends_with(['{', ',', '-', '[']))).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_or_section_is_the_default() {
        let empty = "policy:\nexemptions:\ncheck:\n  interval:\n  timeout:\ninput:\naccount: ~\ncollect: null\naws:\nmetrics:\n\
                     web:\nlog: {}\ncollector:\ncollector_report_above:\n";
        for text in ["", "# nothing\n", "---\n", "{}", empty] {
            assert_eq!(Settings::from_yaml(text), Ok(Settings::default()), "{text:?}");
        }
    }

    #[test]
    fn long_lists_are_read() {
        let tags: Vec<String> = (0..300_000).map(|i| i.to_string()).collect();
        let settings = Settings::from_yaml(&format!("collect: {{tags: ['{}']}}\n", tags.join("','"))).unwrap();
        assert_eq!(settings.collect.tags.len(), 300_000);
    }

    #[test]
    fn an_account_is_named_once() {
        let role = "  - role_arn: arn:aws:iam::111111111111:role/";
        for (text, expected) in [
            (format!("accounts:\n{role}a\n{role}b\n"), "accounts: number 2 repeats account 111111111111"),
            ("accounts: [{ self: true }, { self: true }]".into(), "accounts: number 2 repeats self"),
            (
                "organization: { role_name: x, include: { accounts: ['111111111111'] }, exclude: { accounts: ['111111111111'] } }"
                    .into(),
                "organization: account 111111111111 is both in include and in exclude",
            ),
        ] {
            assert_eq!(Settings::from_yaml(&text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn mistakes_are_found_by_line_and_named() {
        for (text, line, word) in [
            ("policy:\n  key_agee: {}\n", 2, "key_agee"),
            ("policy:\n  key_age:\n    max_age: 90\n", 3, "90d"),
            ("policy:\n  multiple_active_keys:\n    limit: 0\n", 3, "nonzero"),
            ("check:\n  interval: 0s\n", 2, "longer than zero"),
            ("aws:\n  concurrency: 0\n", 2, "between 1 and 1024"),
            ("web:\n  listen_address: []\n", 2, "at least one address"),
            ("exemptions:\n  - user: a\n    reason: r\n    expires: soon\n", 4, "soon"),
            ("exemptions:\n  - user: a\n    reason: r\n    expires: 2026-02-30\n", 4, "2026-02-30"),
            ("exemptions:\n  - user: a\n    expires: 2026-12-31\n", 3, "reason"),
            ("exemptions:\n  - user: a\n    reason: ' '\n    expires: 2026-12-31\n", 3, "empty"),
            (
                "exemptions:\n  - user: a\n    rule: nope\n    reason: r\n    expires: 2026-12-31\n",
                3,
                "there is no rule",
            ),
            ("exemptions:\n  - reason: r\n    expires: 2026-12-31\n", 2, "at least one of user, path, group and tag"),
            ("exemptions:\n  - user:\n    reason: r\n    expires: 2026-12-31\n", 2, "empty"),
            ("exemptions:\n  - group: ' '\n    reason: r\n    expires: 2026-12-31\n", 2, "empty"),
            ("exemptions:\n  - path: /service\n    reason: r\n    expires: 2026-12-31\n", 2, "slash"),
            ("exemptions:\n  - path: service/\n    reason: r\n    expires: 2026-12-31\n", 2, "slash"),
            ("exemptions:\n  - tag: {}\n    reason: r\n    expires: 2026-12-31\n", 2, "empty"),
            ("exemptions:\n  - tag: team\n    reason: r\n    expires: 2026-12-31\n", 2, "map"),
            ("exemptions:\n  - tag: {team: ''}\n    reason: r\n    expires: 2026-12-31\n", 2, "any value"),
            ("exemptions:\n  - tag: {team: }\n    reason: r\n    expires: 2026-12-31\n", 2, "team"),
            ("exemptions:\n  - tag: {team: [a, b]}\n    reason: r\n    expires: 2026-12-31\n", 2, "string"),
            ("exemptions:\n  - tag: {Team: a, team: b}\n    reason: r\n    expires: 2026-12-31\n", 2, "twice"),
            ("exemptions:\n  - tags: {team: a}\n    reason: r\n    expires: 2026-12-31\n", 2, "tags"),
            ("exemptions:\n  - user: a\n    account: 12\n    reason: r\n    expires: 2026-12-31\n", 3, "twelve digits"),
            ("accounts:\n  - name: x\n", 2, "either `role_arn`, or `self: true`"),
            ("accounts:\n  - self: true\n    role_arn: arn:aws:iam::111111111111:role/x\n", 2, "leave out"),
            ("accounts:\n  - self: true\n    external_id: abc\n", 2, "`self: true` has none"),
            ("accounts:\n  - role_arn: arn:aws:iam::1111:role/x\n", 2, "twelve digits"),
            ("accounts:\n  - role_arn: arn:aws:iam::111111111111:role/x\n    external_id: 'a b'\n", 3, "external ID"),
            ("accounts:\n  - role: arn:aws:iam::111111111111:role/x\n", 2, "role"),
            ("organization: {}\n", 1, "role_name"),
            ("organization:\n  role_name: a b\n", 2, "name of an IAM role"),
            ("organization:\n  role_name: x\n  management_account: own\n", 3, "own"),
            ("organization:\n  role_name: x\n  refresh_interval: 0s\n", 3, "longer than zero"),
            ("organization:\n  role_name: x\n  max_removed_percent: 0\n", 3, "between 1 and 100"),
            ("organization:\n  role_name: x\n  include: { accounts: [12] }\n", 3, "twelve digits"),
            ("organization:\n  role_name: x\n  exclude: { organizational_units: [Prod] }\n", 3, "ou-abcd-12345678"),
            ("account_overrides:\n  12: {}\n", 2, "twelve digits"),
            ("account_overrides:\n  '111111111111': { polcy: {} }\n", 2, "polcy"),
            ("collector: sideways\n", 1, "sideways"),
            ("check: [\n", 1, "mapping"),
            ("check: {interval: 1m}\ncheck: {interval: 2m}\n", 2, "duplicate mapping key: check"),
        ] {
            let error = Settings::from_yaml(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(error.contains(&format!("line {line}")), "{text}: {error}");
        }
    }

    #[test]
    fn mistakes_in_values_name_the_key() {
        for (text, message) in [
            ("check:\n  timeout: soon\n", "line 2 column 12: timeout: \"soon\" is not a duration"),
            (
                "exemptions:\n- reason: r\n  user:\n  expires: 2027-01-01\n",
                "line 3 column 7: user: it must not be empty",
            ),
            ("exemptions:\n- {user: a, tag: {}}\n", "line 2 column 18: tag: it must not be empty"),
            ("check: {interval: 5m, timeout: 0s}\n", "line 1 column 32: timeout: it must be longer than zero"),
            ("collector: sideways\n", "line 1 column 12: collector: unknown variant"),
            ("checks: {}\n", "line 1 column 1: unknown field"),
            ("#\n#\n#\n#\n#\n#\n#\n#\n#\naccount: {name: &}\n", "line 10 column 17: name: while scanning"),
            ("web:\n  listen_address:\n  - nowhere\n", "line 3 column 5: \"nowhere\" is not host:port"),
        ] {
            let error = Settings::from_yaml(text).unwrap_err().to_string();
            assert!(error.starts_with(message) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_message_contains_no_other_line_of_the_file() {
        for comments in [0, 8, 98, 998] {
            let text = format!("{}organization:\n  role_name: x\n  external_id: secret-1\n  r", "#\n".repeat(comments));
            let error = Settings::from_yaml(&text).unwrap_err().to_string();
            assert_eq!(error, format!("line {} column 3: simple key expected ':'", comments + 4));
        }
    }

    #[test]
    fn an_exemption_applies_until_the_end_of_its_day_and_is_not_repeated() {
        let entry = "  - {user: a, reason: r, expires: 2026-12-31}\n";
        let config = Settings::from_yaml(&format!("exemptions:\n{entry}")).unwrap();
        assert_eq!(config.policy().exemptions[0].expires, "2027-01-01T00:00:00Z".parse().unwrap());
        let error = Settings::from_yaml(&format!("exemptions:\n{entry}{entry}")).unwrap_err().to_string();
        assert!(error.contains("number 2"), "{error}");
    }

    #[test]
    fn exemptions_with_different_selectors_are_different() {
        let rest = "reason: r, expires: 2026-12-31";
        let selectors = [
            "user: a",
            "path: /a/",
            "group: a",
            "tag: {a: a}",
            "user: a, path: /a/",
            "tag: {a: a, b: b}",
            "tag: {a: '*'}",
        ];
        let list = |selectors: &[&str]| {
            let entries: Vec<String> = selectors.iter().map(|s| format!("  - {{{s}, {rest}}}\n")).collect();
            Settings::from_yaml(&format!("exemptions:\n{}", entries.concat()))
        };
        let settings = list(&selectors).unwrap();
        assert_eq!(Settings::from_yaml(&settings.to_yaml()), Ok(settings.clone()));
        let shown: Vec<String> = settings.policy().exemptions.iter().map(|e| e.selector.to_string()).collect();
        assert_eq!(shown[4..], [r#"user "a", path "/a/""#, r#"tag "a=a,b=b""#, r#"tag "a=*""#]);
        for selector in selectors {
            let error = list(&[selector, selector]).unwrap_err().to_string();
            assert!(error.contains("number 2") && error.contains("repeats"), "{error}");
        }
    }
}
