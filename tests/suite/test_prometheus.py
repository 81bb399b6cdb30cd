"""Real Prometheus servers, the newest and the oldest supported one, scrape the exporter and store exactly its samples."""

import contextlib
import http.server
import json
import subprocess
import threading
import urllib.request

import pytest

from harness import ACCOUNT, TOOLS, Exporter, Moto, Prometheus, Samples, free_port, wait_until

VERSIONS = ["", "2.42"]
FAST = "--aws.max-requests-per-second=1000"
# All characters that the text format must escape, and non-ASCII ones. IAM allows none of them in names, but account names
# and tags are free text.
HOSTILE = 'a "quoted" back\\slash, {brace="x"} é \n# HELP line feed'


@pytest.fixture(params=VERSIONS, ids=["newest", "2.42"])
def version(request):
    return request.param


def inventory(path, users, name="prod"):
    """Writes an inventory file; a user is (name, [status, ...])."""
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "account": {"id": ACCOUNT, "name": name},
                "generated_at": "2026-01-31T12:00:00Z",
                "root": {"active_access_keys": 1},
                "users": [
                    {
                        "name": name,
                        "path": "/team/",
                        "tags": {"owner": f"{name} {HOSTILE}"},
                        "access_keys": [
                            {"status": status, "created": f"2026-01-{day:02}T00:00:00Z", "last_used": "2026-01-20T00:00:00Z"}
                            for day, status in enumerate(keys, start=1)
                        ],
                    }
                    for name, keys in users
                ],
            }
        ),
        encoding="utf-8",
    )
    return path


def file_exporter(path, *arguments):
    return Exporter([f"--input.inventory={path}", "--metrics.user-info", "--collect.owner-tag=owner", *arguments])


def scrape(target, version="", **options):
    """A Prometheus that scrapes the target."""
    job = Prometheus.scrape("iam-key-exporter", target, **options)
    return Prometheus({"scrape_configs": [job]}, version=version)


def stored(prometheus, selector):
    """Samples of the API, without the labels that Prometheus adds, in the form of `Samples`."""
    found = {}
    for labels, value in prometheus.query(selector):
        name = labels.pop("__name__")
        assert labels.pop("job") == "iam-key-exporter"
        assert labels.pop("instance")
        found[Samples.key(name, labels)] = value
    return found


def inventory_samples(samples):
    return {key: value for key, value in samples.items() if key.startswith("aws_iam_")}


def test_every_sample_is_stored_unchanged(version, tmp_path):
    users = [("alice", ["active", "active"]), ("bob", ["inactive"]), ("a,b", []), ("carol", ["active", "inactive"])]
    path = inventory(tmp_path / "inventory.json", users, name=HOSTILE)
    with file_exporter(path) as exporter, scrape(exporter, version=version) as prometheus:
        expected = exporter.wait_checked().metrics()
        wait_until(lambda: prometheus.query("aws_iam_account_info"))
        assert stored(prometheus, '{__name__=~"aws_iam_.+"}') == inventory_samples(expected)
        # Not only equal, but correct.
        assert prometheus.query("aws_iam_account_info")[0][0]["account_name"] == HOSTILE
        owner = prometheus.query('aws_iam_user_info{user_name="a,b"}')[0][0]["owner"]
        assert owner == f"a,b {HOSTILE}"
        keys = prometheus.query("aws_iam_user_active_access_keys")
        assert {labels["user_name"]: value for labels, value in keys} == {"alice": 2, "bob": 0, "a,b": 0, "carol": 1}
        assert prometheus.query('aws_iam_access_key_violations{rule="multiple_active_keys"}')[0][1] == 1
        since = 'aws_iam_user_violation_since_timestamp_seconds{rule="multiple_active_keys"}'
        assert prometheus.query(since)[0][1] == 1767312000  # 2026-01-02, the second key's date
        assert prometheus.query(f"count({since})")[0][1] == 1
        # The exporter's own metrics as well, regardless of their current values.
        names = {key.partition("{")[0] for key in stored(prometheus, '{__name__=~"iam_key_exporter_.+|process_.+"}')}
        assert names == {name for name in expected.names() if not name.startswith("aws_iam_")}


