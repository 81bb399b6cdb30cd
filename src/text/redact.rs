//! Removes from error texts what could be a credential, or help to make one. AWS echoes parts of a request in some
//! errors, a `credential_process` may write anything to its standard error, and the message of a panic can quote a value.
//!
//! What goes: access key IDs and other unique IDs, tokens, signatures and other long opaque words, values that are named
//! as secret, and canonical requests. What stays: prose, ARNs, paths, host names and request IDs (UUIDs).

/// What stands in the place of something that was removed.
pub const REDACTED: &str = "[redacted]";

/// AWS's unique ID prefixes (IAM user guide, "Understanding unique ID prefixes"): access keys, roles, users, groups, ...
const ID_PREFIXES: [&str; 12] =
    ["ABIA", "ACCA", "AGPA", "AIDA", "AIPA", "AKIA", "ANPA", "ANVA", "APKA", "AROA", "ASCA", "ASIA"];
/// What follows such a prefix: 16 characters, in old IDs 12.
const SHORTEST_ID: usize = 4 + 12;

/// No word of prose is so long; a secret access key has 40 characters, a signature 64, a session token hundreds.
const LONG_WORD: usize = 32;

/// From one of these on, an error text is a canonical request, a string to sign, or an `Authorization` header.
const CANONICAL: [&str; 6] =
    ["canonical string", "canonical request", "string-to-sign", "string to sign", "aws4-hmac", "aws4-ecdsa"];

/// A name that contains one of these names a secret.
const SECRET_NAMES: [&str; 10] = [
    "secret",
    "token",
    "signature",
    "password",
    "passwd",
    "credential",
    "authorization",
    "accesskey",
    "access_key",
    "apikey",
];

/// Between names and values.
const DELIMITERS: [char; 16] = ['=', ':', '&', ',', ';', '"', '\'', '<', '>', '(', ')', '{', '}', '[', ']', '?'];

/// The beginning of a text for the log, which is not written endlessly.
pub fn shorten(mut text: String) -> String {
    const LIMIT: usize = 500;
    if let Some((cut, _)) = text.char_indices().nth(LIMIT) {
        text.truncate(cut);
        text.push_str(" ...");
    }
    text
}

/// The text on one line, without anything that could be a credential.
pub fn redact(text: &str) -> String {
    let kept = &text[..canonical_part(text)];
    let mut out: Vec<String> = Vec::new();
    let (mut value_follows, mut previous) = (false, "");
    for word in kept.split_whitespace() {
        let secret = value_follows;
        value_follows = names_a_secret(word) || word == "=" && is_secret_name(previous);
        previous = word;
        out.push(if secret { REDACTED.to_owned() } else { redact_word(word) });
    }
    if kept.len() < text.len() {
        out.push(REDACTED.to_owned());
    }
    out.join(" ")
}

/// Where the canonical part of the text begins; its end if there is none.
fn canonical_part(text: &str) -> usize {
    // ASCII only, so that positions stay the same.
    let lower = text.to_ascii_lowercase();
    CANONICAL.iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(text.len())
}

