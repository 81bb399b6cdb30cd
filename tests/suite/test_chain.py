"""End to end: a change in an account -> exporter -> Prometheus with the rules -> Alertmanager with the routes -> a notification."""

import datetime
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from harness import ACCOUNT, ROOT, TOOLS, Exporter, Prometheus, Process, clean_environment, exporter_binary, free_port, request, wait_until

RULES = [ROOT / "alerts" / "rules" / "recording.yaml", ROOT / "alerts" / "rules" / "alerts.yaml"]
LOCAL = ROOT / "alerts" / "alertmanager" / "local.yaml"
RUNBOOK = "https://github.com/iam-key-exporter/iam-key-exporter/blob/main/docs/runbooks/"
JOB = "iam-key-exporter"

# Prometheus' staleness: how long a sample is valid. Reduced from 5 minutes; long enough that an evaluation delayed by a busy
# machine does not appear as an outage.
LOOKBACK = 8

# The oldest and the newest supported versions of Prometheus and Alertmanager.
VERSIONS = [("", ""), ("2.42", "0.25")]


class Chain:
    """Prometheus, Alertmanager and the receiver, for exporters on given ports."""

    def __init__(self, started, start_alertmanager, webhook, tmp_path, versions, ports):
        self.webhook = webhook
        config = LOCAL.read_text().replace("http://127.0.0.1:19095", webhook.url)
        # Every change would be sent immediately.
        config = re.sub(r"group_wait: \S+", "group_wait: 1s", re.sub(r"group_interval: \S+", "group_interval: 1s", config))
        (tmp_path / "alertmanager.yaml").write_text(config)
        self.alertmanager = start_alertmanager(tmp_path / "alertmanager.yaml", version=versions[1])
        self.prometheus = started(
            Prometheus(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}],
                    "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{self.alertmanager.port}"]}]}]},
                },
                RULES,
                [f"--query.lookback-delta={LOOKBACK}s"],
                version=versions[0],
            )
        )

    def pages(self, name):
        """(path, alert) of all notifications about an alert, in order."""
        return [(post.path, alert) for post in self.webhook.posts for alert in post.body["alerts"] if alert["labels"]["alertname"] == name]

    def wait_value(self, expression, wanted):
        """Waits until a query has this one value; None for no sample."""

        def value():
            samples = self.prometheus.query(expression)
            return (samples[0][1] if samples else None) == wanted

        wait_until(value, what=f"{expression} to be {wanted}")

    def wait_evaluations(self, count=5):
        """Waits for a number of further evaluations of the rules, after which their effects are complete."""
        series = "iam_key_exporter:threshold:users_dropped_count"
        (start,) = self.prometheus.query(f"timestamp({series})")
        wait_until(lambda: self.prometheus.query(f"timestamp({series})")[0][1] >= start[1] + count, what=f"{count} evaluations")

    def begun(self, name):
        """When the alert became active, according to Prometheus in the last minutes: one value as long as it never resolved."""
        found = self.prometheus.api("query", query=f'ALERTS_FOR_STATE{{alertname="{name}"}}[10m]')["result"]
        return {value for series in found for _, value in series["values"]}


