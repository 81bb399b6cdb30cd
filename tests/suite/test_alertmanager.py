"""Alertmanager's configuration: validity, routes, inhibitions in a running Alertmanager, and the templates' output."""

import email
import email.policy
import html
import json
import re
import shutil
import socketserver
import subprocess
import threading

import pytest
import yaml

from harness import ROOT, TOOLS, Alertmanager, wait_until

DIRECTORY = ROOT / "alerts" / "alertmanager"
CONFIG = DIRECTORY / "alertmanager.yaml"
LOCAL = DIRECTORY / "local.yaml"
# The newest and the oldest supported version.
VERSIONS = ["", "0.25"]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "alerts" / "rules" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
SEVERITY = {rule["alert"]: rule["labels"]["severity"] for rule in RULES}
FINDINGS = {"IamKeyMultipleActive", "IamKeyMultipleActiveTooLong", "IamKeyTooOld", "IamKeyUnused", "IamKeyRootActive", "IamKeyViolationsUnnamed"}
EXPORTER = {name for name in SEVERITY if name.startswith("IamKeyExporter")}


def amtool(version, *arguments):
    binary = TOOLS.bin(f"amtool-{version}" if version else "amtool")
    return subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, timeout=120)


# --- the files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [CONFIG, LOCAL], ids=lambda path: path.name)
@pytest.mark.parametrize("version", VERSIONS)
def test_amtool_accepts_it(version, file):
    result = amtool(version, "check-config", file)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "8 inhibit rules" in result.stdout and "5 receivers" in result.stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_a_template_with_an_error_is_refused_by_name(version, tmp_path):
    shutil.copytree(DIRECTORY, tmp_path / "alertmanager")
    broken = tmp_path / "alertmanager" / "templates" / "slack.tmpl"
    broken.write_text(broken.read_text().replace("{{- end }}", "", 1))
    result = amtool(version, "check-config", tmp_path / "alertmanager" / "alertmanager.yaml")
    assert result.returncode != 0
    assert "slack.tmpl" in result.stdout + result.stderr