/// Whether the next word is a secret: `password: ...`, `"SessionToken": ...`, `aws_session_token = ...`.
fn names_a_secret(word: &str) -> bool {
    let quoted = word.ends_with("\":") || word.ends_with("':");
    let assigned = word.ends_with('=') && word.len() > 1;
    let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    // Prose has such words before a colon, too: "the token: it is expired".
    let unmistakable = ["secret", "password", "passwd", "authorization"].iter().any(|n| name.eq_ignore_ascii_case(n));
    word.ends_with(':') && unmistakable || (quoted || assigned) && is_secret_name(name)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

fn redact_word(word: &str) -> String {
    // `Name=value`, `name:value`, `"name":"value"`, and several of them in a query string or in JSON.
    let mut out = String::with_capacity(word.len());
    let mut name_is_secret = false;
    for part in word.split_inclusive(DELIMITERS) {
        let end = part.trim_end_matches(DELIMITERS).len();
        let (value, delimiter) = part.split_at(end);
        if name_is_secret && !value.is_empty() {
            out.push_str(REDACTED);
        } else {
            out.push_str(&redact_ids(value));
        }
        out.push_str(delimiter);
        // Quotes may stand between a name, its delimiter and the value.
        let assigns = delimiter.ends_with(['=', ':']);
        let quotes = delimiter.ends_with(['"', '\'']);
        if !value.is_empty() {
            name_is_secret = (assigns || quotes) && is_secret_name(value);
        } else if !assigns && !quotes {
            name_is_secret = false;
        }
    }
    redact_long(&out, word)
}

/// A character of keys, tokens and signatures in base64, base64url, hexadecimal or percent encoding.
fn is_opaque(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-' | '%')
}

/// Replaces bcrypt hashes, also cut off ones, wherever they stand. Everything else stays.
pub fn redact_hashes(text: &str) -> String {
    // A hash has 60 characters.
    const SHORTEST: usize = 30;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.find("$2").map(|at| rest.split_at(at)) {
        let is_of_hash = |c: char| c.is_ascii_alphanumeric() || matches!(c, '$' | '.' | '/');
        let (word, after) = from.split_at(from.find(|c| !is_of_hash(c)).unwrap_or(from.len()));
        out.push_str(before);
        out.push_str(if word.len() < SHORTEST { word } else { REDACTED });
        rest = after;
    }
    out + rest
}

/// Replaces unique IDs, of access keys among them, wherever they stand. Everything else stays.
pub fn redact_ids(text: &str) -> String {
    let is_id = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ID_PREFIXES.iter().filter_map(|prefix| rest.find(prefix)).min() {
        let (before, from) = rest.split_at(at);
        let length = from.find(|c| !is_id(c)).unwrap_or(from.len());
        out.push_str(before);
        if length >= SHORTEST_ID {
            out.push_str(REDACTED);
            rest = &from[length..];
        } else {
            let (prefix, after) = from.split_at(4);
            out.push_str(prefix);
            rest = after;
        }
    }
    out + rest
}

/// Replaces long opaque runs of a word that is redacted otherwise.
fn redact_long(text: &str, word: &str) -> String {
    let arn = word.contains("arn:");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.find(|c| !is_opaque(c)).unwrap_or(rest.len());
        let (opaque, after) = rest.split_at(run);
        let harmless = opaque.len() < LONG_WORD || is_uuid(opaque) || is_path(opaque) || arn && is_resource(opaque);
        out.push_str(if harmless { opaque } else { REDACTED });
        let gap = after.find(is_opaque).unwrap_or(after.len());
        let (between, next) = after.split_at(gap);
        out.push_str(between);
        rest = next;
    }
    out
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Tokens in base64 have capital letters, others no slash.
fn is_path(text: &str) -> bool {
    text.contains('/')
        && !text.contains(|c: char| c.is_ascii_uppercase())
        && text.split('/').all(|segment| segment.len() < LONG_WORD)
}

/// The end of an ARN: `assumed-role/NAME/SESSION`, `user/PATH/NAME`. Names have up to 64 characters.
fn is_resource(text: &str) -> bool {
    ["assumed-role/", "role/", "user/", "federated-user/", "policy/"].iter().any(|kind| text.starts_with(kind))
        && text.split('/').all(|segment| segment.len() <= 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_helps_to_find_the_cause_stays() {
        for text in [
            "User: arn:aws:sts::123456789012:assumed-role/exporter-of-the-platform-team/i-0123456789abcdef0 is not \
             authorized to perform: iam:ListUsers on resource: arn:aws:iam::123456789012:user/ because no \
             identity-based policy allows the iam:ListUsers action",
            "The security token included in the request is invalid",
            "ExpiredTokenException: The security token included in the request is expired",
            "Signature expired: 20260101T000000Z is now earlier than 20260101T001500Z (20260101T003000Z - 15 min.)",
            "cannot read /var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token: No such file",
            "request ID 3f1e9c42-0000-4000-8000-00000000abcd",
            "dispatch failure: io error: client error (Connect): dns error: failed to lookup address information",
            "https://sts.us-east-1.amazonaws.com/ answered with status 403",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn what_could_be_a_credential_goes() {
        for (text, expected) in [
            ("key AKIAIOSFODNN7EXAMPLE is unknown", "key [redacted] is unknown"),
            ("(ASIAIOSFODNN7EXAMPLE)", "([redacted])"),
            ("arn:aws:sts::1:assumed-role/AROAIOSFODNN7EXAMPLE/x", "arn:aws:sts::1:assumed-role/[redacted]/x"),
            ("secret wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY used", "secret [redacted] used"),
            (r#"{"SecretAccessKey": "short", "Version": 1}"#, r#"{"SecretAccessKey": [redacted] "Version": 1}"#),
            (r#"{"SessionToken":"short","Version":1}"#, r#"{"SessionToken":"[redacted]","Version":1}"#),
            ("aws_session_token=short", "aws_session_token=[redacted]"),
            ("aws_session_token = short end", "aws_session_token = [redacted] end"),
            ("password: hunter2", "password: [redacted]"),
            ("?X-Amz-Signature=ab12&Version=1", "?X-Amz-Signature=[redacted]&Version=1"),
            (
                "It does not match. The Canonical String for this request should have been 'POST\n/\n\nhost:x'",
                "It does not match. The [redacted]",
            ),
            ("bad header AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=y", "bad header [redacted]"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn messages_are_short() {
        assert!(shorten("é".repeat(2000)).len() < 1100);
    }

    #[test]
    fn the_result_is_one_line() {
        assert_eq!(redact("a\n  b\tc"), "a b c");
    }

    fn context() -> impl Strategy<Value = (String, String)> {
        let around = prop_oneof![
            Just((" ", " ")),
            Just(("\"", "\"")),
            Just(("token=", "&x=1")),
            Just(("'", "',")),
            Just(("(", ")")),
            Just(("key:", ";")),
            Just(("<Token>", "</Token>")),
            Just(("é", "é")),
        ];
        (around, "[ -~é]{0,40}", "[ -~é]{0,40}")
            .prop_map(|((open, close), before, after)| (format!("{before}{open}"), format!("{close}{after}")))
    }

    proptest! {
        #[test]
        fn no_unique_id_survives((before, after) in context(), prefix in 0..ID_PREFIXES.len(), id in "[A-Z0-9]{12,17}") {
            let id = format!("{}{id}", ID_PREFIXES[prefix]);
            let redacted = redact(&[before, id.clone(), after].concat());
            prop_assert!(!redacted.contains(&id), "{}", redacted);
        }

        /// Secret access keys, session tokens, signatures: in base64, base64url and hexadecimal.
        #[test]
        fn no_token_survives(
            (before, after) in context(),
            token in prop_oneof!["[A-Za-z0-9+/]{40}", "[A-Za-z0-9+/]{100,400}={0,2}", "[A-Za-z0-9_-]{80,200}", "[0-9a-f]{64}"],
        ) {
            let redacted = redact(&[before, token.clone(), after].concat());
            prop_assert!(!redacted.contains(&token), "{}", redacted);
            // Not in parts either.
            for part in [&token[..32], &token[token.len() - 32..]] {
                prop_assert!(!redacted.contains(part), "{}", redacted);
            }
        }

        #[test]
        fn nothing_of_a_canonical_request_survives(before in "[a-z ]{0,40}", mark in 0..CANONICAL.len(), after in "[!-~]{1,20}") {
            let marker = CANONICAL[mark];
            let redacted = redact(&format!("{before}{marker}{after}"));
            prop_assert!(redacted.ends_with(REDACTED) && !redacted.contains(marker), "{}", redacted);
        }

        #[test]
        fn any_text_is_taken(text in ".*") {
            let redacted = redact(&text);
            prop_assert!(!redacted.contains(['\n', '\r', '\t']));
        }
    }
}
