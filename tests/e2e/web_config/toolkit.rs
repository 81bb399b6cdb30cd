//! The 64 test cases of exporter-toolkit (web/*_test.go), by their names, with what they become here.
//!
//! "run" and "validate" of a case are `serve` and `verify-config`. Costs of hashes are lower here, because they test nothing.

use super::client::{Client, Offer, basic, client, client_with};
use super::pki::PKI;
use super::{HASHES, serve, web};
use crate::exporter::{Exporter, cli};
use crate::http;
use rustls::{CipherSuite, NamedGroup};
use std::io::{Read, Write};

const SERVER: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

/// `TestYAMLFiles`: a text, and a part of the error that names what is wrong; empty if the text is valid.
const FILES: &[(&str, &str, &str)] = &[
    ("path to config yml invalid", "ABSENT", "cannot read web.yml: No such file"),
    ("empty config yml", "", ""),
    ("invalid config yml (invalid structure)", "hWkNKCp3fvIx3jKnsaBI\nTuEjdwNS8A2vYdFbiKqr\n", "web.yml: line 1"),
    ("invalid config yml (invalid key)", "tls_server_config:\n  cert_filse: x\n", "line 2 column 3: unknown field"),
    (
        "invalid config yml (cert path empty)",
        "tls_server_config:\n  cert_file: ''\n  key_file: server.key\n",
        "one of cert and cert_file",
    ),
    (
        "invalid config yml (cert empty)",
        "tls_server_config:\n  cert: ''\n  key_file: server.key\n",
        "one of cert and cert_file",
    ),
    (
        "invalid config yml (key path empty)",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: ''\n",
        "one of key and key_file",
    ),
    (
        "invalid config yml (key empty)",
        "tls_server_config:\n  cert_file: server.crt\n  key: ''\n",
        "one of key and key_file",
    ),
    (
        "invalid config yml (cert path and key path empty)",
        "tls_server_config:\n  cert_file: ''\n  key_file: ''\n  client_auth_type: NoClientCert\n",
        "one of cert and cert_file",
    ),
    (
        "invalid config yml (cert path invalid)",
        "tls_server_config:\n  cert_file: somefile\n  key_file: server.key\n",
        "line 2 column 14: tls_server_config.cert_file: cannot read somefile: No such file",
    ),
    (
        "invalid config yml (key path invalid)",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: somefile\n",
        "line 3 column 13: tls_server_config.key_file: cannot read somefile: No such file",
    ),
    (
        "invalid config yml (cert path and key path invalid)",
        "tls_server_config:\n  cert_file: somefile\n  key_file: somefile\n",
        "cannot read somefile: No such file",
    ),
    (
        "invalid config yml (invalid ClientAuth)",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_ca_file: /dev/null\n",
        "line 4 column 19: tls_server_config.client_ca_file: client certificates are not verified",
    ),
    (
        "invalid config yml (invalid ClientCAs filepath)",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: somefile\n",
        "cannot read somefile: No such file",
    ),
    (
        "invalid config yml (invalid user list)",
        "basic_auth_users:\n  john: doe\n",
        "line 2 column 9: basic_auth_users.john: it is not a bcrypt hash",
    ),
    (
        "invalid config yml (bad cipher)",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  cipher_suites:\n  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048\n",
        "line 5 column 5: tls_server_config.cipher_suites: TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048 is not supported",
    ),
    (
        "invalid config yml (bad curves)",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  curve_preferences: [CurveP257]\n",
        "CurveP257 is not supported: there is no such curve",
    ),
    (
        "invalid config yml (bad TLS version)",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS111\n",
        "\"TLS111\" is not a TLS version",
    ),
    // `TestServerBehaviour`, where the server does not start; the first three start there, with cipher suites and curves
    // that rustls does not have.
    (
        "valid tls config yml with all ciphers",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA is not supported: CBC",
    ),
    (
        "valid tls config yml with all curves",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n",
        "CurveP521 is not supported: rustls does not offer it",
    ),
    (
        "valid rate limiter with an interval of one second",
        "rate_limit:\n  interval: 1s\n  burst: 0\n",
        "with a burst of 0 no request is answered",
    ),
    (
        "valid tls config yml with non-http2 ciphers but http2 enabled",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n",
        "HTTP/2 needs TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        "invalid X-Content-Type-Options headers config",
        "http_server_config: {headers: {X-Content-Type-Options: sniff}}\n",
        "\"sniff\" is not a possible value; it must be one of nosniff",
    ),
    (
        "invalid X-Frame-Options headers config",
        "http_server_config: {headers: {X-Frame-Options: foo}}\n",
        "\"foo\" is not a possible value; it must be one of deny, sameorigin",
    ),
    (
        "HTTP header that can not be overridden",
        "http_server_config: {headers: {Content-Type: foo}}\n",
        "Content-Type: this header cannot be set",
    ),
    // `TestTLSConfigIsEnabled`: what is not whole is an error, not plain HTTP.
    (
        "only non-enabling fields set",
        "tls_server_config: {min_version: TLS12, prefer_server_cipher_suites: true}\n",
        "one of cert and cert_file",
    ),
    ("only client CA file set", "tls_server_config: {client_ca_file: client_ca.crt}\n", "one of cert and cert_file"),
    (
        "only client auth type set",
        "tls_server_config: {client_auth_type: RequireAndVerifyClientCert}\n",
        "one of cert and cert_file",
    ),
];

