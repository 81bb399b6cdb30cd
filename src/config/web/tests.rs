use super::*;
use proptest::prelude::*;

const HASH: &str = "$2y$04$tvuAKqK2mM5ChvjEKBh5vuyuq6LwQ0SDT5Th2Uw35bw2C9LYCVpBm";
/// Valid in form, and used by nothing else.
const CERT: &str = "cert_file: server.crt\n  key_file: server.key";

/// Loads this text; the files that it can name are beside it.
fn load(text: &str) -> Result<WebConfig, WebError> {
    let home = tempfile::tempdir().unwrap();
    for name in ["server.crt", "server.key", "ca.crt"] {
        std::fs::write(home.path().join(name), format!("content of {name}")).unwrap();
    }
    std::fs::write(home.path().join("web.yml"), text).unwrap();
    WebConfig::load(&home.path().join("web.yml"))
}

/// What is wrong, without the directory.
fn wrong(text: &str) -> String {
    let error = load(text).expect_err(text).to_string();
    let (_, message) = error.split_once("web.yml: ").unwrap_or(("", &error));
    message.to_owned()
}

#[test]
fn an_empty_file_or_section_is_plain_http() {
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "{}",
        "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n",
        "tls_server_config: {}\nhttp_server_config: {headers: {}}\nbasic_auth_users: {}\nrate_limit: {interval: 0, burst: 0}\n",
        "rate_limit: {interval: 0s}\n",
        "http_server_config: {headers: {X-Frame-Options: '', Content-Security-Policy: }}\n",
    ] {
        let config = load(text).unwrap();
        assert!(config.tls.is_none() && config.users.is_empty() && config.headers.is_empty(), "{text}");
        assert!(config.rate_limit.is_none(), "{text}");
    }
}

#[test]
fn every_key_is_read() {
    let text = format!(
        "tls_server_config:\n  {CERT}\n  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n  \
         client_allowed_sans: [a, 'b']\n  min_version: TLS13\n  max_version: TLS13\n  \
         cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  \
         curve_preferences: [X25519, CurveP256]\n  prefer_server_cipher_suites: false\n\
         http_server_config:\n  http2: false\n  headers:\n    X-XSS-Protection: 1\n    X-Frame-Options: deny\n\
         basic_auth_users:\n  alice: {HASH}\nrate_limit:\n  interval: 1m30s\n  burst: 20\n"
    );
    let config = load(&text).unwrap();
    let tls = config.tls.unwrap();
    assert_eq!(tls.certificate.expose(), b"content of server.crt");
    assert_eq!(tls.key.expose(), b"content of server.key");
    assert_eq!(tls.client_ca.unwrap().expose(), b"content of ca.crt");
    assert_eq!(tls.client_auth, ClientAuth::RequireAndVerify);
    assert_eq!(tls.client_allowed_sans.unwrap(), ["a", "b"]);
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::Tls13, TlsVersion::Tls13));
    assert_eq!(tls.ciphers.unwrap(), [Cipher::Tls13, Cipher::RsaAes128]);
    assert_eq!(tls.curves.unwrap(), [Curve::X25519, Curve::P256]);
    assert!(!tls.prefer_server_ciphers && !config.http2);
    assert_eq!(config.headers, [("X-Frame-Options", "deny".into()), ("X-XSS-Protection", "1".into())]);
    assert_eq!((config.users["alice"].expose(), config.users["alice"].cost()), (HASH, 4));
    let limit = RateLimit { interval: Duration::from_secs(90), burst: NonZeroU32::new(20).unwrap() };
    assert_eq!(config.rate_limit, Some(limit));
}

#[test]
fn inline_parts_and_defaults() {
    let config = load("tls_server_config:\n  cert: |\n    a\n    b\n  key: secret\n  client_auth_type: ''\n").unwrap();
    let tls = config.tls.unwrap();
    assert_eq!((tls.certificate.expose(), tls.key.expose()), (&b"a\nb\n"[..], &b"secret"[..]));
    assert_eq!(tls.client_auth, ClientAuth::None);
    assert_eq!((tls.min_version, tls.max_version), (TlsVersion::Tls12, TlsVersion::Tls13));
    assert!(tls.prefer_server_ciphers && config.http2 && tls.client_allowed_sans.is_none());
    let alias = format!("tls_server_config:\n  {CERT}\n  client_auth_type: RequireClientCert\n");
    assert_eq!(load(&alias).unwrap().tls.unwrap().client_auth, ClientAuth::RequireAny);
}