@pytest.mark.parametrize("versions", VERSIONS, ids=["newest", "oldest"])
def test_a_second_key_is_one_page_that_only_the_fix_ends(versions, moto, started, start_alertmanager, webhook, tmp_path):
    moto.user("alice", "Active", Tags=[{"Key": "owner", "Value": "team-web"}])
    moto.user("bob", "Active", "Inactive")

    port = free_port()
    arguments = ["--check.interval=1s", "--collector=live", "--collect.owner-tag=owner", "--account.name=production"]

    def exporter():
        return started(Exporter(arguments, moto.env, port=port)).wait_checked()

    first = exporter()
    chain = Chain(started, start_alertmanager, webhook, tmp_path, versions, [port])
    answered = 'count(job_account_user_rule:iam_key_finding_last_seen_timestamp_seconds:max{rule=""})'
    chain.wait_value(answered, 1)
    chain.wait_evaluations()
    assert chain.pages("IamKeyMultipleActive") == []

    # The second key.
    key = moto.iam.create_access_key(UserName="alice")["AccessKey"]
    wait_until(lambda: chain.pages("IamKeyMultipleActive"), what="the page")
    ((path, page),) = chain.pages("IamKeyMultipleActive")
    since = key["CreateDate"].astimezone(datetime.timezone.utc).replace(microsecond=0)
    assert path == "/team-web/channel"
    assert page["status"] == "firing"
    assert page["labels"] == {
        "alertname": "IamKeyMultipleActive",
        "severity": "warning",
        "job": JOB,
        "account_id": ACCOUNT,
        "account_name": "production",
        "user_name": "alice",
        "owner": "team-web",
        "rule": "multiple_active_keys",
    }
    assert page["annotations"] == {
        "summary": "IAM user alice has more than one active access key",
        "description": f"IAM user alice of AWS account {ACCOUNT} (production) has had more than one active access key since "
        f"{page['annotations']['since']}. Choose the key to keep and deactivate the others.",
        "since": page["annotations"]["since"],
        "runbook_url": RUNBOOK + "IamKeyMultipleActive.md",
    }
    # In seconds: the wire format may or may not contain fractions.
    assert page["annotations"]["since"].startswith(since.strftime("%Y-%m-%d %H:%M:%S"))

    # An outage, longer than staleness: no series of the exporter is left, twelve consecutive scrapes fail.
    first.kill()
    down = f'count_over_time(up{{job="{JOB}"}}[10m]) - sum_over_time(up{{job="{JOB}"}}[10m])'
    wait_until(lambda: chain.prometheus.query(down)[0][1] > LOOKBACK + 4, what="the outage to last")
    assert chain.prometheus.query("aws_iam_user_violation_since_timestamp_seconds") == []
    assert chain.prometheus.query("iam_key_exporter_build_info") == []
    chain.wait_value('count(ALERTS{alertname="IamKeyMultipleActive", alertstate="firing"})', 1)

    # It is up again, has completed a check, and has been scraped.
    exporter()
    chain.wait_value(answered, 1)
    chain.wait_value("count(aws_iam_user_violation_since_timestamp_seconds)", 1)
    chain.wait_evaluations()
    assert len(chain.begun("IamKeyMultipleActive")) == 1
    assert len(chain.pages("IamKeyMultipleActive")) == 1

    # The fix.
    moto.iam.update_access_key(UserName="alice", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    wait_until(lambda: len(chain.pages("IamKeyMultipleActive")) > 1, what="the end of the alert")
    chain.wait_evaluations()
    (_, (path, page)) = chain.pages("IamKeyMultipleActive")
    assert (path, page["status"], page["labels"]["user_name"]) == ("/team-web/channel", "resolved", "alice")
    # No other notifications: neither for bob's second key, which is inactive, nor for the short outage.
    assert {alert["labels"]["alertname"] for post in webhook.posts for alert in post.body["alerts"]} == {"IamKeyMultipleActive"}


def inventory(second_key):
    """bob, with a key of three days ago and one of two days ago."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)

    def ago(days):
        return (now - datetime.timedelta(days=days)).isoformat().replace("+00:00", "Z")

    return {
        "version": 1,
        "account": {"id": ACCOUNT, "name": "production"},
        "users": [
            {
                "name": "bob",
                "arn": f"arn:aws:iam::{ACCOUNT}:user/bob",
                "access_keys": [
                    {"status": "active", "created": ago(3), "last_used": ago(0.1)},
                    {"status": second_key, "created": ago(2), "last_used": ago(0.1)},
                ],
            }
        ],
    }


@pytest.mark.parametrize("versions", VERSIONS, ids=["newest", "oldest"])
def test_a_second_key_of_two_days_ago_pages_once_for_two_replicas(versions, started, start_alertmanager, webhook, tmp_path):
    file = tmp_path / "inventory.json"
    file.write_text(json.dumps(inventory("active")))
    replicas = [started(Exporter([f"--input.inventory={file}", "--check.interval=1s"])).wait_checked() for _ in range(2)]
    chain = Chain(started, start_alertmanager, webhook, tmp_path, versions, [replica.port for replica in replicas])

    wait_until(lambda: chain.pages("IamKeyMultipleActiveTooLong"), what="the page")
    ((path, page),) = chain.pages("IamKeyMultipleActiveTooLong")
    assert path == "/pager"
    assert page["labels"] == {
        "alertname": "IamKeyMultipleActiveTooLong",
        "severity": "critical",
        "job": JOB,
        "account_id": ACCOUNT,
        "account_name": "production",
        "user_name": "bob",
        "rule": "multiple_active_keys",
    }
    assert page["annotations"]["summary"] == "IAM user bob has had more than one active access key for too long"
    assert "which is longer than 1d 0h 0m 0s." in page["annotations"]["description"]
    # The warning about the same user is inhibited.
    (warning,) = chain.alertmanager.alerts(filter='alertname="IamKeyMultipleActive"')
    assert len(warning["status"]["inhibitedBy"]) == 1
    assert chain.pages("IamKeyMultipleActive") == []

    # One replica ends: no notification is sent.
    replicas[0].kill()
    chain.wait_value("count(aws_iam_users)", 5)
    chain.wait_evaluations()
    assert len(chain.pages("IamKeyMultipleActiveTooLong")) == 1
    assert len(chain.begun("IamKeyMultipleActiveTooLong")) == 1

    # Prometheus restarts: no notification is sent.
    chain.prometheus.terminate()
    chain.prometheus.start().wait_ready()
    chain.wait_value('count(ALERTS{alertname="IamKeyMultipleActiveTooLong", alertstate="firing"})', 1)
    chain.wait_evaluations()
    assert len(chain.pages("IamKeyMultipleActiveTooLong")) == 1

    file.write_text(json.dumps(inventory("inactive")))
    wait_until(lambda: len(chain.pages("IamKeyMultipleActiveTooLong")) > 1, what="the end of the alert")
    (_, (path, page)) = chain.pages("IamKeyMultipleActiveTooLong")
    assert (path, page["status"]) == ("/pager", "resolved")


# --- the demo -----------------------------------------------------------------------------------------------------


def demo_arguments():
    ports = {name: free_port() for name in ("exporter", "prometheus", "alertmanager", "pages")}
    environment = {"PATH": f"{TOOLS.root / 'bin'}:{clean_environment()['PATH']}"}
    command = [ROOT / "scripts" / "demo", "--exporter", exporter_binary(), *(f"--{name}-port={port}" for name, port in ports.items())]
    return command, ports, environment


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_pages_and_stops_cleanly(number, start_process):
    command, ports, environment = demo_arguments()
    demo = start_process(command, env=environment, name="demo")
    wait_until(lambda: "All programs are running:" in demo.log or not demo.alive, what="the demo to run")
    for name, port in ports.items():
        if name != "pages":
            assert f"http://localhost:{port}/" in demo.log
        assert listens(port)
    # One of the demo's users has had two keys for a long time.
    wait_until(lambda: "to pager: FIRING critical IamKeyMultipleActiveTooLong" in demo.log, what="a page")
    children = [int(child) for child in pathlib.Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()]
    assert len(children) == 4
    demo.send_signal(number)
    assert demo.wait() == 0, demo.log
    assert demo.log.endswith("Stopping ...\nAll programs are stopped.\n")
    assert not any(listens(port) for port in ports.values())
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@pytest.mark.parametrize(
    "name, of", [("exporter", "the exporter"), ("prometheus", "Prometheus"), ("alertmanager", "Alertmanager"), ("pages", "the receiver of pages")]
)
def test_the_demo_names_a_port_that_is_taken(name, of):
    command, ports, environment = demo_arguments()
    with socket.create_server(("127.0.0.1", ports[name])):
        result = subprocess.run(command, env=clean_environment() | environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr == (
        f"scripts/demo: port {ports[name]}, for {of}, cannot be had (Address already in use): "
        f"stop what listens there or choose another with --{name}-port\n"
    )
    assert "All programs are running" not in result.stdout


def test_the_demo_refuses_ports_that_cannot_be():
    def refused(*arguments):
        result = subprocess.run([ROOT / "scripts" / "demo", *arguments], capture_output=True, text=True, timeout=120)
        assert result.returncode == 1
        return result.stderr

    assert refused("--exporter-port=0") == "scripts/demo: --exporter-port 0: a port is a number from 1 to 65535\n"
    assert refused("--pages-port=70000") == "scripts/demo: --pages-port 70000: a port is a number from 1 to 65535\n"
    port = free_port()
    assert f"port {port} is wanted twice, by Prometheus and Alertmanager: choose another with --alertmanager-port" in refused(
        f"--exporter-port={free_port()}", f"--prometheus-port={port}", f"--alertmanager-port={port}"
    )


def test_the_demo_ends_when_one_of_its_programs_does(tmp_path):
    broken = tmp_path / "exporter"
    broken.write_text("#!/bin/sh\necho no luck today >&2\nexit 3\n")
    broken.chmod(0o755)
    command, ports, environment = demo_arguments()
    command[2] = broken
    result = subprocess.run(command, env=clean_environment() | environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr == "scripts/demo: exporter has ended with 3; its last words:\nno luck today\n"
    assert not any(listens(port) for port in ports.values())


def test_pages_rejects_a_body_that_is_not_a_notification(started):
    port = free_port()
    receiver = started(Process([TOOLS.bin("python"), ROOT / "scripts" / "pages", "--port", port], name="pages"))
    url = f"http://127.0.0.1:{port}/pager"
    wait_until(lambda: request(url).status == 200)
    for body in (b"", b"[]", b"{}", b'{"alerts": [{}]}'):
        answer = request(url, data=body)
        assert (answer.status, answer.body.partition(":")[0]) == (400, "not a notification of Alertmanager")
    assert receiver.terminate() == 0
    assert receiver.log == ""
