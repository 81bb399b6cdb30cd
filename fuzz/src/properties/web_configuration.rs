//! The web configuration: a message on one line, or a configuration that leaves no door open; and nothing of a secret is
//! shown.

use iam_key_exporter::config::web::{ClientAuth, WebConfig};
use std::path::Path;
use std::time::Duration;

/// The property of this file.
pub fn holds(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // No file that it names is there.
    let parse = || WebConfig::parse(text, Path::new("/proc/self/no-such-directory/web.yml"));
    let config = match parse() {
        Ok(config) => config,
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
            hides(text, &format!("{message}{error:?}"));
            return;
        }
    };
    hides(text, &format!("{config:?}"));
    for (user, hash) in &config.users {
        assert!(!user.contains(':'), "the name {user:?} cannot be sent");
        assert!((4..=18).contains(&hash.cost()), "a hash with the cost {}", hash.cost());
        assert!(hash.expose().len() == 60 && hash.expose().starts_with("$2"), "not a hash");
    }
    for (name, value) in &config.headers {
        let is_printable = value.bytes().all(|b| (0x20..=0x7e).contains(&b));
        assert!(!value.is_empty() && is_printable, "{name}: {value:?}");
    }
    if let Some(limit) = config.rate_limit {
        assert!(!limit.interval.is_zero() && limit.interval <= Duration::from_secs(3600), "{limit:?}");
    }
    if let Some(tls) = &config.tls {
        assert!(tls.min_version <= tls.max_version);
        let verifies = matches!(tls.client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
        assert!(tls.client_auth != ClientAuth::RequireAndVerify || tls.client_ca.is_some(), "verified with nothing");
        assert!(tls.client_allowed_sans.is_none() || verifies, "names are not verified");
        assert!(tls.client_allowed_sans.as_ref().is_none_or(|names| !names.is_empty()), "no name is allowed");
    }
    assert_eq!(config.digest, parse().expect("it was accepted").digest, "the same file has another digest");
}

/// Words of the file that look like a hash of a password are not shown.
fn hides(text: &str, shown: &str) {
    let is_of_hash = |c: char| c.is_ascii_alphanumeric() || matches!(c, '$' | '.' | '/');
    for word in text.split(|c| !is_of_hash(c)).filter(|word| word.len() >= 60 && word.starts_with("$2")) {
        assert!(!shown.contains(word), "a hash is shown: {shown}");
    }
}