/// Cases with a test of their own.
const ELSEWHERE: &[(&str, &str)] = &[
    ("empty string YAMLConfigPath and default client", "without_a_configuration_there_is_plain_http"),
    ("empty string YAMLConfigPath and TLS client", "a_plain_server_does_not_answer_tls"),
    ("valid tls config yml and default client", "a_request_without_tls_is_answered_so_that_people_understand"),
    ("valid tls config yml with TLS 1.1 client", "old_versions_of_tls_are_refused"),
    ("TestBasicAuthCache", "many_requests_with_right_and_wrong_passwords"),
    ("TestBasicAuthWithFakepassword", "there_is_no_password_of_unknown_users"),
    ("TestByPassBasicAuthVuln", "there_is_no_password_of_unknown_users"),
    ("TestHTTPHeaders", "configured_headers_are_on_every_answer"),
    ("valid headers config", "configured_headers_are_on_every_answer"),
    ("TestConfigReloading", "certificates_are_reloaded_when_a_symbolic_link_changes"),
    ("valid rate limiter (no rate limiter set up) that doesn't block", "limits_follow_a_reload"),
    ("TestCacheSize", "one_password_of_each_user_is_remembered"),
];

/// `TestServerBehaviour`, `TestTLSConfigIsEnabled`: a configuration beyond the certificate, a client, whether it is served.
fn server() -> Vec<(&'static str, String, Client, bool)> {
    let inline = |text: &str| text.replace('\n', "\n    ");
    let (certificate, key) = (inline(&PKI.server.pem()), inline(&PKI.server.key_pem()));
    let all_inline = format!("tls_server_config:\n  cert: |\n    {certificate}\n  key: |\n    {key}\n");
    let key_inline = format!("tls_server_config:\n  cert_file: server.crt\n  key: |\n    {key}\n");
    let ciphers = format!(
        "{SERVER}  max_version: TLS12\n  cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  - \
         TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n"
    );
    let offer = |ciphers: &[CipherSuite]| Offer { ciphers, ..Offer::default() }.client();
    let curves = |curves: &[NamedGroup]| Offer { curves, ..Offer::default() }.client();
    let (aes128, aes256) =
        (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384);
    let curve = format!("{SERVER}  min_version: TLS13\n  curve_preferences: [CurveP384]\n");
    let any = format!("{SERVER}  client_auth_type: RequireAnyClientCert\n");
    let verified =
        |ca: &str| format!("{SERVER}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {ca}\n");
    let sans = |list: &str| format!("{}  client_allowed_sans: {list}\n", verified("client2_selfsigned.pem"));
    let (first, second) = (|| client_with(&PKI.client_selfsigned), || client_with(&PKI.client2_selfsigned));
    vec![
        (
            "valid tls config yml and tls client",
            format!("{SERVER}  client_auth_type: VerifyClientCertIfGiven\n"),
            client(),
            true,
        ),
        ("valid tls config yml (cert and key inline) and tls client", all_inline.clone(), client(), true),
        ("valid tls config yml with some ciphers", ciphers.clone(), offer(&[aes128]), true),
        (
            "valid tls config yml with no common cipher",
            ciphers,
            offer(&[CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]),
            false,
        ),
        ("valid tls config yml with some curves", curve.clone(), curves(&[NamedGroup::secp384r1]), true),
        ("valid tls config yml with no common curves", curve, curves(&[NamedGroup::secp256r1]), false),
        (
            "valid tls config yml with non-http2 ciphers",
            format!(
                "{SERVER}  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\nhttp_server_config: {{http2: false}}\n"
            ),
            offer(&[aes256]),
            true,
        ),
        ("valid tls config yml and tls client with RequireAnyClientCert (present certificate)", any, first(), true),
        (
            "valid tls config yml (cert from file, key inline) and tls client with RequireAnyClientCert (present certificate)",
            format!("{key_inline}  client_auth_type: RequireAnyClientCert\n"),
            first(),
            true,
        ),
        (
            "valid tls config yml and tls client with RequireAndVerifyClientCert (present certificate)",
            verified("client_selfsigned.pem"),
            first(),
            true,
        ),
        (
            "valid tls config yml and tls client with VerifyPeerCertificate (present good SAN DNS entry)",
            sans("[one, test3, two]"),
            second(),
            true,
        ),
        (
            "valid tls config yml and tls client with VerifyPeerCertificate (present invalid SAN DNS entries)",
            sans("[bad]"),
            second(),
            false,
        ),
        ("cert_file and key_file set", SERVER.to_owned(), client(), true),
        ("inline cert and key set", all_inline, client(), true),
    ]
}