def leaves(node, path=()):
    """Yields (path of keys, value) for every value in the configuration."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value, path)
    else:
        yield path, node


def test_secrets_come_from_files():
    secret = re.compile(r"key|password|token|secret|credentials|api_url|webhook_url")
    found = []
    for path, value in leaves(yaml.safe_load(CONFIG.read_text())):
        if path[0] in ("global", "receivers") and secret.search(path[-1]):
            assert path[-1].endswith("_file"), path
            assert value.startswith("/etc/alertmanager/secrets/")
            found.append(value)
    assert len(found) >= 4


def without_times(route):
    kept = {key: value for key, value in route.items() if key not in ("group_wait", "group_interval", "repeat_interval")}
    if "routes" in route:
        kept["routes"] = [without_times(child) for child in route["routes"]]
    return kept


def test_the_local_variant_has_the_same_routes_and_inhibitions():
    ours, local = (yaml.safe_load(file.read_text()) for file in (CONFIG, LOCAL))
    assert without_times(local["route"]) == without_times(ours["route"])
    assert local["inhibit_rules"] == ours["inhibit_rules"]
    assert [receiver["name"] for receiver in local["receivers"]] == [receiver["name"] for receiver in ours["receivers"]]


# --- routes -------------------------------------------------------------------------------------------------------

BY_SEVERITY = {"critical": "iam-key-pager", "warning": "iam-key-channel", "info": "iam-key-digest"}
# The example of a team that owns users; its alerts of severity info go into the common digest.
OF_THE_TEAM = {"critical": "team-web-pager", "warning": "team-web-channel", "info": "iam-key-digest"}


@pytest.mark.parametrize("file", [CONFIG, LOCAL], ids=lambda path: path.name)
@pytest.mark.parametrize("version", VERSIONS)
def test_routes(version, file):
    def receiver(**labels):
        result = amtool(version, "config", "routes", "test", f"--config.file={file}", *(f"{k}={v}" for k, v in labels.items()))
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    for name, severity in SEVERITY.items():
        labels = {"alertname": name, "severity": severity, "job": "iam-key-exporter", "account_id": "123456789012"}
        assert receiver(**labels) == BY_SEVERITY[severity], name
    for severity, name in (("critical", "IamKeyMultipleActiveTooLong"), ("warning", "IamKeyMultipleActive"), ("info", "IamKeyUnused")):
        labels = {"alertname": name, "severity": severity, "account_id": "123456789012", "user_name": "alice"}
        assert receiver(**labels, owner="team-web") == OF_THE_TEAM[severity]
        assert receiver(**labels, owner="team-other") == BY_SEVERITY[severity]
    # Alerts with another severity, or from another source, are still delivered.
    assert receiver(alertname="IamKeyTooOld", severity="page") == "iam-key-channel"
    assert receiver(alertname="HostDown", severity="critical") == "iam-key-channel"


# --- inhibitions, in a running Alertmanager -----------------------------------------------------------------------


def quiet(file, directory):
    """The configuration with receivers that send nothing."""
    config = yaml.safe_load(file.read_text())
    config["receivers"] = [{"name": receiver["name"]} for receiver in config["receivers"]]
    config["templates"] = [str(DIRECTORY / "templates" / "*.tmpl")]
    config["global"] = {}
    path = directory / "alertmanager.json"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module", params=VERSIONS, ids=["newest", "0.25"])
def alertmanager(request, tmp_path_factory):
    with Alertmanager(quiet(CONFIG, tmp_path_factory.mktemp("alertmanager")), version=request.param) as server:
        yield server


def alert(name, job="iam-key-exporter", **labels):
    """An alert as Prometheus would send it; labels that the rule does not have are left out."""
    if name == "IamKeyExporterAbsent":
        return {"alertname": name, "severity": SEVERITY[name]}
    return {"alertname": name, "severity": SEVERITY[name], "job": job} | labels


def muted(server, *alerts, test, wanted):
    """Indices of the alerts that Alertmanager inhibits, once those in `wanted` are among them.

    Alertmanager receives alerts in order, with the inhibiting one first: when it mutes one alert, it has muted all that it will.
    """
    for labels in alerts:
        # Keep the alerts of different tests apart.
        labels["test"] = test
        for label in ("job", "account_id"):
            if label in labels:
                labels[label] += f"-{test}"
    server.post_alerts([{"labels": labels, "annotations": {}} for labels in alerts])
    keys = [json.dumps(labels, sort_keys=True) for labels in alerts]

    def current():
        return {json.dumps(found["labels"], sort_keys=True): found["status"] for found in server.alerts(filter=f'test="{test}"')}

    def inhibited():
        statuses = current()
        return [place for place, key in enumerate(keys) if statuses[key]["inhibitedBy"]]

    try:
        wait_until(lambda: set(wanted) <= set(inhibited()), what=f"{wanted} to be muted")
        return inhibited()
    finally:
        over = {"annotations": {}, "startsAt": "2019-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:00Z"}
        server.post_alerts([{"labels": labels} | over for labels in alerts])
        wait_until(lambda: not current(), what="the alerts to be over")


ALICE = {"account_id": "123456789012", "user_name": "alice"}


def test_critical_mutes_the_warning_of_the_same_user_and_nothing_else(alertmanager):
    found = muted(
        alertmanager,
        alert("IamKeyMultipleActiveTooLong", **ALICE, rule="multiple_active_keys"),
        alert("IamKeyMultipleActive", **ALICE, rule="multiple_active_keys"),
        alert("IamKeyMultipleActive", account_id="123456789012", user_name="bob", rule="multiple_active_keys"),
        alert("IamKeyMultipleActive", account_id="210987654321", user_name="alice", rule="multiple_active_keys"),
        alert("IamKeyTooOld", **ALICE, rule="key_age"),
        alert("IamKeyUnused", **ALICE, rule="unused_key"),
        test="critical",
        wanted=[1],
    )
    assert found == [1]


def test_a_failing_check_mutes_the_accounts_staleness_and_no_finding(alertmanager):
    account = {"account_id": "123456789012"}
    found = muted(
        alertmanager,
        alert("IamKeyExporterAccountCheckFailing", **account),
        alert("IamKeyExporterFactsStale", **account),
        alert("IamKeyExporterFactsStale", account_id="210987654321"),
        alert("IamKeyExporterUsersUnknown", **account),
        *(alert(name, **ALICE) for name in sorted(FINDINGS)),
        test="failing",
        wanted=[1, 4],
    )
    # IamKeyMultipleActiveTooLong is among the findings, and mutes IamKeyMultipleActive, which comes first.
    assert found == [1, 4]


def test_a_check_that_fails_for_long_mutes_its_warning(alertmanager):
    account = {"account_id": "123456789012"}
    found = muted(
        alertmanager,
        alert("IamKeyExporterAccountCheckFailingTooLong", **account),
        alert("IamKeyExporterAccountCheckFailing", **account),
        alert("IamKeyExporterAccountCheckFailing", account_id="210987654321"),
        alert("IamKeyExporterFactsStale", **account),
        test="long",
        wanted=[1, 3],
    )
    assert found == [1, 3]


def test_an_exporter_that_is_down_mutes_its_other_alerts_and_no_finding(alertmanager):
    others = sorted(EXPORTER - {"IamKeyExporterDown", "IamKeyExporterNothingChecked", "IamKeyExporterAbsent"})
    findings = sorted(FINDINGS - {"IamKeyMultipleActiveTooLong"})
    muted_by_it = list(range(1, 1 + len(others)))
    found = muted(
        alertmanager,
        alert("IamKeyExporterDown"),
        *(alert(name, account_id="123456789012") for name in others),
        alert("IamKeyExporterAccountCheckFailing", job="another-iam-key-exporter", account_id="123456789012"),
        alert("IamKeyExporterNothingChecked"),
        *(alert(name, **ALICE) for name in findings),
        test="down",
        wanted=muted_by_it,
    )
    assert found == muted_by_it


def test_an_absent_exporter_mutes_alerts_about_exporters_and_no_finding(alertmanager):
    found = muted(
        alertmanager,
        alert("IamKeyExporterAbsent"),
        alert("IamKeyExporterAccountVanished", account_id="123456789012"),
        alert("IamKeyExporterNothingChecked"),
        *(alert(name, **ALICE) for name in sorted(FINDINGS - {"IamKeyMultipleActiveTooLong"})),
        test="absent",
        wanted=[1],
    )
    assert found == [1]


def test_nothing_checked_is_one_page_and_mutes_no_finding(alertmanager):
    found = muted(
        alertmanager,
        alert("IamKeyExporterNothingChecked"),
        alert("IamKeyExporterAccountCheckFailingTooLong", account_id="123456789012"),
        alert("IamKeyExporterAccountCheckFailing", account_id="210987654321"),
        alert("IamKeyExporterAccountCheckFailingTooLong", job="another-iam-key-exporter", account_id="123456789012"),
        alert("IamKeyExporterConfigReloadFailed"),
        *(alert(name, **ALICE) for name in sorted(FINDINGS - {"IamKeyMultipleActiveTooLong"})),
        test="nothing",
        wanted=[1, 2],
    )
    assert found == [1, 2]


def test_a_list_that_cannot_be_read_mutes_its_staleness_and_missing_shards_their_warning(alertmanager):
    found = muted(
        alertmanager,
        alert("IamKeyExporterOrganizationListingFailing"),
        alert("IamKeyExporterOrganizationStale"),
        alert("IamKeyExporterOrganizationStale", job="another-iam-key-exporter"),
        alert("IamKeyExporterShardMissingTooLong"),
        alert("IamKeyExporterShardMissing"),
        alert("IamKeyExporterShardMissing", job="another-iam-key-exporter"),
        *(alert(name, **ALICE) for name in sorted(FINDINGS - {"IamKeyMultipleActiveTooLong"})),
        test="organisation",
        wanted=[1, 4],
    )
    assert found == [1, 4]


# --- groups -------------------------------------------------------------------------------------------------------


def test_hundreds_of_failing_accounts_are_one_notification(alertmanager):
    accounts = [f"{number:012}" for number in range(1, 401)]
    alerts = [
        alert(name, account_id=account, test="many")
        for name in ("IamKeyExporterAccountCheckFailing", "IamKeyExporterUsersUnknown", "IamKeyExporterUsersDropped")
        for account in accounts
    ]
    # Findings have a notification for each account, as before.
    alerts += [alert("IamKeyRootActive", account_id=account, test="many") for account in accounts[:3]]
    alertmanager.post_alerts([{"labels": labels, "annotations": {}} for labels in alerts])

    def groups():
        found = [group for group in alertmanager.groups() if any(entry["labels"].get("test") == "many" for entry in group["alerts"])]
        return sorted((group["labels"]["alertname"], len(group["alerts"])) for group in found)

    try:
        # It puts alerts into groups one after the other.
        wait_until(lambda: sum(number for _, number in groups()) == len(alerts), what="all alerts to be in a group")
        assert groups() == [
            ("IamKeyExporterAccountCheckFailing", 400),
            ("IamKeyExporterUsersDropped", 400),
            ("IamKeyExporterUsersUnknown", 400),
            ("IamKeyRootActive", 1),
            ("IamKeyRootActive", 1),
            ("IamKeyRootActive", 1),
        ]
    finally:
        over = {"annotations": {}, "startsAt": "2019-01-01T00:00:00Z", "endsAt": "2020-01-01T00:00:00Z"}
        alertmanager.post_alerts([{"labels": labels} | over for labels in alerts])
        wait_until(lambda: not alertmanager.alerts(filter='test="many"'), what="the alerts to be over")


# --- templates ----------------------------------------------------------------------------------------------------

RUNBOOK = "https://github.com/iam-key-exporter/iam-key-exporter/blob/main/docs/runbooks/"


def example(name, status="firing", **labels):
    return {
        "status": status,
        "labels": {"alertname": name, "severity": SEVERITY[name], "job": "iam-key-exporter"} | labels,
        "annotations": {
            "summary": f"Summary of {name} {labels.get('user_name', '')}".strip(),
            "description": f"Description of {name}.",
            "runbook_url": f"{RUNBOOK}{name}.md",
        }
        | ({"since": "2026-11-20 08:15:00 +0000 UTC"} if "user_name" in labels else {}),
        "startsAt": "2026-11-22T10:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": "0123456789abcdef",
    }


def common(alerts, field):
    first, *rest = (entry[field] for entry in alerts)
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in rest)}


def notification(*alerts):
    """The data of a template, as Alertmanager builds it."""
    return {
        "receiver": "iam-key-channel",
        "status": "firing" if any(entry["status"] == "firing" for entry in alerts) else "resolved",
        "alerts": alerts,
        "groupLabels": {key: value for key, value in common(alerts, "labels").items() if key in ("alertname", "account_id")},
        "commonLabels": common(alerts, "labels"),
        "commonAnnotations": common(alerts, "annotations"),
        "externalURL": "http://alertmanager.example",
    }


@pytest.fixture(params=VERSIONS, ids=["newest", "0.25"])
def render(request, tmp_path):
    def rendered(template, *alerts, kind="text"):
        data = tmp_path / "data.json"
        data.write_text(json.dumps(notification(*alerts)))
        result = amtool(
            request.param,
            "template",
            "render",
            f"--template.glob={DIRECTORY}/templates/*.tmpl",
            f"--template.text={{{{ template \"{template}\" . }}}}",
            f"--template.type={kind}",
            f"--template.data={data}",
        )
        assert result.returncode == 0, result.stderr
        assert "<no value>" not in result.stdout
        return result.stdout

    return rendered


ALICE_IN_PRODUCTION = {
    "account_id": "123456789012",
    "account_name": "production",
    "user_name": "alice",
    "owner": "team-web",
    "rule": "multiple_active_keys",
}
COMMANDS = [
    "aws iam list-access-keys --user-name 'alice'",
    "aws iam get-access-key-last-used --access-key-id KEY_ID",
    "# aws iam update-access-key --user-name 'alice' --access-key-id KEY_ID --status Inactive",
]


@pytest.mark.parametrize(
    "template, kind", [("iam-key.slack.text", "text"), ("iam-key.text.alerts", "text"), ("iam-key.email.text", "text"), ("iam-key.email.html", "html")]
)
def test_user_account_since_and_commands_are_shown(render, template, kind):
    text = render(template, example("IamKeyMultipleActive", **ALICE_IN_PRODUCTION), kind=kind)
    shown = html.unescape(text)
    for wanted in (
        "Summary of IamKeyMultipleActive alice",
        "Description of IamKeyMultipleActive.",
        "alice",
        "123456789012 (production)",
        "2026-11-20 08:15:00 +0000 UTC",
        "team-web",
        RUNBOOK + "IamKeyMultipleActive.md",
        *COMMANDS,
    ):
        assert wanted in shown, (wanted, shown)


def test_slack_exactly(render):
    assert render("iam-key.slack.text", example("IamKeyMultipleActive", **ALICE_IN_PRODUCTION)).strip() == (
        "*Summary of IamKeyMultipleActive alice*\n"
        "*User:* `alice`\n"
        "*Account:* 123456789012 (production)\n"
        "*Since:* 2026-11-20 08:15:00 +0000 UTC\n"
        "*Owner:* team-web\n"
        f"Description of IamKeyMultipleActive. <{RUNBOOK}IamKeyMultipleActive.md|Runbook>\n"
        "```" + "\n".join(COMMANDS) + "```"
    )


def test_titles(render):
    two = [example("IamKeyMultipleActive", **ALICE_IN_PRODUCTION | {"user_name": name}) for name in ("alice", "bob")]
    assert render("iam-key.slack.title", *two).strip() == "[FIRING:2] IamKeyMultipleActive in AWS account 123456789012 (production)"
    assert render("iam-key.slack.color", *two).strip() == "warning"
    # The digest: several alerts, several accounts.
    digest = [example("IamKeyUnused", **ALICE_IN_PRODUCTION), example("IamKeyExemptionExpired", user="ci-*")]
    assert render("iam-key.email.subject", *digest).strip() == "[FIRING:2] IAM access keys"
    over = example("IamKeyExporterDown", status="resolved")
    assert render("iam-key.slack.title", over).strip() == "[RESOLVED] IamKeyExporterDown"
    assert render("iam-key.slack.color", over).strip() == "good"
    assert render("iam-key.slack.color", example("IamKeyRootActive", account_id="123456789012")).strip() == "danger"
    assert render("iam-key.slack.color", example("IamKeyUnused", **ALICE_IN_PRODUCTION)).strip() == "#439fe0"


def test_pagerduty(render):
    critical = example("IamKeyMultipleActiveTooLong", **ALICE_IN_PRODUCTION)
    assert render("iam-key.pagerduty.severity", critical).strip() == "critical"
    assert render("iam-key.pagerduty.severity", example("IamKeyTooOld", **ALICE_IN_PRODUCTION)).strip() == "warning"
    strange = example("IamKeyTooOld", **ALICE_IN_PRODUCTION)
    strange["labels"]["severity"] = "page"
    assert render("iam-key.pagerduty.severity", strange).strip() == "error"
    assert render("iam-key.pagerduty.description", critical).strip() == (
        "Summary of IamKeyMultipleActiveTooLong alice (AWS account 123456789012, production)"
    )
    other = example("IamKeyMultipleActiveTooLong", **ALICE_IN_PRODUCTION | {"user_name": "bob"})
    assert render("iam-key.pagerduty.description", critical, other).strip() == (
        "[FIRING:2] IamKeyMultipleActiveTooLong in AWS account 123456789012 (production)"
    )
    assert render("iam-key.pagerduty.description", example("IamKeyExporterNothingChecked")).strip() == "Summary of IamKeyExporterNothingChecked"
    assert render("iam-key.runbook", critical, other).strip() == RUNBOOK + "IamKeyMultipleActiveTooLong.md"
    assert render("iam-key.account", critical).strip() == "123456789012 (production)"


def test_long_and_resolved(render):
    many = [example("IamKeyTooOld", **ALICE_IN_PRODUCTION | {"user_name": f"user-{number:02}"}) for number in range(30)]
    over = example("IamKeyTooOld", status="resolved", **ALICE_IN_PRODUCTION | {"user_name": "done"})
    for template in ("iam-key.slack.text", "iam-key.text.alerts"):
        text = render(template, *many, over)
        assert "user-19" in text and "user-20" not in text
        assert text.count("The first 20 of 30 are shown.") == 1
        assert "Summary of IamKeyTooOld done" in text and "list-access-keys --user-name 'done'" not in text
        resolved = [example("IamKeyTooOld", status="resolved", **ALICE_IN_PRODUCTION | {"user_name": f"over-{number:02}"}) for number in range(30)]
        text = render(template, *resolved)
        assert "over-19" in text and "over-20" not in text
        assert text.count("The first 20 of 30 resolved alerts are shown.") == 1


@pytest.mark.parametrize("name", sorted(SEVERITY))
def test_every_alert_has_commands(render, name):
    labels = ALICE_IN_PRODUCTION if name in FINDINGS - {"IamKeyRootActive", "IamKeyViolationsUnnamed"} else {"account_id": "123456789012"}
    text = render("iam-key.text.alerts", example(name, **labels))
    wanted = {
        "IamKeyRootActive": "aws iam get-account-summary --query SummaryMap.AccountAccessKeysPresent",
        "IamKeyViolationsUnnamed": "iam-key-exporter check",
        "IamKeyExporterConfigReloadFailed": "iam-key-exporter verify-config --config.file=CONFIG.yaml",
    }.get(name)
    if wanted is None:
        if "user_name" in labels:
            wanted = COMMANDS[0]
        elif name.startswith("IamKeyExemption"):
            wanted = "iam-key-exporter verify-config --config.file=CONFIG.yaml"
        else:
            wanted = "curl -s http://EXPORTER:19674/metrics"
    assert wanted in text


def test_html_is_escaped(render):
    hostile = example("IamKeyExemptionExpiresSoon", user="<script>alert(1)</script>")
    hostile["annotations"]["summary"] = "The exemption of <script>alert(1)</script> expires soon"
    text = render("iam-key.email.html", hostile, kind="html")
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_the_configuration_uses_every_template_that_is_meant_for_it():
    defined = {name for file in (DIRECTORY / "templates").glob("*.tmpl") for name in re.findall(r'define "([^"]+)"', file.read_text())}
    used = set(re.findall(r'template "([^"]+)"', CONFIG.read_text() + "".join(file.read_text() for file in (DIRECTORY / "templates").glob("*.tmpl"))))
    assert defined == used


# --- notifications sent by a running Alertmanager -----------------------------------------------------------------


class Mailbox(socketserver.ThreadingTCPServer):
    """A minimal SMTP server. `messages` holds the parsed e-mails."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        self.messages = []
        super().__init__(("127.0.0.1", 0), None)

    def finish_request(self, request, _):
        stream = request.makefile("rwb")

        def say(text):
            stream.write(text + b"\r\n")
            stream.flush()

        say(b"220 mailbox")
        for line in stream:
            command = line[:4].upper()
            if command == b"DATA":
                say(b"354 go on")
                lines = list(iter(stream.readline, b".\r\n"))
                message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                self.messages.append(message)
            elif command == b"QUIT":
                say(b"221 bye")
                return
            say(b"250 ok")


