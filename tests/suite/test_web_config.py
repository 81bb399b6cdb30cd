"""--web.config.file with clients that share no code with the exporter: curl, OpenSSL, Python; and promtool, which is exporter-toolkit."""

import base64
import re
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest

from certificates import Authority, pem
from harness import ROOT, TOOLS, Exporter, clean_environment, exporter_binary, free_port

PASSWORD = "example-password"
# By libcrypt: perl -e 'print crypt("example-password", "\$2y\$04\$Vw6c1N0gq9Zb3kXo8mTtEu")'
HASH = "$2y$04$Vw6c1N0gq9Zb3kXo8mTtEu2iXNyjOin7CevklrTGz1e/6DHT4z5uy"
SERVER = "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n"
VERIFIED = SERVER + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
USERS = f"basic_auth_users:\n  prometheus: {HASH}\n"


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, **options)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A directory with ca.crt, and pairs of tls, client and stranger, which signed itself."""
    home = tmp_path_factory.mktemp("pki")
    authority, stranger = Authority("ca"), Authority("stranger")
    server = authority.issue("localhost", "127.0.0.1")
    client = authority.issue("prometheus.example.com", client=True)
    files = {
        "ca": (authority.certificate, pem(authority.key)),
        "tls": (server["tls.crt"], server["tls.key"]),
        "client": (client["tls.crt"], client["tls.key"]),
        "stranger": (stranger.certificate, pem(stranger.key)),
    }
    for name, (certificate, key) in files.items():
        (home / f"{name}.crt").write_text(certificate)
        (home / f"{name}.key").write_text(key)
    return home


class Secured(Exporter):
    """Ready when its plain address for probes answers."""

    def __init__(self, home, text):
        (home / "web.yml").write_text(text)
        self.probe = free_port()
        super().__init__(["--demo", f"--web.config.file={home}/web.yml", f"--web.probe-address=127.0.0.1:{self.probe}"])
        self.url = self.url.replace("http:", "https:")

    def wait_ready(self):
        self.wait_url(f"http://127.0.0.1:{self.probe}/-/ready")


def curl(exporter, pki, *arguments, path="/metrics"):
    """(status, HTTP version, body); the status is 0 if there was no answer."""
    written = ["--silent", "--cacert", pki / "ca.crt", "--write-out", "\n%{http_code} %{http_version}"]
    body, _, last = run("curl", *written, *arguments, exporter.url + path).stdout.rpartition("\n")
    status, version = last.split()
    return int(status), version, body


def test_curl(started, pki):
    exporter = started(Secured(pki, VERIFIED + USERS))
    certificate = ["--cert", pki / "client.crt", "--key", pki / "client.key"]
    user = ["--user", f"prometheus:{PASSWORD}"]
    for version in ("--http1.1", "--http2"):
        for tls in (["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"]):
            status, negotiated, body = curl(exporter, pki, version, *tls, *certificate, *user, "--compressed")
            assert (status, negotiated) == (200, "2" if version == "--http2" else "1.1"), (version, tls)
            assert "\naws_iam_users{" in body and "\niam_key_exporter_web_certificate_expiry_timestamp_seconds " in body
    assert curl(exporter, pki, *certificate)[0] == 401
    assert curl(exporter, pki, *certificate, "--user", "prometheus:wrong")[0] == 401
    assert curl(exporter, pki, *user)[0] == 0
    assert curl(exporter, pki, *user, "--cert", pki / "stranger.crt", "--key", pki / "stranger.key")[0] == 0
    assert curl(exporter, pki, *certificate, *user, "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0")[0] == 0
    assert curl(exporter, pki, *certificate, *user, path="/-/healthy")[0] == 200


def test_python(started, pki):
    exporter = started(Secured(pki, VERIFIED + "  client_allowed_sans: [prometheus.example.com]\n" + USERS))
    context = ssl.create_default_context(cafile=pki / "ca.crt")
    request = urllib.request.Request(exporter.url + "/metrics")
    with pytest.raises((urllib.error.URLError, OSError)):
        urllib.request.urlopen(request, context=context, timeout=30).read()
    context.load_cert_chain(pki / "client.crt", pki / "client.key")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, context=context, timeout=30)
    assert (refused.value.code, refused.value.headers["WWW-Authenticate"]) == (401, "Basic")
    credentials = base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()
    request.add_header("Authorization", f"Basic {credentials}")
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        assert answer.status == 200 and b"aws_iam_users" in answer.read()


def test_openssl(started, pki):
    exporter = started(Secured(pki, SERVER + "http_server_config: {http2: false}\n"))

    def connect(*arguments):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{exporter.port}", "-CAfile", "ca.crt", "-verify_return_error"]
        return run(*command, *arguments, cwd=pki, stdin=subprocess.DEVNULL)

    for version in ("-tls1_2", "-tls1_3"):
        done = connect(version)
        assert done.returncode == 0 and "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
    assert "No ALPN negotiated" in connect("-alpn", "h2,x").stdout or connect("-alpn", "h2").returncode != 0
    for version in ("-tls1", "-tls1_1"):
        done = connect(version, "-cipher", "DEFAULT@SECLEVEL=0")
        assert done.returncode != 0 and "Cipher is (NONE)" in done.stdout, done.stdout
    # A session of before a change of the client CA is refused: see tests/e2e/web_config/reload.rs.


# A text, whether exporter-toolkit takes it, and whether the exporter does. What it takes, exporter-toolkit takes too.
TEXTS = {
    "empty": ("", True, True),
    "TLS": (SERVER, True, True),
    "client certificates": (VERIFIED + "  client_allowed_sans: [a, 192.0.2.1]\n", True, True),
    "optional client certificates": (SERVER + "  client_auth_type: VerifyClientCertIfGiven\n", True, True),
    "all settings of TLS": (
        SERVER
        + "  min_version: TLS12\n  max_version: TLS13\n  prefer_server_cipher_suites: false\n"
        + "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n"
        + "  curve_preferences: [X25519, CurveP256, CurveP384]\nhttp_server_config: {http2: false}\n",
        True,
        True,
    ),
    "users": (USERS, True, True),
    "headers": ("http_server_config: {headers: {X-Frame-Options: sameorigin, X-XSS-Protection: 1}}\n", True, True),
    "rate limit": ("rate_limit: {interval: 1m30s, burst: 5}\n", True, True),
    "unknown key": ("tls_server_config: {certificate: x}\n", False, False),
    "no key": ("tls_server_config: {cert_file: tls.crt}\n", False, False),
    "no such file": ("tls_server_config: {cert_file: x, key_file: tls.key}\n", False, False),
    "another key": ("tls_server_config: {cert_file: tls.crt, key_file: ca.key}\n", False, False),
    "no kind of client authentication": (SERVER + "  client_auth_type: Always\n", False, False),
    "client CA without a use": (SERVER + "  client_ca_file: ca.crt\n", False, False),
    "no hash": ("basic_auth_users: {a: b}\n", False, False),
    "header": ("http_server_config: {headers: {Server: x}}\n", False, False),
    # Stricter, for the reasons in docs/web.md.
    "both forms": (SERVER + "  cert: x\n", True, False),
    "only a version": ("tls_server_config: {min_version: TLS13}\n", True, False),
    "no client CA": (SERVER + "  client_auth_type: RequireAndVerifyClientCert\n", True, False),
    "names that are not verified": (SERVER + "  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a]\n", True, False),
    "no request": ("rate_limit: {interval: 1s, burst: 0}\n", True, False),
    "nanoseconds": ("rate_limit: {interval: 5, burst: 1}\n", True, False),
    "CBC": (SERVER + "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n", True, False),
    "P-521": (SERVER + "  curve_preferences: [CurveP521]\n", True, False),
    "TLS 1.1": (SERVER + "  min_version: TLS11\n", True, False),
}


@pytest.mark.parametrize("name", TEXTS)
def test_promtool_agrees(pki, name):
    text, toolkit, ours = TEXTS[name]
    assert toolkit or not ours
    (pki / "checked.yml").write_text(text)
    promtool = run(TOOLS.bin("promtool"), "check", "web-config", pki / "checked.yml")
    assert (promtool.returncode == 0) == toolkit, promtool.stdout + promtool.stderr
    checked = run(exporter_binary(), "verify-config", f"--web.config.file={pki}/checked.yml", env=clean_environment())
    assert checked.returncode == (0 if ours else 2), checked.stderr
    if not ours:
        assert "checked.yml: line " in checked.stderr, checked.stderr


def test_the_example_of_the_documentation(pki):
    text = re.search(r"```yaml\n(tls_server_config:.*?)```", (ROOT / "docs/web.md").read_text(), re.DOTALL)[1]
    (pki / "example.yml").write_text(text)
    promtool = run(TOOLS.bin("promtool"), "check", "web-config", pki / "example.yml")
    assert promtool.returncode == 0, promtool.stdout + promtool.stderr
    run(exporter_binary(), "verify-config", f"--web.config.file={pki}/example.yml", env=clean_environment()).check_returncode()


def test_a_mistake_is_one_line_without_the_value(pki):
    (pki / "checked.yml").write_text("basic_auth_users:\n  alice: hunter2\n")
    ended = run(exporter_binary(), "serve", "--demo", f"--web.config.file={pki}/checked.yml", env=clean_environment())
    assert ended.returncode == 2 and "hunter2" not in ended.stdout + ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and "line 2 column 10: basic_auth_users.alice" in ended.stderr, ended.stderr
