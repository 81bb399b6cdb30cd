"""compose.yaml: validated by Compose's own library, and each service's configuration tested without containers."""

import json
import os
import re
import subprocess

import pytest
import yaml

from harness import ROOT, TOOLS, Exporter, Prometheus, wait_until

COMPOSE = ROOT / "compose.yaml"
PROMETHEUS = ROOT / "deploy" / "compose" / "prometheus.yaml"


def composecheck(*files, env=None):
    return subprocess.run([TOOLS.bin("composecheck"), *files], capture_output=True, text=True, env=os.environ | (env or {}), timeout=120)


@pytest.fixture(scope="module")
def services():
    result = composecheck(COMPOSE)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["services"]


@pytest.mark.parametrize(
    "old, new, complaint",
    [
        ("command: [serve, --demo]", "comand: [serve, --demo]", "comand"),
        ("depends_on: [prometheus]", "depends_on: [prometeus]", "prometeus"),
        ("      - prometheus:/prometheus", "      - prometheus-data:/prometheus", "prometheus-data"),
        ("read_only: true", "read_only: certainly", "read_only"),
    ],
)
def test_compose_refuses_mistakes(tmp_path, old, new, complaint):
    assert old in COMPOSE.read_text()
    (tmp_path / "compose.yaml").write_text(COMPOSE.read_text().replace(old, new, 1))
    result = composecheck(tmp_path / "compose.yaml")
    assert result.returncode == 1
    assert complaint in result.stderr, result.stderr


def test_what_is_mounted_exists_and_is_read_only(services):
    binds = [mount for service in services.values() for mount in service.get("volumes", ()) if mount["type"] == "bind"]
    assert len(binds) == 6
    for mount in binds:
        assert os.path.exists(mount["source"]), mount
        assert mount["read_only"], mount


def test_ports_are_local_only_and_can_be_changed(services):
    published = {port["published"]: port for service in services.values() for port in service.get("ports", ())}
    assert sorted(published) == ["19674", "3000", "9090", "9093"]
    assert all(port["host_ip"] == "127.0.0.1" for port in published.values())
    for name in re.findall(r"\$\{(\w+_PORT):-", COMPOSE.read_text()):
        assert name in (ROOT / "docs" / "alerts.md").read_text()


def test_images_are_pinned_and_prometheus_and_alertmanager_are_those_of_the_tests(services):
    images = {name: service["image"] for name, service in services.items()}
    assert images.pop("exporter") == "iam-key-exporter"
    assert all(re.fullmatch(r"docker\.io/\w+/\w+:v?\d[\w.-]*", image) for image in images.values()), images

    def pinned(module):
        text = (ROOT / "tools" / module / "go.mod").read_text()
        return re.search(rf"github\.com/prometheus/{module} v([\d.]+)", text)[1]

    # Prometheus 3.13.0 is v0.313.0 as a Go module.
    major, minor, patch = pinned("prometheus").split(".")
    assert images["prometheus"].endswith(f":v{int(minor) // 100}.{int(minor) % 100}.{patch}")
    assert images["alertmanager"].endswith(f":v{pinned('alertmanager')}")