/// Line, column, key, and what would be right.
#[test]
fn mistakes_are_named() {
    for (text, message) in [
        ("tls_server_config:\n  cert_filse: x\n", "line 2 column 3: unknown field"),
        ("nonsense: 1\n", "line 1 column 1: unknown field"),
        ("a\nb\n", "line 1 column 1: "),
        (
            "tls_server_config:\n  cert_file: ''\n  key_file: server.key\n",
            "line 2 column 14: tls_server_config: one of cert and cert_file is needed",
        ),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key: ''\n",
            "line 2 column 14: tls_server_config: one of key and key_file is needed",
        ),
        (
            "tls_server_config:\n  min_version: TLS13\n",
            "line 2 column 16: tls_server_config: one of cert and cert_file is needed",
        ),
        (
            "tls_server_config:\n  cert: a\n  cert_file: b\n  key: c\n",
            "line 3 column 14: tls_server_config.cert_file: both cert and cert_file are set",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  key_file: c\n",
            "line 4 column 13: tls_server_config.key_file: both key and key_file are set",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: x\n",
            "line 4 column 21: tls_server_config.client_auth_type: \"x\" must be one of NoClientCert",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  client_ca: x\n",
            "line 4 column 14: tls_server_config.client_ca: client certificates are not verified",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: RequireAndVerifyClientCert\n",
            "line 2 column 9: tls_server_config: RequireAndVerifyClientCert needs client_ca",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  client_allowed_sans: [x]\n",
            "line 4 column 24: tls_server_config.client_allowed_sans: names are compared in verified",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [x]\n",
            "line 5 column 24: tls_server_config.client_allowed_sans: names are compared in verified",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  client_auth_type: VerifyClientCertIfGiven\n  client_allowed_sans: []\n",
            "line 5 column 24: tls_server_config.client_allowed_sans: an empty list",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  min_version: TLS11\n",
            "line 4 column 16: tls_server_config.min_version: TLS11 is not secure",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  max_version: TLS10\n",
            "line 4 column 16: tls_server_config.max_version: TLS10 is not secure",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  min_version: TLS111\n",
            "line 4 column 16: tls_server_config.min_version: \"TLS111\" is not a TLS version",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  min_version: TLS13\n  max_version: TLS12\n",
            "line 5 column 16: tls_server_config.max_version: min_version is above",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  cipher_suites: [x]\n",
            "line 4 column 19: tls_server_config.cipher_suites: x is not supported: there is no such cipher suite; possible are TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\n",
            "line 5 column 5: tls_server_config.cipher_suites: TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA is not supported: CBC",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]\n",
            "line 4 column 19: tls_server_config.cipher_suites: TLS_RSA_WITH_AES_128_GCM_SHA256 is not supported: the key exchange",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n",
            "line 4 column 19: tls_server_config.cipher_suites: HTTP/2 needs",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\nhttp_server_config: {http2: false}\n",
            "line 5 column 19: tls_server_config.cipher_suites: none of these is for TLS 1.2",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  curve_preferences: [CurveP521]\n",
            "line 4 column 23: tls_server_config.curve_preferences: CurveP521 is not supported: rustls does not offer it; possible are CurveP256, CurveP384, X25519",
        ),
        (
            "tls_server_config:\n  cert: a\n  key: b\n  curve_preferences: [CurveP257]\n",
            "line 4 column 23: tls_server_config.curve_preferences: CurveP257 is not supported: there is no such curve",
        ),
        (
            "http_server_config:\n  headers:\n    Content-Type: foo\n",
            "line 3 column 19: http_server_config.headers.Content-Type: this header cannot be set; it must be one of Strict-Transport-Security,",
        ),
        (
            "http_server_config:\n  headers:\n    x-frame-options: deny\n",
            "line 3 column 22: http_server_config.headers.x-frame-options: this header",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: foo\n",
            "line 3 column 22: http_server_config.headers.X-Frame-Options: \"foo\" is not a possible value; it must be one of deny, sameorigin",
        ),
        (
            "http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n",
            "line 3 column 29: http_server_config.headers.X-Content-Type-Options: \"sniff\" is not",
        ),
        (
            "http_server_config:\n  headers:\n    X-XSS-Protection: \"a\\r\\nb: c\"\n",
            "line 3 column 23: http_server_config.headers.X-XSS-Protection: the value must be printable",
        ),
        ("http_server_config:\n  http2: perhaps\n", "line 2 column 10: http2: "),
        ("basic_auth_users:\n  a:b: c\n", "line 2 column "),
        (
            "basic_auth_users:\n  'a:b': c\n",
            "line 2 column 10: basic_auth_users.a:b: the name of a user cannot contain a colon",
        ),
        (
            "basic_auth_users:\n  john: doe\n",
            "line 2 column 9: basic_auth_users.john: it is not a bcrypt hash; it must be 60 characters",
        ),
        (
            "rate_limit:\n  interval: 5\n  burst: 1\n",
            "line 2 column 13: rate_limit.interval: \"5\" is not a duration; it must be a number with a unit",
        ),
        (
            "rate_limit:\n  interval: 2h\n  burst: 1\n",
            "line 2 column 13: rate_limit.interval: it must be at most one hour",
        ),
        (
            "rate_limit:\n  interval: 1s\n  burst: 0\n",
            "line 3 column 10: rate_limit.burst: with a burst of 0 no request is answered",
        ),
        (
            "rate_limit:\n  interval: 1s\n",
            "line 2 column 13: rate_limit.burst: with a burst of 0 no request is answered",
        ),
        ("rate_limit:\n  interval: 1s\n  burst: -1\n", "line 3 column 10: burst: "),
    ] {
        let found = wrong(text);
        assert!(found.starts_with(message), "{text}\n{found}\ninstead of\n{message}");
        assert!(!found.contains('\n'), "{found}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name);
    let error = WebConfig::load(&file("absent.yml")).unwrap_err().to_string();
    assert!(error.starts_with("--web.config.file: cannot read") && error.contains("No such file"), "{error}");
    let error = WebConfig::load(home.path()).unwrap_err().to_string();
    assert!(error.ends_with("it is not a regular file"), "{error}");
    std::fs::write(file("large.yml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    let error = WebConfig::load(&file("large.yml")).unwrap_err().to_string();
    assert!(error.ends_with("it is larger than 1 MiB"), "{error}");
    std::fs::write(file("binary.yml"), [0xff]).unwrap();
    assert!(WebConfig::load(&file("binary.yml")).unwrap_err().to_string().ends_with("it is not UTF-8"));
    for key in ["cert", "key", "client_ca"] {
        let others = ["cert", "key", "client_ca"].iter().filter(|k| **k != key).map(|k| format!("  {k}: x\n"));
        let text = format!(
            "tls_server_config:\n  {key}_file: absent\n{}  client_auth_type: VerifyClientCertIfGiven\n",
            others.collect::<String>()
        );
        let found = wrong(&text);
        let start = format!("line 2 column {}: tls_server_config.{key}_file: cannot read ", key.len() + 10);
        assert!(found.starts_with(&start) && found.contains("/absent: No such file"), "{found}");
    }
}

#[test]
fn hashes_have_three_prefixes_and_a_bounded_cost() {
    let rest = &HASH[6..];
    for good in ["$2a$04", "$2b$10", "$2y$18"] {
        assert!(format!("{good}{rest}").parse::<PasswordHash>().is_ok(), "{good}");
    }
    for bad in ["$2x$04", "$2$04$", "$1$04$", "$2y$4$", "2y$04$", "$2y$ab"] {
        assert_eq!(format!("{bad}{rest}").parse::<PasswordHash>().unwrap_err(), WrongValue::Hash, "{bad}");
    }
    for cost in [3, 19, 31] {
        let hash = format!("$2y${cost:02}{rest}");
        assert_eq!(hash.parse::<PasswordHash>().unwrap_err(), WrongValue::Cost(cost));
    }
    for hash in [String::new(), HASH[..59].into(), format!("{HASH}a"), HASH.replace('A', "!")] {
        assert_eq!(hash.parse::<PasswordHash>().unwrap_err(), WrongValue::Hash, "{hash}");
    }
}

/// Of a key of the file, a name, a path or a value, whatever stands before the hash.
#[test]
fn no_error_shows_a_hash_in_the_wrong_place() {
    for before in ["", "bob ", "bob", "a.b/"] {
        let word = format!("'{before}{HASH}'");
        for text in [
            format!("{word}: x\n"),
            format!("tls_server_config: {{ {word}: x }}\n"),
            format!("rate_limit: {{ {word}: x }}\n"),
            format!("basic_auth_users: {{ {word}: x }}\n"),
            format!("basic_auth_users: {{ {word}: {HASH}, {word}: {HASH} }}\n"),
            format!("http_server_config: {{ headers: {{ {word}: x }} }}\n"),
            format!("http_server_config: {{ headers: {{ X-Frame-Options: {word} }} }}\n"),
            format!("rate_limit: {{ interval: {word} }}\n"),
            format!("tls_server_config: {{ min_version: {word} }}\n"),
            format!("tls_server_config: {{ client_auth_type: {word} }}\n"),
            format!("tls_server_config: {{ cipher_suites: [{word}] }}\n"),
            format!("tls_server_config: {{ curve_preferences: [{word}] }}\n"),
            format!("tls_server_config: {{ cert_file: {word}, key: x }}\n"),
            format!("tls_server_config: {{ cert: x, key_file: {word} }}\n"),
        ] {
            let error = WebConfig::parse(&text, Path::new("web.yml")).unwrap_err();
            let shown = format!("{error}{error:?}");
            assert!(!shown.contains(HASH), "{text}{shown}");
        }
    }
}

/// A password instead of its hash, a key in the wrong place: nothing of it is in an error.
#[test]
fn errors_and_debug_output_contain_no_secret() {
    let secret = "hunter2-is-secret";
    for text in [
        format!("basic_auth_users:\n  alice: {secret}\n"),
        format!("basic_auth_users:\n  alice: [{secret}]\n"),
        format!("basic_auth_users:\n  alice: {{password: {secret}}}\n"),
        format!("basic_auth_users: {secret}\n"),
        format!("basic_auth_users: [{secret}]\n"),
        format!("basic_auth_users:\n  alice:\n  - {secret}\n"),
        format!("tls_server_config: {secret}\n"),
        format!("tls_server_config: [{secret}]\n"),
        format!("tls_server_config:\n  key: [{secret}]\n"),
        format!("tls_server_config:\n  key: {{a: {secret}}}\n"),
        format!("tls_server_config:\n  key: {secret}\n  key_file: x\n  cert: x\n"),
        format!("tls_server_config:\n  key: {secret}\n"),
        format!("tls_server_config:\n  prefer_server_cipher_suites: {secret}\n"),
        format!("http_server_config: {secret}\n"),
        format!("http_server_config:\n  http2: {secret}\n"),
        format!("rate_limit: {secret}\n"),
        format!("rate_limit:\n  burst: {secret}\n"),
        secret.to_owned(),
        format!("- {secret}\n"),
        format!("basic_auth_users:\n  alice: \"{secret}\n"),
        format!("basic_auth_users:\n  alice: 'x' {secret}\n"),
        format!("basic_auth_users:\n  alice: *{secret}\n"),
        // Two digits of the line move what the parser quotes.
        format!("#\n#\n#\n#\n#\n#\n#\n#\nbasic_auth_users: {{alice: {secret}}}\nrate_limit: &\n"),
    ] {
        let error = load(&text).expect_err(&text);
        assert!(!error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{text}{error:?}");
    }
    let text = format!("tls_server_config:\n  cert: {secret}\n  key: {secret}\nbasic_auth_users:\n  alice: {HASH}\n");
    let shown = format!("{:?}", load(&text).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains(HASH) && shown.contains("alice"), "{shown}");
}

#[test]
fn the_digest_changes_with_every_file() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name);
    let text = format!(
        "tls_server_config:\n  {CERT}\n  client_ca_file: ca.crt\n  client_auth_type: VerifyClientCertIfGiven\n"
    );
    for (name, content) in [("web.yml", text.as_str()), ("server.crt", "a"), ("server.key", "b"), ("ca.crt", "c")] {
        std::fs::write(file(name), content).unwrap();
    }
    let digest = || WebConfig::load(&file("web.yml")).unwrap().digest;
    let mut seen = vec![digest()];
    assert_eq!(digest(), seen[0]);
    for (name, content) in
        [("server.crt", "ab"), ("server.key", ""), ("ca.crt", "d"), ("web.yml", &format!("{text}#\n"))]
    {
        std::fs::write(file(name), content).unwrap();
        assert!(!seen.contains(&digest()), "{name}");
        seen.push(digest());
    }
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let docs = include_str!("../../../docs/web.md");
    let examples: Vec<&str> = docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples.into_iter().filter(|example| !example.contains("scrape_configs")) {
        let config = load(&example.replace("tls.crt", "server.crt").replace("tls.key", "server.key")).unwrap();
        assert!(config.tls.is_some() || !config.users.is_empty() || config.rate_limit.is_some(), "{example}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = load(&text);
        let _ = text.parse::<PasswordHash>();
        let _ = duration::parse(&text);
    }

    /// Mutations of a valid file reach deeper than random text.
    #[test]
    fn no_change_of_a_valid_file_panics(at in 0..400_usize, replacement in "[ \\-:{}\\[\\]\"'#&*!|>\n a-zA-Z0-9$]{0,6}", cut in 0..20_usize) {
        let mut text = format!(
            "tls_server_config:\n  {CERT}\n  client_auth_type: VerifyClientCertIfGiven\n  client_allowed_sans: [a]\n  \
             cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\nhttp_server_config:\n  headers: {{X-Frame-Options: deny}}\n\
             basic_auth_users: {{alice: {HASH}}}\nrate_limit: {{interval: 1s, burst: 2}}\n"
        );
        let from = at.min(text.len());
        let to = (from + cut).min(text.len());
        text.replace_range(from..to, &replacement);
        if let Err(error) = load(&text) {
            prop_assert!(!error.to_string().contains(&HASH[10..]), "{error}");
        }
    }
}