@pytest.fixture
def receivers(request, tmp_path, started, webhook):
    """A running Alertmanager with the shipped configuration, except addresses and intervals; the secrets come from files."""
    with Mailbox() as mailbox:
        threading.Thread(target=mailbox.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        secrets = {
            "slack-url": f"{webhook.url}/slack",
            "pagerduty-routing-key": "default-key",
            "pagerduty-routing-key-team-web": "key-of-team-web",
            "smtp-password": "secret",
        }
        for name, text in secrets.items():
            (tmp_path / name).write_text(text)
        config = CONFIG.read_text().replace("/etc/alertmanager/secrets", str(tmp_path)).replace("templates/*", f"{DIRECTORY}/templates/*")
        config = yaml.safe_load(re.sub(r"group_wait: \S+", "group_wait: 1s", config))
        config["global"] |= {"smtp_smarthost": f"127.0.0.1:{mailbox.server_address[1]}", "smtp_require_tls": False}
        # Alertmanager does not send a password in the clear.
        del config["global"]["smtp_auth_username"], config["global"]["smtp_auth_password_file"]
        config["global"]["pagerduty_url"] = f"{webhook.url}/pagerduty"
        server = started(Alertmanager(config, version=request.param))
        yield server, webhook, mailbox
        mailbox.shutdown()


@pytest.mark.parametrize("receivers", VERSIONS, ids=["newest", "0.25"], indirect=True)
def test_pagerduty_slack_and_email_receive_complete_notifications(receivers):
    server, webhook, mailbox = receivers

    def sent(name, **labels):
        entry = example(name, **ALICE_IN_PRODUCTION | labels)
        return {"labels": entry["labels"], "annotations": entry["annotations"]}

    server.post_alerts(
        [
            sent("IamKeyMultipleActiveTooLong"),
            sent("IamKeyTooOld", owner="team-other", rule="key_age"),
            sent("IamKeyUnused", rule="unused_key"),
        ]
    )
    webhook.wait(2)
    wait_until(lambda: mailbox.messages, what="an e-mail")
    posts = {post.path: post.body for post in webhook.posts}
    assert len(webhook.posts) == 2

    pager = posts["/pagerduty"]
    assert pager["routing_key"] == "key-of-team-web"
    assert pager["event_action"] == "trigger"
    assert pager["payload"]["severity"] == "critical"
    assert pager["payload"]["summary"] == "Summary of IamKeyMultipleActiveTooLong alice (AWS account 123456789012, production)"
    assert (pager["payload"]["class"], pager["payload"]["group"]) == ("IamKeyMultipleActiveTooLong", "123456789012")
    assert pager["client_url"] == RUNBOOK + "IamKeyMultipleActiveTooLong.md"
    details = pager["payload"]["custom_details"]
    assert details["account"] == "123456789012 (production)" and details["owner"] == "team-web"
    for wanted in ("alice", "2026-11-20 08:15:00 +0000 UTC", *COMMANDS):
        assert wanted in details["alerts"]

    slack = posts["/slack"]
    assert slack["channel"] == "#iam-access-keys"
    (attachment,) = slack["attachments"]
    assert attachment["title"] == "[FIRING:1] IamKeyTooOld in AWS account 123456789012 (production)"
    assert attachment["title_link"] == RUNBOOK + "IamKeyTooOld.md"
    assert attachment["color"] == "warning"
    for wanted in ("*User:* `alice`", "*Since:* 2026-11-20 08:15:00 +0000 UTC", *COMMANDS):
        assert wanted in attachment["text"]

    (message,) = mailbox.messages
    assert message["Subject"] == "[FIRING:1] IamKeyUnused in AWS account 123456789012 (production)"
    assert message["To"] == "security@example.org"
    plain = message.get_body(("plain",)).get_content()
    page = html.unescape(message.get_body(("html",)).get_content())
    for wanted in ("alice", "123456789012 (production)", "2026-11-20 08:15:00 +0000 UTC", RUNBOOK + "IamKeyUnused.md", *COMMANDS):
        assert wanted in plain and wanted in page