def test_the_exporters_command_and_prometheus_configuration_work_together(services, started, tmp_path):
    arguments = services["exporter"]["command"]
    assert arguments[0] == "serve"
    exporter = started(Exporter(arguments[1:])).wait_checked()
    config = yaml.safe_load(PROMETHEUS.read_text())
    assert config["rule_files"] == ["rules/*.yaml"]
    mounts = {mount["target"]: mount["source"] for mount in services["prometheus"]["volumes"]}
    rules = sorted((ROOT / os.path.relpath(mounts["/etc/prometheus/rules"], ROOT)).glob("*.yaml"))
    assert mounts["/etc/prometheus/prometheus.yaml"] == str(PROMETHEUS) and len(rules) == 2
    # The names of services are host names.
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    name, port = target.split(":")
    assert name in services and int(port) == services[name]["ports"][0]["target"]
    (alertmanager,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    name, port = alertmanager.split(":")
    assert name in services and int(port) == services[name]["ports"][0]["target"]
    del config["alerting"]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{exporter.port}"]
    prometheus = started(Prometheus(config, rules))
    wait_until(lambda: prometheus.query('ALERTS{alertname="IamKeyMultipleActiveTooLong", alertstate="firing"}'), what="an alert")
    assert all(rule["health"] == "ok" for rule in prometheus.rules())


def test_promtool_accepts_prometheus_configuration(tmp_path):
    (tmp_path / "rules").symlink_to(ROOT / "alerts" / "rules")
    (tmp_path / "prometheus.yaml").write_text(PROMETHEUS.read_text())
    for promtool in ("promtool", "promtool-2.42"):
        result = subprocess.run([TOOLS.bin(promtool), "check", "config", tmp_path / "prometheus.yaml"], capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "2 rule files found" in result.stdout


def test_alertmanager_and_the_receiver_find_each_other(services):
    alertmanager, pages = services["alertmanager"], services["pages"]
    assert pages["network_mode"] == "service:alertmanager"
    mounts = {mount["target"]: mount["source"] for mount in alertmanager["volumes"] if mount["type"] == "bind"}
    config = next(argument.partition("=")[2] for argument in alertmanager["command"] if argument.startswith("--config.file="))
    directory, name = os.path.split(config)
    local = os.path.join(mounts[directory], name)
    urls = {hook["url"] for receiver in yaml.safe_load(open(local))["receivers"] for hook in receiver["webhook_configs"]}
    script = (ROOT / "scripts" / "pages").read_text()
    assert all(url.startswith("http://127.0.0.1:19095/") for url in urls)
    assert 'default="127.0.0.1"' in script and "default=19095" in script
    assert pages["command"][-1] in {mount["target"] for mount in pages["volumes"]}


def test_grafana_finds_prometheus_and_the_dashboards(services):
    grafana = services["grafana"]
    mounts = {mount["target"]: mount["source"] for mount in grafana["volumes"]}
    provisioning = mounts["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load(open(os.path.join(provisioning, "datasources", "prometheus.yaml")))["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    # The dashboards make their rate intervals from it.
    assert source["jsonData"]["timeInterval"] == yaml.safe_load(PROMETHEUS.read_text())["global"]["scrape_interval"]
    (provider,) = yaml.safe_load(open(os.path.join(provisioning, "dashboards", "iam-key-exporter.yaml")))["providers"]
    assert provider["options"]["path"] in mounts
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    directory, name = os.path.split(home)
    assert os.path.isfile(os.path.join(mounts[directory], name))


# --- docs/alerts.md -----------------------------------------------------------------------------------------------


def blocks(mark):
    text = (ROOT / "docs" / "alerts.md").read_text()
    return re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)```", text, re.DOTALL)


def test_the_documented_override_is_a_compose_file(tmp_path):
    (override,) = blocks("compose: override")
    file = tmp_path / "compose.override.yaml"
    file.write_text(override)
    result = composecheck(COMPOSE, file, env={"HOME": "/home/alice"})
    assert result.returncode == 0, result.stderr
    exporter = json.loads(result.stdout)["services"]["exporter"]
    assert exporter["command"] == ["serve", "--collect.owner-tag=owner"]
    assert exporter["environment"]["AWS_PROFILE"] == "default"
    assert exporter["read_only"] and exporter["ports"]


def test_the_documented_edit_applies_and_passes_the_check(tmp_path):
    (diff,) = blocks("edit: recording.yaml")
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] != "+")
    new = "".join(line[1:] for line in lines if line[0] != "-")
    text = (ROOT / "alerts" / "rules" / "recording.yaml").read_text()
    assert text.count(old) == 1
    (tmp_path / "recording.yaml").write_text(text.replace(old, new))
    check = [TOOLS.bin("python"), ROOT / "alerts" / "check-rules", "--promtool", TOOLS.bin("promtool")]
    result = subprocess.run([*check, tmp_path / "recording.yaml", ROOT / "alerts" / "rules" / "alerts.yaml"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_table_of_alerts_is_complete():
    rows = dict(re.findall(r"^\| `(IamKey\w+)` \| (\w+) \|", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE))
    groups = yaml.safe_load((ROOT / "alerts" / "rules" / "alerts.yaml").read_text())["groups"]
    assert rows == {rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"]}