def test_an_account_of_five_thousand_users(version, tmp_path):
    users = [(f"user-{number:04}", ["active"] if number % 50 else ["active", "active"]) for number in range(5000)]
    path = inventory(tmp_path / "inventory.json", users)
    with file_exporter(path) as exporter, scrape(exporter, version=version, interval="5s") as prometheus:
        expected = exporter.wait_checked().metrics()
        assert len(expected) > 25_000
        scraped = wait_until(lambda: prometheus.query("scrape_samples_scraped > 25000"))
        assert scraped[0][1] == len(expected)
        assert prometheus.query('count({__name__=~"aws_iam_.+"})')[0][1] == len(inventory_samples(expected))
        assert prometheus.query("sum(aws_iam_user_active_access_keys)")[0][1] == 5100
        assert prometheus.query('aws_iam_access_key_violations{rule="multiple_active_keys"}')[0][1] == 100
        assert "error" not in prometheus.log.lower()


def test_the_demo_has_users_in_every_status(version):
    with Exporter(["--demo"]) as exporter, scrape(exporter, version=version) as prometheus:
        exporter.wait_checked()
        wait_until(lambda: prometheus.query("aws_iam_users"))
        statuses = {labels["status"]: value for labels, value in prometheus.query("aws_iam_users")}
        assert set(statuses) == {"compliant", "rotating", "violation", "exempt", "unknown"}
        assert all(statuses[status] > 0 for status in ["compliant", "violation", "exempt", "unknown"])
        assert prometheus.query("iam_key_exporter_account_up")[0][1] == 1
        target = prometheus.targets()[0]
        assert (target["health"], target["lastError"]) == ("up", "")


def test_a_fix_in_aws_clears_in_prometheus(version, moto):
    first, _ = moto.user("carol", "Active", "Active")
    moto.user("dave", "Active", "Inactive")
    arguments = [FAST, "--check.interval=1s"]
    with Exporter(arguments, env=moto.env) as exporter, scrape(exporter, version=version) as prometheus:
        wait_until(lambda: prometheus.query("aws_iam_user_active_access_keys"))
        assert stored(prometheus, "aws_iam_user_active_access_keys") == {
            f'aws_iam_user_active_access_keys{{account_id="{ACCOUNT}",user_name="carol"}}': 2,
            f'aws_iam_user_active_access_keys{{account_id="{ACCOUNT}",user_name="dave"}}': 1,
        }
        violations = 'aws_iam_access_key_violations{rule="multiple_active_keys"}'
        assert prometheus.query(violations)[0][1] == 1
        assert len(prometheus.query("aws_iam_user_violation_since_timestamp_seconds")) == 1

        moto.iam.update_access_key(UserName="carol", AccessKeyId=first, Status="Inactive")
        wait_until(lambda: prometheus.query(f"{violations} == 0"))
        # Removed immediately, not after the five minutes in which an instant query still finds old samples.
        assert prometheus.query("aws_iam_user_violation_since_timestamp_seconds") == []
        assert prometheus.query('aws_iam_user_active_access_keys{user_name="carol"}')[0][1] == 1


def test_up_stays_1_while_aws_was_never_reached(version):
    nowhere = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    arguments = ["--check.interval=1s", "--check.timeout=2s"]
    with Exporter(arguments, env=nowhere) as exporter, scrape(exporter, version=version) as prometheus:
        failures = "sum(iam_key_exporter_check_failures_total)"
        wait_until(lambda: prometheus.query(f"{failures} > 0"))
        assert prometheus.query("min_over_time(up[1h])")[0][1] == 1
        account_up = stored(prometheus, "iam_key_exporter_account_up")
        assert account_up == {'iam_key_exporter_account_up{account_id="unknown"}': 0}
        # Unknown values are absent: there is no 0 that would appear as an answer.
        assert prometheus.query('{__name__=~"aws_iam_.+"}') == []
        assert exporter.get("/-/ready").status == 503
        assert exporter.get("/-/healthy").status == 200