/// The order of cipher suites: the server's, or the client's.
const ORDER: &[(&str, &str, CipherSuite)] = &[
    ("valid tls config yml with multiple client ciphers", "true", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "valid tls config yml with multiple client ciphers, client chooses cipher",
        "false",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
];

/// Name and password.
type Credentials = Option<(&'static str, &'static str)>;

/// `TestUsers`: with TLS, name and password, and the status.
const USERS: &[(&str, bool, Credentials, u16)] = &[
    ("without basic auth", false, None, 401),
    ("with correct basic auth", false, Some(("dave", "dave123")), 200),
    ("without basic auth and TLS", true, None, 401),
    ("with correct basic auth and TLS", true, Some(("dave", "dave123")), 200),
    ("with another correct basic auth and TLS", true, Some(("carol", "carol123")), 200),
    ("with bad password and TLS", true, Some(("dave", "bad")), 401),
    ("with bad username and TLS", true, Some(("nonexistent", "nonexistent")), 401),
];

#[test]
fn every_case_of_exporter_toolkit_is_here_once() {
    let names = FILES.iter().map(|case| case.0).chain(ELSEWHERE.iter().map(|case| case.0));
    let names = names.chain(ORDER.iter().map(|case| case.0)).chain(USERS.iter().map(|case| case.0));
    let mut names: Vec<_> = names.chain(server().iter().map(|case| case.0)).chain(["empty config"]).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!((names.len(), count), (64, 64), "{names:#?}");
    let tests = concat!(
        include_str!("../web_config.rs"),
        include_str!("auth.rs"),
        include_str!("reload.rs"),
        include_str!("toolkit.rs"),
        include_str!("../../../src/http/auth/tests.rs")
    );
    for (case, test) in ELSEWHERE.iter() {
        assert!(tests.contains(&format!("fn {test}()")), "{case}: there is no test {test}");
    }
}

#[test]
fn files() {
    for (case, text, error) in FILES {
        let command = |subcommand| {
            let command = web(subcommand);
            if *text == "ABSENT" { command } else { command.file("web.yml", text) }
        };
        if error.is_empty() {
            command("verify-config").run().expect(0);
            let exporter = command("serve").serve();
            assert_eq!(exporter.get("/-/healthy").status, 200, "{case}");
            continue;
        }
        for subcommand in ["verify-config", "serve"] {
            let ran = command(subcommand).run();
            let log = ran.stderr();
            assert_eq!(ran.code(), 2, "{subcommand} {case}: {log}");
            assert!(log.contains("web.yml") && log.contains(error), "{subcommand} {case}: {log}");
            assert!(*text == "ABSENT" || log.contains("line "), "{subcommand} {case}: {log}");
        }
    }
}

/// And "empty config" of `TestTLSConfigIsEnabled`.
#[test]
fn servers() {
    for (case, text, client, served) in server() {
        let exporter = serve(&text);
        let status = client.status(exporter.address());
        assert_eq!(status.as_ref().ok(), served.then_some(&200), "{case}: {status:?}\n{text}");
        let plain = http::get(exporter.address(), "/metrics").status;
        assert_eq!(plain, 400, "{case}: plain HTTP is not served");
    }
    assert_eq!(serve("tls_server_config: {}\n").get("/-/healthy").status, 200);
}

#[test]
fn the_order_of_cipher_suites_is_the_servers_unless_the_client_chooses() {
    for (case, server, chosen) in ORDER {
        let exporter = serve(&format!(
            "{SERVER}  max_version: TLS12\n  prefer_server_cipher_suites: {server}\n  cipher_suites:\n  - \
             TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384\n  - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n"
        ));
        let ciphers =
            [CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384];
        let connection = Offer { ciphers: &ciphers, ..Offer::default() }.client().connect(exporter.address()).unwrap();
        assert_eq!(connection.conn.negotiated_cipher_suite().unwrap().suite(), *chosen, "{case}");
    }
}

#[test]
fn users() {
    let plain = serve(&HASHES);
    let secured = serve(&format!("{SERVER}{}", *HASHES));
    let request = |exporter: &Exporter, tls: bool, headers: &[(&str, &str)]| match tls {
        true => client().request(exporter.address(), "/metrics", headers).unwrap(),
        false => http::request(exporter.address(), "GET", "/metrics", headers),
    };
    for (case, tls, credentials, status) in USERS {
        let header = credentials.map(|(name, password)| basic(name, password));
        let headers: Vec<_> = header.iter().map(|value| ("Authorization", value.as_str())).collect();
        let response = request(if *tls { &secured } else { &plain }, *tls, &headers);
        assert_eq!(response.status, *status, "{case}");
        if *status == 401 {
            let (challenge, body) = (response.header("www-authenticate"), response.text());
            assert_eq!((challenge, body.as_str()), ("Basic", "Unauthorized\n"), "{case}");
        }
    }
}

#[test]
fn without_a_configuration_there_is_plain_http() {
    let exporter = cli(["serve", "--demo"]).serve();
    assert_eq!(exporter.get("/metrics").status, 200);
}

#[test]
fn a_plain_server_does_not_answer_tls() {
    let exporter = web("serve").file("web.yml", "").serve();
    assert!(client().connect(exporter.address()).is_err());
    assert_eq!(exporter.get("/-/healthy").status, 200);
}

#[test]
fn old_versions_of_tls_are_refused() {
    let exporter = serve(SERVER);
    // A hello of TLS 1.1 without extensions.
    let mut hello = vec![0x03, 0x02];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut record = vec![0x16, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    let mut stream = http::connect(exporter.address()).unwrap();
    stream.write_all(&record).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // A fatal alert: handshake_failure or protocol_version.
    assert_eq!((answer[0], &answer[3..6]), (0x15, &[0, 2, 2][..]), "{answer:?}");
    assert!([40, 70].contains(&answer[6]), "{answer:?}");
    let new = format!("{SERVER}  min_version: TLS13\n");
    let exporter = serve(&new);
    let offer = |version| Offer { versions: &[version], ..Offer::default() }.client();
    assert!(offer(&rustls::version::TLS12).status(exporter.address()).is_err());
    assert_eq!(offer(&rustls::version::TLS13).status(exporter.address()).unwrap(), 200);
}
