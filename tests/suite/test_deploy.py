"""deploy/systemd and deploy/textfile, as docs/linux.md uses them: on a machine with systemd."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml

import snippets
from harness import ACCOUNT, ROOT, TOOLS, Samples, exporter_binary, wait_until
from machine import Machine, need

PAGE = ROOT / "docs" / "linux.md"
UNITS = sorted((ROOT / "deploy").glob("*/*.service"))
FILES = ROOT / "deploy" / "textfile"
TEXTFILE = "/var/lib/prometheus/node-exporter/iam-key-exporter.prom"

# Blocks for bash that no test here runs, by their first line, and the reason.
NOT_RUN = {
    "version=0.1.0": "downloads a release from GitHub",
}


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=120, **options)


def promtool(*arguments, **options):
    return run(TOOLS.bin("promtool"), *arguments, **options)


# --- the units ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_hardened(unit):
    command = [need("systemd-analyze"), "--offline=true", "--no-pager", "--threshold=20", "security", unit]
    result = run(*command)
    assert result.returncode == 0, result.stdout
    assert float(re.search(r"Overall exposure level for .*: ([0-9.]+) ", result.stdout)[1]) < 2.0


def test_the_threshold_of_the_hardening_can_fail(tmp_path):
    unit = tmp_path / "bare.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert run(need("systemd-analyze"), "--offline=true", "--threshold=20", "security", unit).returncode != 0


def test_the_environment_file_names_existing_variables():
    text = (ROOT / "deploy" / "systemd" / "environment").read_text()
    variables = set(re.findall(r"^#?(IAM_KEY_EXPORTER_\w+)=", text, flags=re.M))
    known = set(re.findall(r"\[env: (\w+)", run(exporter_binary(), "serve", "--help").stdout))
    assert variables and variables <= known


# --- the rules for the textfile collector -------------------------------------------------------------------------


def test_the_rules_for_the_textfile_collector_fire_and_resolve(tmp_path):
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", FILES / "rules.yaml").returncode == 0
    user = f'account_id="{ACCOUNT}", user_name="bob", rule="multiple_active_keys"'
    labels = {"severity": "warning", "account_id": ACCOUNT}

    def alert(name, minutes, labels, **annotations):
        wanted = [{"exp_labels": labels, "exp_annotations": annotations}] if labels else []
        return {"alertname": name, "eval_time": f"{minutes}m", "exp_alerts": wanted}

    docs = "https://github.com/iam-key-exporter/iam-key-exporter/blob/main/docs/"
    tests = {
        "rule_files": [str(FILES / "rules.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    # In violation for half an hour; the last successful check is at the start of the hour.
                    {"series": f'aws_iam_user_violation_since_timestamp_seconds{{job="node", {user}}}', "values": "1x30 stale"},
                    {
                        "series": f'iam_key_exporter_account_last_success_timestamp_seconds{{job="node", account_id="{ACCOUNT}"}}',
                        "values": "0x90 stale",
                    },
                ],
                "alert_rule_test": [
                    alert(
                        "IamKeyMultipleActive",
                        10,
                        labels | {"user_name": "bob"},
                        summary=f"IAM user bob of account {ACCOUNT} has more than one active access key",
                        runbook_url=docs + "runbooks/IamKeyMultipleActive.md",
                    ),
                    alert("IamKeyMultipleActive", 40, None),
                    alert("IamKeyTextfileStale", 59, None),
                    alert(
                        "IamKeyTextfileStale",
                        70,
                        labels,
                        summary=f"The access keys of account {ACCOUNT} have not been checked for 1h 10m 0s",
                        runbook_url=docs + "linux.md#with-node_exporter",
                    ),
                    alert("IamKeyTextfileMissing", 80, None),
                    alert(
                        "IamKeyTextfileMissing",
                        130,
                        {"severity": "warning"},
                        summary="No machine exports metrics about access keys of IAM users",
                        runbook_url=docs + "linux.md#with-node_exporter",
                    ),
                ],
            }
        ],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump(tests))
    result = promtool("test", "rules", file)
    assert result.returncode == 0, result.stdout + result.stderr


# --- docs/linux.md, run -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine():
    with Machine() as machine:
        # The preconditions of the page: the repository, the program unpacked in it, and its files saved.
        files = snippets.named("file", PAGE)
        machine.run(f"mkdir -p /root/checkout {TEXTFILE.rpartition('/')[0]} && cp -r deploy alerts /root/checkout && cp {exporter_binary()} /root/checkout/iam-key-exporter")
        for name in files:
            machine.run(f"cat >/root/checkout/{name} <<'END-OF-FILE'\n{files[name].text}END-OF-FILE\n")
        # An account to check.
        machine.run(
            f"systemd-run --quiet --unit=moto --setenv=PATH {TOOLS.bin('moto_server')} --host 127.0.0.1 --port 5000\n"
            "mkdir /root/.aws && printf '[default]\\naws_access_key_id=testing\\naws_secret_access_key=testing\\n' >/root/.aws/credentials"
        )
        wait_until(lambda: machine.run("curl --silent --fail http://127.0.0.1:5000/moto-api/", check=False).returncode == 0, what="moto")
        for user in ("bob", "bobby"):
            aws(machine, f"create-user --user-name {user}")
        for user in ("bob", "bob", "bobby"):
            aws(machine, f"create-access-key --user-name {user}")
        yield machine


def aws(machine, arguments):
    variables = {"AWS_ENDPOINT_URL": "http://127.0.0.1:5000", "AWS_DEFAULT_REGION": "us-east-1"}
    return machine.run(f"{TOOLS.bin('aws')} iam {arguments}", environment=variables).stdout


@pytest.fixture
def follow(machine, request):
    """Runs a block of the page on the machine; each test declares its blocks."""
    blocks, ran = snippets.named("run", PAGE), set()

    def follow(name, check=True, replace=("", "")):
        ran.add(name)
        assert replace[0] in blocks[name].text
        text = blocks[name].text.replace(*replace) if replace[0] else blocks[name].text
        return machine.run(f"cd /root/checkout\n{text}", check=check).stdout

    yield follow
    assert ran == set(request.function.snippets)


def endpoint(machine):
    """The endpoint, the only difference from a real account."""
    machine.run("printf 'AWS_ENDPOINT_URL=http://127.0.0.1:5000\\nAWS_REGION=us-east-1\\n' >>/etc/iam-key-exporter/environment")


def metrics(machine, port=19674):
    return Samples.parse(machine.get(port))


@snippets.executes("install", "look", "service", "numbers", "log")
def test_the_service_serves(machine, follow):
    assert "iam-key-exporter 0." in follow("install")
    assert "Account" in follow("look")
    follow("service")
    verified = machine.run("systemd-analyze verify --man=no /etc/systemd/system/iam-key-exporter.service 2>&1").stdout
    assert verified == ""
    # Without credentials it runs, and the account is unknown.
    assert machine.show("iam-key-exporter", "ActiveState") == "active"
    wait_until(lambda: metrics(machine).select("iam_key_exporter_account_up")[0][1] == 0)
    assert "aws_iam_users" not in metrics(machine).names()
    machine.run("echo IAM_KEY_EXPORTER_DEMO=true >>/etc/iam-key-exporter/environment; systemctl restart iam-key-exporter")
    wait_until(lambda: "multiple_active_keys" in follow("numbers"))
    assert "check succeeded" in follow("log")


def test_the_service_is_sandboxed_and_has_process_metrics(machine):
    process = machine.show("iam-key-exporter", "MainPID")
    status = dict(line.split(":\t", 1) for line in machine.run(f"cat /proc/{process}/status").stdout.splitlines())
    assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split()
    assert {status[name] for name in ("CapEff", "CapBnd", "CapPrm", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    known = metrics(machine)
    # A sandbox that is too strict would prevent the exporter from reading /proc.
    assert known.value("process_start_time_seconds") > 1e9
    assert known.value("process_resident_memory_bytes") > 1e6
    assert known.value("process_open_fds") > 3


@snippets.executes("socket")
def test_systemd_opens_the_port_and_starts_the_service(machine, follow):
    follow("socket")
    assert machine.show("iam-key-exporter", "ActiveState") == "inactive"
    # The connection waits until the service serves it.
    assert metrics(machine).value("iam_key_exporter_build_info") == 1
    assert machine.show("iam-key-exporter", "ActiveState") == "active"
    assert machine.run("systemd-analyze verify --man=no /etc/systemd/system/iam-key-exporter.socket 2>&1").stdout == ""
    machine.run(
        "systemctl disable --now iam-key-exporter.socket && rm /etc/systemd/system/iam-key-exporter.socket && systemctl daemon-reload\n"
        "sed --in-place /SYSTEMD_SOCKET/d /etc/iam-key-exporter/environment && systemctl restart iam-key-exporter"
    )
    wait_until(lambda: machine.run("curl --silent --fail http://127.0.0.1:19674/livez", check=False).returncode == 0)


@snippets.executes("configure", "reload", "credentials")
def test_the_service_checks_an_account_with_credentials_that_systemd_hands_over(machine, follow):
    machine.run("sed --in-place /IAM_KEY_EXPORTER_DEMO=true/d /etc/iam-key-exporter/environment")
    endpoint(machine)
    follow("configure")
    follow("credentials")
    wait_until(lambda: metrics(machine).value("iam_key_exporter_account_up", account_id=ACCOUNT) == 1)
    known = metrics(machine)
    assert known.value("aws_iam_user_active_access_keys", user_name="bob") == 2
    assert known.value("aws_iam_user_active_access_keys", user_name="bobby") == 1
    assert known.value("aws_iam_account_info", account_name="production") == 1
    # A grace period of a day, as configured in the file.
    assert known.value("aws_iam_users", status="rotating") == 1
    assert known.value("aws_iam_access_key_violations", rule="multiple_active_keys") == 0

    machine.run("sed --in-place 's/rotation_grace: 24h/rotation_grace: 0s/' /etc/iam-key-exporter/config.yaml")
    follow("reload")
    wait_until(lambda: metrics(machine).value("aws_iam_access_key_violations", rule="multiple_active_keys") == 1)
    machine.run("echo 'polcy: {}' >>/etc/iam-key-exporter/config.yaml")
    follow("reload")
    wait_until(lambda: metrics(machine).value("iam_key_exporter_config_last_reload_successful") == 0)
    assert metrics(machine).value("aws_iam_access_key_violations", rule="multiple_active_keys") == 1
    assert "polcy" in machine.journal("iam-key-exporter")


def test_an_invalid_configuration_does_not_cause_restarts(machine):
    machine.run("systemctl restart iam-key-exporter || true")
    wait_until(lambda: machine.show("iam-key-exporter", "ActiveState") == "failed")
    assert machine.show("iam-key-exporter", "ExecMainStatus") == "2"
    assert machine.show("iam-key-exporter", "NRestarts") == "0"
    machine.run("rm /etc/iam-key-exporter/config.yaml; systemctl reset-failed iam-key-exporter")


@snippets.executes("rules")
def test_prometheus_takes_the_scrape_configuration_and_the_rules(machine, follow, tmp_path):
    follow("rules")
    text = snippets.named("text", PAGE)["prometheus"].text
    machine.run(f"cat >/etc/prometheus.yml <<'END'\n{text}END\n")
    output = machine.run(f"{TOOLS.bin('promtool')} check config /etc/prometheus.yml").stdout
    assert "is valid prometheus config file" in output
    assert re.search(r"SUCCESS: \d\d+ rules found", output)


@snippets.executes("timer", "textfile-now")
def test_the_timer_writes_a_file_that_node_exporter_takes(machine, follow):
    follow("timer")
    endpoint(machine)
    machine.run("cat /root/.aws/credentials | sed -n 's/^aws_/AWS_/p' | sed 's/^[^=]*/\\U&/' >>/etc/iam-key-exporter/environment")
    verified = machine.run("systemd-analyze verify --man=no /etc/systemd/system/iam-key-exporter-textfile.{service,timer} 2>&1").stdout
    assert verified == ""
    assert machine.show("iam-key-exporter-textfile.timer", "ActiveState") == "active"
    assert machine.show("iam-key-exporter-textfile.timer", "NextElapseUSecRealtime")
    # In place of node_exporter, the file itself.
    assert 'rule="multiple_active_keys"} 1' in follow("textfile-now", replace=("http://localhost:9100/metrics", f"file://{TEXTFILE}"))
    # A violation is not a failure of the unit.
    assert machine.show("iam-key-exporter-textfile.service", "Result") == "success"
    assert machine.show("iam-key-exporter-textfile.service", "ExecMainStatus") == "1"
    text = machine.run(f"cat {TEXTFILE}").stdout
    known = Samples.parse(text)
    assert known.value("aws_iam_user_active_access_keys", user_name="bob") == 2
    assert known.value("iam_key_exporter_account_up", account_id=ACCOUNT) == 1
    result = promtool("check", "metrics", input=text)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    # node_exporter rejects a file with timestamps, and runs as a user of its own.
    assert [line for line in text.splitlines() if not line.startswith("#") and re.search(r" \d+$", line.rpartition("}")[2].partition(" ")[2])] == []
    assert machine.run(f"stat --format=%a {TEXTFILE}").stdout.strip() == "644"


def test_a_failed_check_leaves_the_file(machine):
    before = machine.run(f"cat {TEXTFILE}").stdout
    machine.run("systemctl stop moto")
    machine.run("systemctl start iam-key-exporter-textfile.service", check=False)
    assert machine.show("iam-key-exporter-textfile.service", "ExecMainStatus") == "3"
    assert machine.show("iam-key-exporter-textfile.service", "Result") == "exit-code"
    assert "cannot reach AWS" in machine.journal("iam-key-exporter-textfile")
    assert machine.run(f"cat {TEXTFILE}").stdout == before


@snippets.executes("cron", "remove")
def test_the_line_for_cron_writes_the_file_and_everything_can_be_removed(machine, follow):
    machine.run(f"systemctl stop iam-key-exporter-textfile.timer; rm {TEXTFILE}")
    follow("cron")
    machine.run("echo IAM_KEY_EXPORTER_DEMO=true >>/etc/iam-key-exporter/environment")
    (line,) = [line for line in machine.run("cat /etc/cron.d/iam-key-exporter").stdout.splitlines() if line and line[0] not in "#M"]
    schedule, user, command = re.fullmatch(r"((?:\S+ ){5})(\w+) (.*)", line).groups()
    assert (schedule, user) == ("*/15 * * * * ", "root")
    # cron ends the command at this character.
    assert "%" not in command
    # As cron does: by sh, with little in its environment.
    machine.run(f"env -i HOME=/root LOGNAME=root PATH=/usr/bin:/bin SHELL=/bin/sh /bin/sh -c {shlex.quote(command)}", check=False)
    assert Samples.parse(machine.run(f"cat {TEXTFILE}").stdout).value("aws_iam_user_active_access_keys", user_name="mallory") == 2
    follow("remove")
    left = machine.run("find /etc/systemd/system /etc/cron.d /etc/iam-key-exporter /usr/local/bin -name '*iam-key-exporter*' 2>/dev/null || true")
    assert left.stdout == ""


def test_every_command_of_the_page_is_run_or_there_is_a_reason():
    blocks = snippets.blocks(PAGE)
    assert sorted(snippets.named("run", PAGE)) == snippets.executed(sys.modules[__name__])
    unnamed = {block.text.splitlines()[0] for block in blocks if block.language == "bash" and not block.name}
    assert unnamed == set(NOT_RUN)
    assert snippets.bad_shell(PAGE) == []
    assert {block.language for block in blocks if not block.name} <= {"bash"}