def test_the_last_inventory_stays_while_aws_is_unreachable(version):
    with Moto() as moto:
        moto.user("carol", "Active", "Active")
        arguments = [FAST, "--check.interval=1s", "--check.timeout=2s"]
        with Exporter(arguments, env=moto.env) as exporter, scrape(exporter, version=version) as prometheus:
            wait_until(lambda: prometheus.query("iam_key_exporter_account_up == 1"))
            before = stored(prometheus, '{__name__=~"aws_iam_.+"}')
            assert before

            moto.kill()
            wait_until(lambda: prometheus.query("iam_key_exporter_account_up == 0"))
            assert stored(prometheus, '{__name__=~"aws_iam_.+"}') == before
            reasons = prometheus.query("iam_key_exporter_check_failures_total > 0")
            assert {labels["reason"] for labels, _ in reasons} <= {"connection", "timeout"} and reasons
            assert prometheus.query("min_over_time(up[1h])")[0][1] == 1
            assert exporter.get("/-/ready").status == 200
            success = "iam_key_exporter_account_last_success_timestamp_seconds"
            facts_at = "iam_key_exporter_account_facts_timestamp_seconds"
            stamps = [prometheus.query(metric)[0][1] for metric in (success, facts_at)]
            failed = prometheus.query("sum(iam_key_exporter_check_failures_total)")[0][1]
            wait_until(lambda: prometheus.query(f"sum(iam_key_exporter_check_failures_total) > {failed}"))
            assert [prometheus.query(metric)[0][1] for metric in (success, facts_at)] == stamps


# --- content negotiation ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def witness(exporter):
    """A proxy in front of the exporter that records requests and responses: (Accept-Encoding, Content-Encoding,
    Content-Type, body)."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            request = urllib.request.Request(exporter.url + self.path, headers=headers)
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request) as answer:
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in ("connection", "date"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                encoding = answer.headers.get("Content-Encoding")
                seen.append((self.headers.get("Accept-Encoding"), encoding, answer.headers.get("Content-Type"), body))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


def test_prometheus_gets_gzip_and_understands_it(version, tmp_path):
    path = inventory(tmp_path / "inventory.json", [("alice", ["active", "active"])])
    with file_exporter(path) as exporter, witness(exporter) as (address, seen):
        expected = inventory_samples(exporter.wait_checked().metrics())
        with scrape(address, version=version) as prometheus:
            wait_until(lambda: prometheus.query("up == 1"))
            assert stored(prometheus, '{__name__=~"aws_iam_.+"}') == expected
    accepted, encoding, content_type, body = seen[0]
    assert accepted == "gzip"
    assert encoding == "gzip"
    assert body[:2] == b"\x1f\x8b"
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_prometheus_without_compression_gets_plain_text(tmp_path):
    path = inventory(tmp_path / "inventory.json", [("alice", ["active", "active"])])
    with file_exporter(path) as exporter, witness(exporter) as (address, seen):
        expected = inventory_samples(exporter.wait_checked().metrics())
        # An option of the newer version only.
        with scrape(address, enable_compression=False) as prometheus:
            wait_until(lambda: prometheus.query("up == 1"))
            assert stored(prometheus, '{__name__=~"aws_iam_.+"}') == expected
    accepted, encoding, _, body = seen[0]
    assert (accepted, encoding) == ("identity", None)
    assert body.startswith(b"# HELP ")


# --- promtool -----------------------------------------------------------------------------------------------------


def promtool(version, text):
    """`promtool check metrics`: exit code and all output."""
    binary = TOOLS.bin(f"promtool-{version}" if version else "promtool")
    result = subprocess.run([binary, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout + result.stderr


def test_promtool_finds_errors_in_an_invalid_page(version):
    code, words = promtool(version, "# TYPE a_total gauge\na_total 1\n")
    assert code != 0 and "a_total" in words


def test_promtool_finds_no_errors(version, tmp_path):
    path = inventory(tmp_path / "inventory.json", [("alice", ["active", "active"]), ("bob", [])], name=HOSTILE)
    nowhere = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    with Exporter(["--demo", "--metrics.user-info", "--metrics.access-key-id"]) as exporter:
        assert promtool(version, exporter.wait_checked().get().body) == (0, "")
    with file_exporter(path) as exporter:
        assert promtool(version, exporter.wait_checked().get().body) == (0, "")
    with Exporter(["--check.timeout=1s"], env=nowhere) as exporter:
        # Before the first check, and after a failure.
        assert promtool(version, exporter.get().body) == (0, "")
        wait_until(lambda: sum(value for _, value in exporter.metrics().select("iam_key_exporter_check_failures_total")))
        assert promtool(version, exporter.get().body) == (0, "")


def test_promtool_finds_no_errors_in_the_textfile(version, binary):
    command = [binary, "check", "--demo", "--output=prometheus"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert "aws_iam_user_active_access_keys{" in text
    assert promtool(version, text) == (0, "")
