"""The tools of the other tests are installed in the right version, and accept valid and reject invalid input."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from harness import ROOT, TOOLS, Alertmanager, Prometheus, Samples, clean_environment, path_without, wait_until

SCRIPT = ROOT / "scripts" / "tools"


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=600, **options)


# --- scripts/tools ------------------------------------------------------------------------------------------------


def test_a_second_run_builds_nothing():
    result = run(SCRIPT)
    assert result.returncode == 0, result.stderr
    assert "installing" not in result.stdout
    assert "ready" in result.stdout


def test_an_unknown_tool_is_refused_by_name():
    result = run(SCRIPT, "prometheus", "no-such-tool")
    assert result.returncode == 1
    assert "no tool 'no-such-tool'; there are: prometheus" in result.stderr


@pytest.mark.parametrize(
    "command, tool, advice",
    [("go", "kubeconform", "Install Go 1.26 or newer"), ("python3", "python", "Install Python 3.11 or newer")],
)
def test_a_missing_prerequisite_is_named_with_the_way_to_get_it(tmp_path, command, tool, advice):
    path = tmp_path / "path"
    path.mkdir()
    environment = os.environ | {"IAM_KEY_EXPORTER_CACHE": str(tmp_path / "cache"), "PATH": path_without(path, command)}
    result = run(SCRIPT, tool, env=environment)
    assert result.returncode != 0
    assert f"is missing, and '{tool}'" in result.stderr
    assert advice in result.stderr


def test_a_prerequisite_that_is_too_old_is_refused(tmp_path):
    path = tmp_path / "path"
    path.mkdir()
    path_without(path, "go")
    (path / "go").write_text("#!/bin/sh\necho go1.21.3\n")
    (path / "go").chmod(0o755)
    environment = os.environ | {"IAM_KEY_EXPORTER_CACHE": str(tmp_path / "cache"), "PATH": str(path)}
    result = run(SCRIPT, "kubeconform", env=environment)
    assert result.returncode != 0
    assert "Go 1.21.3 is too old to build 'kubeconform'" in result.stderr


def test_an_interrupted_installation_is_done_again(tmp_path):
    """A directory without the mark of a finished installation is thrown away, not used."""
    checkout = tmp_path / "checkout"
    for part in ("scripts", "tools"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    environment = os.environ | {"IAM_KEY_EXPORTER_CACHE": str(cache)}
    first = run(checkout / "scripts" / "tools", "actionlint", env=environment)
    assert first.returncode == 0, first.stderr
    (directory,) = [path for path in cache.iterdir() if path.is_dir()]
    (directory / ".complete").unlink()
    (directory / "bin" / "actionlint").write_text("half a binary")
    second = run(checkout / "scripts" / "tools", "actionlint", env=environment)
    assert second.returncode == 0, second.stderr
    assert "installing actionlint" in second.stdout
    assert run(checkout / "target" / "tools" / "bin" / "actionlint", "-version").returncode == 0


def test_a_changed_pin_is_a_new_installation(tmp_path):
    checkout = tmp_path / "checkout"
    for part in ("scripts", "tools"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    environment = os.environ | {"IAM_KEY_EXPORTER_CACHE": str(cache)}
    script = checkout / "scripts" / "tools"
    assert run(script, "actionlint", env=environment).returncode == 0
    with open(checkout / "tools" / "actionlint" / "go.mod", "a") as file:
        file.write("// another pin\n")
    again = run(script, "actionlint", env=environment)
    assert again.returncode == 0, again.stderr
    assert "installing actionlint" in again.stdout
    # Both are in the cache until the old one is thrown out.
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2
    pruned = run(script, "--prune", env=environment)
    assert pruned.returncode == 0, pruned.stderr
    (left,) = [path for path in cache.iterdir() if path.is_dir()]
    assert (checkout / "target" / "tools" / "bin" / "actionlint").resolve().is_relative_to(left)


def test_every_directory_of_tools_is_installed_from():
    names = set(run(SCRIPT, "--list").stdout.split())
    directories = {path.name for path in (ROOT / "tools").iterdir() if path.is_dir()}
    # Shared by the two crds-* tools.
    assert directories - {"crd-schemas"} == names


@pytest.mark.parametrize("directory", sorted((ROOT / "tools").glob("*/requirements.in")), ids=lambda path: path.parent.name)
def test_the_lock_of_python_packages_fits_what_is_asked_for(directory):
    """requirements.txt has every package of requirements.in, in that version, and a hash of every package."""
    directory = directory.parent
    wanted = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", (directory / "requirements.in").read_text(), re.MULTILINE)
    lock = (directory / "requirements.txt").read_text()
    locked = re.findall(r"^([\w.-]+)==(\S+)[^\n]*\\\n +--hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    assert len(locked) == len(re.findall(r"^\w", lock, re.MULTILINE))
    assert wanted
    assert {(name.lower(), version) for name, version in wanted} <= set(locked)


# --- the tools ----------------------------------------------------------------------------------------------------


def pinned(module, directory):
    """The version of a Go module that tools/DIRECTORY/go.mod pins."""
    text = (ROOT / "tools" / directory / "go.mod").read_text()
    return re.search(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", text, re.MULTILINE)[1]


@pytest.mark.parametrize(
    "command, module, directory",
    [
        (["helm3", "version", "--template", "{{.Version}}"], "helm.sh/helm/v3", "helm3"),
        (["helm4", "version", "--template", "{{.Version}}"], "helm.sh/helm/v4", "helm4"),
    ],
)
def test_helm_is_the_major_version_that_its_name_says(command, module, directory):
    result = run(TOOLS.bin(command[0]), *command[1:])
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("v" + pinned(module, directory).split(".")[0] + "."), result.stdout


@pytest.mark.parametrize(
    "command, version",
    [
        ("prometheus-2.42", "2.42"),
        ("promtool-2.42", "2.42"),
        ("alertmanager-0.25", "0.25"),
        ("amtool-0.25", "0.25"),
    ],
)
def test_the_oldest_supported_versions_are_what_their_names_say(command, version):
    result = run(TOOLS.bin(command), "--version")
    assert f"version {version}" in result.stdout + result.stderr
    directory = command.replace("promtool", "prometheus").replace("amtool", "alertmanager")
    project = directory.partition("-")[0]
    assert re.fullmatch(r"0\.(42|25)\.0", pinned(f"github.com/prometheus/{project}", directory))


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}},
    },
}
SERVICE_MONITOR = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "ServiceMonitor",
    "metadata": {"name": "a"},
    "spec": {"selector": {}, "endpoints": [{"port": "http", "interval": "30s", "scrapeTimeout": "10s"}]},
}
RULE = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "PrometheusRule",
    "metadata": {"name": "a"},
    "spec": {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "up == 0", "for": "5m"}]}]},
}
GRAFANA_DASHBOARD = {
    "apiVersion": "grafana.integreatly.org/v1beta1",
    "kind": "GrafanaDashboard",
    "metadata": {"name": "a"},
    "spec": {"instanceSelector": {"matchLabels": {"a": "b"}}, "folder": "a", "json": "{}"},
}


def changed(document, path, value):
    """A copy of `document` with `value` at a path like spec.replicas."""
    copy = json.loads(json.dumps(document))
    node = copy
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part) if isinstance(node, list) else part]
    node[int(last) if isinstance(node, list) else last] = value
    return copy


def kubeconform(document, version="1.34.0"):
    return run(
        TOOLS.bin("kubeconform"),
        "-strict",
        f"-kubernetes-version={version}",
        "-schema-location",
        TOOLS.path("kubernetes-schemas"),
        *[
            argument
            for operator in ("prometheus-operator", "grafana-operator")
            for argument in (
                "-schema-location",
                f"{TOOLS.path(operator + '-schemas')}/{{{{.Group}}}}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
            )
        ],
        input=json.dumps(document),
    )


@pytest.mark.parametrize("version", ["1.25.0", "1.37.0"])
@pytest.mark.parametrize("document", [DEPLOYMENT, SERVICE_MONITOR, RULE, GRAFANA_DASHBOARD], ids=lambda each: each["kind"])
def test_kubeconform_accepts_what_a_cluster_accepts(document, version):
    result = kubeconform(document, version)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "document, word",
    [
        (changed(DEPLOYMENT, "spec.replica", 1), "replica"),
        (changed(DEPLOYMENT, "spec.replicas", "one"), "replicas"),
        (changed(DEPLOYMENT, "spec.template.spec.containers.0.image_", "a"), "image_"),
        (changed(DEPLOYMENT, "apiVersion", "apps/v9"), "could not find schema"),
        (changed(SERVICE_MONITOR, "spec.endpoints.0.scrapeTimeOut", "1s"), "scrapeTimeOut"),
        (changed(SERVICE_MONITOR, "spec.endpoints.0.interval", "1 fortnight"), "interval"),
        (changed(RULE, "spec.groups.0.rules.0.forr", "5m"), "forr"),
        (changed(GRAFANA_DASHBOARD, "spec.folderr", "a"), "folderr"),
    ],
)
def test_kubeconform_refuses_what_a_cluster_refuses_or_drops(document, word):
    result = kubeconform(document)
    assert result.returncode != 0
    assert word in result.stdout


DASHBOARD = {
    "uid": "a",
    "title": "A",
    "schemaVersion": 41,
    "templating": {"list": []},
    "annotations": {"list": []},
    "panels": [
        {
            "id": 1,
            "type": "stat",
            "title": "B",
            "gridPos": {"x": 0, "y": 0, "w": 6, "h": 4},
            "targets": [{"refId": "A", "expr": "up", "datasource": {"type": "prometheus", "uid": "p"}}],
        }
    ],
}


def dashcheck(tmp_path, dashboard):
    file = tmp_path / "dashboard.json"
    file.write_text(json.dumps(dashboard))
    return run(TOOLS.bin("dashcheck"), file)


def test_dashcheck_accepts_a_dashboard(tmp_path):
    result = dashcheck(tmp_path, DASHBOARD)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "path, value, word",
    [
        ("panels.0.titel", "B", "titel"),
        ("panels.0.type", "statt", "statt"),
        ("panels.0.gridPos.w", "wide", "gridPos.w"),
        ("panels.0.gridPos.w", 30, "must be <= 24"),
        ("schemaVersion", "new", "schemaVersion"),
    ],
)
def test_dashcheck_refuses_what_grafana_would_not_understand(tmp_path, path, value, word):
    result = dashcheck(tmp_path, changed(DASHBOARD, path, value))
    assert result.returncode == 1
    assert word in result.stderr


PASSWORD = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "scrape", "namespace": "a"}, "stringData": {"user": "ann", "password": "secret"}}
MONITOR = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "PodMonitor",
    "metadata": {"name": "b", "namespace": "a"},
    "spec": {
        "selector": {"matchLabels": {"c": "d"}},
        "podMetricsEndpoints": [{"port": "metrics", "basicAuth": {part: {"name": "scrape", "key": key} for part, key in (("username", "user"), ("password", "password"))}}],
    },
}


def scrapeconfig(*manifests):
    return run(TOOLS.bin("scrapeconfig"), "a", input="\n---\n".join(map(json.dumps, manifests)))


def test_scrapeconfig_translates_a_monitor():
    result = scrapeconfig(MONITOR, PASSWORD)
    assert result.returncode == 0, result.stderr
    (job,) = yaml.safe_load(json.loads(result.stdout)["config"])["scrape_configs"]
    assert (job["job_name"], job["basic_auth"]) == ("podMonitor/a/b/0", {"username": "ann", "password": "secret"})


@pytest.mark.parametrize(
    "manifests, word",
    [
        ([changed(MONITOR, "spec.podMetricsEndpoints.0.scrapeTimeout", "31s"), PASSWORD], "the operator rejects a monitor"),
        ([changed(MONITOR, "spec.podMetricsEndpoints.0.basic_auth", {}), PASSWORD], 'unknown field "basic_auth"'),
        ([MONITOR, changed(PASSWORD, "stringData", {"user": "ann"})], 'key \\"password\\" in secret \\"scrape\\" not found'),
    ],
    ids=["value", "field", "secret"],
)
def test_scrapeconfig_rejects_what_the_operator_would_not_use(manifests, word):
    result = scrapeconfig(*manifests)
    assert result.returncode == 1, result.stdout
    assert word in result.stderr


def test_node_evaluates_iam_policies(tmp_path):
    """The policy simulator runs on the Node that the tools bring."""
    script = TOOLS.path("node") / "node_modules" / "@cloud-copilot" / "iam-simulate" / "package.json"
    assert json.loads(script.read_text())["name"] == "@cloud-copilot/iam-simulate"
    program = f"import({json.dumps('@cloud-copilot/iam-simulate')}).then(m => console.log(typeof m.runSimulation))"
    result = run(TOOLS.bin("node"), "-e", program, cwd=TOOLS.path("node").resolve())
    assert result.stdout.strip() == "function", result.stderr


@pytest.mark.parametrize("licence, code, word", [("MIT", 0, "licenses ok"), ("GPL-3.0-only", 4, "licenses FAILED")])
def test_a_dependency_under_another_licence_is_refused(tmp_path, licence, code, word):
    """deny.toml, on a package with one dependency of the given licence."""
    for name, rest in (("outer", '[dependencies]\ninner = { path = "inner", version = "1" }\n[workspace]\n'), ("outer/inner", "")):
        package = tmp_path / name
        (package / "src").mkdir(parents=True)
        (package / "src" / "lib.rs").touch()
        own = licence if name != "outer" else "Apache-2.0"
        head = f'[package]\nname = "{package.name}"\nversion = "1.0.0"\nedition = "2024"\nlicense = "{own}"\n'
        (package / "Cargo.toml").write_text(head + rest)
    command = [TOOLS.bin("cargo-deny"), "--offline", "--config", ROOT / "deny.toml", "check", "licenses"]
    result = run(*command, cwd=tmp_path / "outer")
    assert word in result.stdout + result.stderr
    assert result.returncode == code


# --- harness.py ---------------------------------------------------------------------------------------------------


def test_prometheus_scrapes_and_reloads(webhook):
    """Prometheus scrapes itself, an alert fires, Alertmanager takes it, and the receiver gets the page."""
    route = {"receiver": "hook", "group_wait": "0s", "group_by": ["alertname"]}
    receivers = [{"name": "hook", "webhook_configs": [{"url": webhook.url + "/page"}]}]
    with Alertmanager({"route": route, "receivers": receivers}) as alertmanager:
        config = {
            "global": {"evaluation_interval": "1s"},
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}]},
        }
        with Prometheus(config) as prometheus:
            assert prometheus.query("up") == []
            prometheus.config["scrape_configs"] = [Prometheus.scrape("self", prometheus)]
            rules = prometheus.directory / "rules.yml"
            rules.write_text(json.dumps({"groups": [{"name": "a", "rules": [{"alert": "Up", "expr": "up == 1"}]}]}))
            prometheus.config["rule_files"] = [str(rules)]
            prometheus.reload()
            assert wait_until(lambda: prometheus.query('up{job="self"} == 1'))[0][1] == 1.0
            wait_until(prometheus.alerts)
            assert [rule["name"] for rule in prometheus.rules()] == ["Up"]
            (page,) = webhook.wait(1)[:1]
    assert page.path == "/page"
    assert page.body["alerts"][0]["labels"]["alertname"] == "Up"


def test_moto_keeps_accounts_apart(moto):
    moto.user("ann", "Active", "Inactive")
    other = moto.client("iam", account="210987654321")
    assert other.list_users()["Users"] == []
    keys = moto.iam.list_access_keys(UserName="ann")["AccessKeyMetadata"]
    assert sorted(key["Status"] for key in keys) == ["Active", "Inactive"]


def test_moto_is_empty_for_every_test(moto):
    assert moto.iam.list_users()["Users"] == []


def test_a_program_that_ends_at_once_is_reported_with_its_log():
    with pytest.raises(AssertionError, match="not-a-section"):
        Prometheus({"not-a-section": 1}).__enter__()


def test_no_program_sees_the_developers_aws_settings(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("IAM_KEY_EXPORTER_LOG_LEVEL", "trace")
    environment = clean_environment()
    assert "AWS_PROFILE" not in environment
    assert "IAM_KEY_EXPORTER_LOG_LEVEL" not in environment
    assert environment["AWS_EC2_METADATA_DISABLED"] == "true"


def test_samples_are_parsed_with_their_escapes():
    text = '# HELP a b\na{y="2",x="q\\"\\\\n\\n,}"} 1.5\nb 2 1700000000000\nc{} +Inf\n'
    samples = Samples.parse(text)
    assert samples.value("a", y="2") == 1.5
    assert samples.select("a")[0][0] == {"x": 'q"\\n\n,}', "y": "2"}
    assert samples["b"] == 2
    with pytest.raises(AssertionError, match="0 samples"):
        samples.value("a", y="3")
    with pytest.raises(AssertionError, match="twice"):
        Samples.parse("a 1\na 2\n")
