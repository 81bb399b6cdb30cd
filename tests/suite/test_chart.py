"""The Helm chart: its output is accepted by a cluster and by the exporter, and matches the documentation.

`helm-unittest` (helm/iam-key-exporter/tests) tests single templates; the tests here need several of them, or the validation
of another program. Every file in the chart's ci/ is a case of the tests below.

To accept changed renderings: UPDATE_GOLDEN=1 pytest tests/suite/test_chart.py -k golden
"""

import concurrent.futures
import contextlib
import copy
import functools
import gzip
import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import threading

import pytest
import yaml

from certificates import Authority
from chartpod import Pod
from harness import ROOT, TOOLS, Prometheus, Samples, exporter_binary, free_port, request, wait_until
from helm import CASES, CHART, HELMS, case_name, find, helm_environment, merged, objects, run, workload

DATA = ROOT / "tests" / "suite" / "chart"
# The oldest version that Chart.yaml allows and the newest that there are schemas of.
OLDEST, NEWEST = "1.25.0", "1.37.0"


@pytest.fixture(scope="module", autouse=True)
def helm_home(tmp_path_factory):
    with helm_environment(tmp_path_factory.mktemp("helm")):
        yield


def template(*values, helm="helm3", version=NEWEST, release="keys", namespace="exporters", chart=CHART, expect=0):
    """The text that Helm renders. `values` are files, or dictionaries that are passed as files."""
    command = [TOOLS.bin(helm), "template", release, chart, f"--namespace={namespace}", f"--kube-version={version}"]
    text = None
    for each in values:
        if isinstance(each, dict):
            assert text is None, "one dictionary is enough"
            text, each = yaml.safe_dump(each), "-"
        command += ["--values", each]
    result = run(*command, input=text)
    assert (result.returncode == 0) == (expect == 0), result.stderr or result.stdout
    return result.stderr if expect else result.stdout


@functools.cache
def rendered(path):
    return template(path)


def pods(manifests):
    """Names and specs of all pods that the manifests create."""
    for each in manifests:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield each["kind"], each["spec"]["template"]["metadata"]["labels"], each["spec"]["template"]["spec"]
        elif each["kind"] == "Pod":
            yield "Pod", each["metadata"]["labels"], each["spec"]


# --- generated parts ----------------------------------------------------------------------------------------------


def test_rules_dashboards_and_readme_are_up_to_date():
    result = run(ROOT / "scripts" / "chart", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def checkout(tmp_path):
    """An up-to-date copy of the input of `scripts/chart`, for modification by a test."""
    for part in ("scripts", "alerts", "dashboards", "helm", "tools"):
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    links = tmp_path / "target" / "tools" / "bin"
    links.mkdir(parents=True)
    (links / "helm-docs").symlink_to(TOOLS.bin("helm-docs").resolve())
    assert run(tmp_path / "scripts" / "chart").returncode == 0
    return tmp_path


@pytest.mark.parametrize(
    "path, stale",
    [
        ("alerts/rules/more.yaml", ["helm/iam-key-exporter/files/rules/more.yaml"]),
        ("dashboards/more.json", ["helm/iam-key-exporter/files/dashboards/more.json"]),
        ("helm/iam-key-exporter/files/rules/left-over.yaml", ["helm/iam-key-exporter/files/rules/left-over.yaml"]),
        ("helm/iam-key-exporter/values.yaml", ["helm/iam-key-exporter/README.md"]),
    ],
)
def test_a_drift_is_found_and_repaired(checkout, path, stale):
    with open(checkout / path, "a") as file:
        file.write("# -- New.\nnew: 1\n" if path.endswith("values.yaml") else "\n")
    found = run(checkout / "scripts" / "chart", "--check")
    assert found.returncode == 1, found.stderr
    assert found.stdout.splitlines() == [f"{each}: not up to date, run scripts/chart" for each in stale]
    assert run(checkout / "scripts" / "chart").returncode == 0
    again = run(checkout / "scripts" / "chart", "--check")
    assert (again.returncode, again.stdout) == (0, "")


def test_readme_lists_every_alert_and_threshold():
    readme = (CHART / "README.md").read_text()
    rules = [rule for file in sorted((ROOT / "alerts/rules").glob("*.yaml")) for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
    for rule in rules:
        if "alert" in rule:
            assert f"| [{rule['alert']}](" in readme
        elif rule["record"].startswith("iam_key_exporter:threshold:"):
            assert f"| `{rule['record'].removeprefix('iam_key_exporter:threshold:')}` | `{rule['expr']}` |" in readme


def test_chart_version_and_image_are_the_crates():
    cargo = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == cargo
    (image,) = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert image["image"] == f"ghcr.io/iam-key-exporter/iam-key-exporter:{cargo}"


def test_artifacthub_annotations_are_yaml_where_they_should_be():
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    assert {change["kind"] for change in yaml.safe_load(annotations["artifacthub.io/changes"])} <= {
        "added", "changed", "deprecated", "removed", "fixed", "security"
    }
    for link in yaml.safe_load(annotations["artifacthub.io/links"]):
        path = link["url"].partition("/blob/main/")[2]
        assert (ROOT / path).is_file(), link["url"]


def test_oldest_kubernetes_is_the_one_that_is_tested():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST}-0"
    versions = [path.name.split("-")[0].removeprefix("v") for path in TOOLS.path("kubernetes-schemas").iterdir()]
    assert max(versions, key=lambda each: [int(part) for part in each.split(".")]) == NEWEST
    for helm in HELMS:
        assert "incompatible with Kubernetes v1.24.0" in template(helm=helm, version="1.24.0", expect=1)
        # Managed clusters add suffixes to their versions.
        template(helm=helm, version="v1.30.4-eks-a737599")


@pytest.mark.parametrize("helm", HELMS)
def test_the_archive_holds_the_chart_and_nothing_else(helm, tmp_path):
    result = run(TOOLS.bin(helm), "package", CHART, "--destination", tmp_path)
    assert result.returncode == 0, result.stderr
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    archive = tmp_path / f"iam-key-exporter-{version}.tgz"
    with tarfile.open(archive) as tar:
        names = {name.removeprefix("iam-key-exporter/") for name in tar.getnames()}
        # The links of the clone would be dangling.
        assert all(member.isfile() for member in tar)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"Chart.yaml", ".helmignore", "README.md", "files", "templates", "values.schema.json", "values.yaml"}
    assert "templates/tests/healthcheck.yaml" in names
    packed = {name for name in names if name.startswith("files/")}
    assert packed == {f"files/rules/{name}" for name in ("alerts.yaml", "recording.yaml")} | {
        f"files/dashboards/{path.name}" for path in (ROOT / "dashboards").glob("*.json")
    }
    demo = CHART / "ci" / "demo-values.yaml"
    assert objects(template(demo, helm=helm, chart=archive)) == objects(rendered(demo))


@pytest.mark.parametrize("helm", HELMS)
def test_a_clone_brings_rules_and_dashboards(helm, tmp_path):
    """`helm install ./helm/iam-key-exporter`, in a clone: nothing is generated or copied before."""
    subprocess.run(["git", "clone", "--quiet", "--local", ROOT, tmp_path / "clone"], check=True)
    changed = tmp_path / "clone" / "alerts" / "rules" / "alerts.yaml"
    changed.write_text(changed.read_text().replace("IamKeyExporterAbsent", "IamKeyExporterGone"))
    values = {"prometheusRule": {"enabled": True}, "dashboards": {"configMaps": {"enabled": True}}}
    manifests = objects(template(values, helm=helm, chart=tmp_path / "clone" / "helm" / "iam-key-exporter"))
    alerts = [rule.get("alert") for each in manifests if each["kind"] == "PrometheusRule" for group in each["spec"]["groups"] for rule in group["rules"]]
    assert "IamKeyExporterGone" in alerts and "IamKeyMultipleActive" in alerts
    dashboards = {name: json.loads(text) for each in manifests if each["kind"] == "ConfigMap" for name, text in each["data"].items() if name.endswith(".json")}
    assert dashboards == {path.name: json.loads(path.read_text()) for path in (ROOT / "dashboards").glob("*.json")}


# --- rendering ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("helm", HELMS)
def test_lint(helm):
    for case in CASES:
        result = run(TOOLS.bin(helm), "lint", "--strict", f"--kube-version={OLDEST}", "--values", case, CHART)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "1 chart(s) linted, 0 chart(s) failed" in result.stdout + result.stderr


def test_lint_fails_on_an_invalid_chart(tmp_path):
    chart = tmp_path / "iam-key-exporter"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "service.yaml").write_text("{{ include \"no-such-template\" . }}")
    for helm in HELMS:
        assert run(TOOLS.bin(helm), "lint", "--strict", f"--kube-version={OLDEST}", chart).returncode != 0


def test_helm_unittest():
    result = run(TOOLS.bin("helm-unittest"), "--strict", CHART)
    assert result.returncode == 0, result.stdout + result.stderr
    suites = len(list((CHART / "tests").glob("*_test.yaml")))
    assert f"Test Suites: {suites} passed, {suites} total" in result.stdout


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_both_helms_render_the_same(case):
    assert objects(template(case, helm="helm4")) == objects(rendered(case))


def kubeconform(text, version):
    locations = [TOOLS.path("kubernetes-schemas")] + [
        f"{TOOLS.path(f'{operator}-operator-schemas')}/{{{{.Group}}}}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json"
        for operator in ("prometheus", "grafana")
    ]
    command = [TOOLS.bin("kubeconform"), "-strict", "-output=json", "-summary", f"-kubernetes-version={version}"]
    for location in locations:
        command += ["-schema-location", location]
    result = run(*command, input=text)
    return result.returncode, json.loads(result.stdout)


@pytest.mark.parametrize("version", [OLDEST, "1.31.0", NEWEST])
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_kubernetes_takes_every_object(case, version):
    text = rendered(case)
    code, report = kubeconform(text, version)
    assert code == 0, report["resources"]
    manifests = objects(text)
    # No object is skipped because of a missing schema.
    assert report["summary"] == {"valid": len(manifests), "invalid": 0, "errors": 0, "skipped": 0}
    names = [(each["apiVersion"], each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in manifests]
    assert len(names) == len(set(names)), "an object twice"


def test_the_cases_render_every_template():
    """Every template renders an object in at least one case."""
    sources = {source for case in CASES for source in re.findall(r"^# Source: iam-key-exporter/(.+)$", rendered(case), re.MULTILINE)}
    templates = {str(path.relative_to(CHART)) for path in (CHART / "templates").rglob("*.yaml")}
    assert templates - sources == {"templates/validate.yaml"}


@pytest.mark.parametrize("helm", HELMS)
def test_large_numbers_keep_their_digits(helm):
    """Helm parses numbers as floats and may render 1e+06, which Kubernetes and the exporter do not accept."""
    million = 1000000
    limits = dict.fromkeys(["sampleLimit", "targetLimit", "labelLimit", "labelNameLengthLimit", "labelValueLengthLimit"], million)
    text = template(
        {
            "config": {"collector_report_above": million},
            "replicaCount": million,
            "revisionHistoryLimit": million,
            "terminationGracePeriodSeconds": million,
            "podSecurityContext": {"runAsUser": million, "runAsGroup": million, "fsGroup": million},
            "livenessProbe": dict.fromkeys(["initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold"], million),
            "podDisruptionBudget": {"enabled": True, "minAvailable": million},
            "serviceMonitor": {"enabled": True} | limits,
            "prometheusRule": {"enabled": True, "thresholds": {"multiple_active_too_long_seconds": million}},
        },
        helm=helm,
    )
    # The pod of `helm test` has the security context, too.
    assert text.count("1000000") == 1 + 3 + 2 * 3 + 4 + 1 + 5 + 1
    assert not re.search(r"[ \"]1e\+?0?6", text)


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_golden(case):
    """The complete text, without rules and dashboards, which have separate tests."""
    documents = [
        document
        for document in rendered(case).split("---\n")
        if not re.search(r"^# Source: .*/(prometheusrule|dashboards-.*)\.yaml$", document, re.MULTILINE)
    ]
    # A release changes the version everywhere, and nothing else.
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    text = re.sub(rf"(?<![\w.]){re.escape(version)}(?![\w.-])", "VERSION", "---\n".join(documents))
    golden = DATA / "golden" / f"{case_name(case)}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text(), f"{golden.relative_to(ROOT)} differs; is the change wanted? {__doc__}"


def test_every_golden_file_has_its_case():
    assert {path.stem for path in (DATA / "golden").iterdir()} == {case_name(case) for case in CASES}


# --- refusals -----------------------------------------------------------------------------------------------------

REFUSALS = yaml.safe_load((DATA / "refusals.yaml").read_text())


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: each["name"])
def test_refusal(helm, refusal):
    error = template(refusal["values"], helm=helm, expect=1)
    assert refusal["error"] in error
    # The error is a message about the value, not a failure inside a template.
    assert "nil pointer" not in error and "wrong type" not in error


# --- values -------------------------------------------------------------------------------------------------------

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def leaves(values, path=()):
    for key, value in values.items():
        # Maps that the chart treats as one value: labels, security contexts and the like.
        whole = not value or not isinstance(value, dict) or not owns(path + (key,))
        if whole:
            yield ".".join(path + (key,))
        else:
            yield from leaves(value, path + (key,))


def schema_at(path):
    node = SCHEMA
    for part in path:
        node = node["properties"][part]
        while "$ref" in node:
            node = SCHEMA["definitions"][node["$ref"].removeprefix("#/definitions/")]
    return node


def owns(path):
    """Whether the chart defines the keys of the map at `path`: then the schema requires them."""
    return "required" in schema_at(path)


def at(path, value):
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def test_no_value_is_dead():
    """Every value changes the output. The table contains another value for each, and the settings that it requires."""
    table = yaml.safe_load((DATA / "other-values.yaml").read_text())
    others = {path: value for entry in table for path, value in entry["others"].items()}
    assert sorted(others) == sorted(leaves(VALUES))
    same = []

    def check(before, base, path, value):
        if template(merged(base, at(path, value))) == before:
            same.append(path)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = []
        for entry in table:
            base = entry.get("with", {})
            before = template(base)
            jobs += [pool.submit(check, before, base, path, value) for path, value in entry["others"].items()]
        for job in jobs:
            job.result()
    assert same == []


def test_templates_name_no_value_that_does_not_exist():
    for file in (CHART / "templates").rglob("*"):
        if file.is_file():
            for path in re.findall(r"\.Values\.([A-Za-z]+(?:\.[A-Za-z]+)*)", file.read_text()):
                node = VALUES
                for part in path.split("."):
                    if not node and isinstance(node, dict):
                        break  # a free map, such as config
                    assert part in node, f"{file.name}: {path}"
                    node = node[part]


def test_schema_knows_every_value_and_no_other():
    def compare(values, path=()):
        schema = schema_at(path)
        assert set(values) == set(schema["properties"]), path
        for key, value in values.items():
            if isinstance(value, dict) and value and owns(path + (key,)):
                compare(value, path + (key,))

    compare(VALUES)


def test_schema_is_strict_everywhere():
    """Objects of the chart list their keys; only the objects named here accept any key."""
    open_ones = []

    def visit(node, path):
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node and node.get("additionalProperties") is not False:
                open_ones.append(path)
            for key, value in node.items():
                visit(value, f"{path}/{key}")
        elif isinstance(node, list):
            for index, value in enumerate(node):
                visit(value, f"{path}/{index}")

    visit(SCHEMA, "")
    assert open_ones == [
        "/properties/global",  # a parent chart's other keys
        "/properties/extraVolumes/items",  # dozens of kinds of volumes
        "/properties/prometheusRule/properties/extraGroups/items",  # validated by the operator
    ]


def documented_configuration():
    """Keys of the configuration file in docs/configuration.md: from the table of flags, and from the examples."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    keys = set()
    for row in re.findall(r"^\| `--[^|]*\|([^|]*)\|", text, re.MULTILINE):
        keys.update(re.findall(r"`([a-z_.]+)`", row))
    example = {}
    for block in re.findall(r"^```yaml\n(.*?)^```", text.partition("\n## File\n")[2], re.DOTALL | re.MULTILINE):
        example |= yaml.safe_load(block)
    return keys, example


def schema_configuration(node=None, path=""):
    node = node or SCHEMA["definitions"]["config"]
    for key, value in node["properties"].items():
        while "$ref" in value:
            value = SCHEMA["definitions"][value["$ref"].removeprefix("#/definitions/")]
        if "properties" in value:
            yield from schema_configuration(value, f"{path}{key}.")
        else:
            yield path + key


def keys_of(example):
    """Paths of the keys of an example, as in schema_configuration: lists and maps of free keys count as one."""
    for key, value in example.items():
        whole = not isinstance(value, dict) or not value or key in ("tags", "account_overrides")
        yield from [key] if whole else [f"{key}.{each}" for each in keys_of(value)]


def test_config_takes_every_documented_key_and_no_other():
    keys, example = documented_configuration()
    # Set by the chart: the port of the container, its Service and its probes must agree, and so must shards and pods.
    keys -= {"web.listen_address", "shard", "total_shards"}
    # Set by the values `web`.
    keys -= {"web.config_file", "web.probe_address", "web.route_prefix", "web.external_url"}
    # There is no systemd in a container.
    keys -= {"web.systemd_socket"}
    assert set(schema_configuration()) == keys | set(keys_of(example))
    config = SCHEMA["definitions"]["config"]["properties"]
    (override,) = config["account_overrides"]["patternProperties"].values()
    for schema, examples in (
        (config["exemptions"]["items"], example["exemptions"]),
        (config["accounts"]["items"], example["accounts"]),
        (override, example["account_overrides"].values()),
    ):
        assert set(schema["properties"]) == {key for each in examples for key in each}
    example["exemptions"][0]["expires"] = str(example["exemptions"][0]["expires"])
    (config,) = [each for each in objects(template({"config": example})) if each["kind"] == "ConfigMap"]
    assert yaml.safe_load(config["data"]["config.yaml"]) == example


def test_every_flag_is_reachable():
    """By `config`, or by a separate value."""
    own_values = {"--config.file": "existingConfigSecret", "--demo": "demo", "--web.listen-address": "containerPort"}
    own_values |= dict.fromkeys(["--shard", "--total-shards"], "sharding")
    own_values |= dict.fromkeys(["--web.config.file", "--web.probe-address", "--web.route-prefix", "--web.external-url"], "web")
    # There is no systemd in a container.
    unreachable = {"--web.systemd-socket"}
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `(--[^`]*)` \|([^|]*)\|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    assert len(rows) > 20
    for flag, key, commands in rows:
        if re.search(r"\b(serve|all)\b", commands) and flag not in unreachable:
            key = key.strip().strip("`")
            assert key in schema_configuration() or own_values[flag] in VALUES, flag


# --- the objects fit together -------------------------------------------------------------------------------------


def matches(selector, labels):
    return selector.items() <= labels.items()


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_objects_find_each_other(case):
    manifests = objects(rendered(case))
    kinds = {each["kind"] for each in manifests}
    exporter = workload(manifests)
    namespace = exporter["metadata"]["namespace"]
    labels = exporter["spec"]["template"]["metadata"]["labels"]
    pod = exporter["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert matches(exporter["spec"]["selector"]["matchLabels"], labels)
    test_pods = [each for each in manifests if each["kind"] == "Pod"]

    # All objects use the same port, and mounted volumes exist.
    assert f"--web.listen-address=:{ports['metrics']}" in container["args"]
    web = next((each.partition("=")[2] for each in container["args"] if each.startswith("--web.config.file=")), None)
    # Only the port that has neither TLS nor authentication is for kubelets.
    plain = "metrics" if web is None else "probes"
    assert set(ports) == {"metrics", plain}
    assert web is None or f"--web.probe-address=:{ports['probes']}" in container["args"]
    for probe in ("livenessProbe", "readinessProbe"):
        if probe in container:
            assert container[probe]["httpGet"]["port"] == plain
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    if web is not None:
        paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert web.startswith(paths["web-config"] + "/")
        rendered_secret = [each for each in manifests if each["kind"] == "Secret" and each["metadata"]["name"] == volumes["web-config"]["secret"]["secretName"]]
        for each in rendered_secret:
            assert each["metadata"]["namespace"] == namespace
            server = yaml.safe_load(each["stringData"][web.rpartition("/")[2]]).get("tls_server_config", {})
            mounted = {f"{paths[name]}/{item['path']}" for name in ("web-tls", "web-client-ca") for item in volumes[name]["secret"]["items"]}
            assert {path for key, path in server.items() if key.endswith("_file")} == mounted
    if "configMap" in volumes["config"]:
        config = find(manifests, "ConfigMap", volumes["config"]["configMap"]["name"])
        assert config["metadata"]["namespace"] == namespace
        (key,) = config["data"]
        assert f"--config.file=/etc/iam-key-exporter/{key}" in container["args"]

    accounts = [each["metadata"]["name"] for each in manifests if each["kind"] == "ServiceAccount"]
    assert accounts in ([], [pod["serviceAccountName"]])

    selectors = []
    services = [each for each in manifests if each["kind"] == "Service"]
    if exporter["kind"] == "StatefulSet":
        headless = find(services, "Service", exporter["spec"]["serviceName"])
        services.remove(headless)
        selectors.append(headless["spec"]["selector"])
        assert headless["metadata"]["namespace"] == namespace
        if "ServiceMonitor" in kinds:
            monitor = find(manifests, "ServiceMonitor")["spec"]
            assert not matches(monitor["selector"]["matchLabels"], headless["metadata"]["labels"]), "every shard would be scraped twice"
        # The test asks each shard, at the name that the cluster's DNS knows it by.
        for test in test_pods:
            names = [f"http://{exporter['metadata']['name']}-{n}.{headless['metadata']['name']}:{ports[plain]}/readyz" for n in range(exporter["spec"]["replicas"])]
            assert [container["args"] for container in test["spec"]["containers"]] == [["healthcheck", f"--url={name}"] for name in names]
    if services:
        (service,) = services
        selectors.append(service["spec"]["selector"])
        assert service["metadata"]["namespace"] == namespace
        port, *others = service["spec"]["ports"]
        assert [each["targetPort"] for each in (port, *others)] == list(ports)
        if "ServiceMonitor" in kinds:
            monitor = find(manifests, "ServiceMonitor")["spec"]
            assert matches(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
            assert monitor["namespaceSelector"]["matchNames"] == [namespace]
            assert [endpoint["port"] for endpoint in monitor["endpoints"]] == [port["name"]]
    if "PodMonitor" in kinds:
        monitor = find(manifests, "PodMonitor")["spec"]
        selectors.append(monitor["selector"]["matchLabels"])
        assert monitor["namespaceSelector"]["matchNames"] == [namespace]
        assert [endpoint["port"] in ports for endpoint in monitor["podMetricsEndpoints"]] == [True]
    if "PodDisruptionBudget" in kinds:
        selectors.append(find(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    if "NetworkPolicy" in kinds:
        policy = find(manifests, "NetworkPolicy")["spec"]
        selectors.append(policy["podSelector"]["matchLabels"])
        assert policy["ingress"][0]["ports"] == [{"port": ports["metrics"], "protocol": "TCP"}]
        for test in test_pods:
            rule, *_ = [each for each in policy["ingress"] if each["ports"] == [{"port": ports[plain], "protocol": "TCP"}]]
            peers = rule.get("from", [{"podSelector": {"matchLabels": {}}}])
            assert any(
                "podSelector" in peer and "namespaceSelector" not in peer and matches(peer["podSelector"]["matchLabels"], test["metadata"]["labels"])
                for peer in peers
            ), "helm test is kept out"
    for selector in selectors:
        assert matches(selector, labels)
        for test in test_pods:
            assert not matches(selector, test["metadata"]["labels"]), "the pod of helm test would be taken for an exporter"


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_metrics_are_scraped_before_a_pod_is_ready(case):
    """A pod that cannot reach AWS is not ready, but its metrics must be scraped."""
    for each in objects(rendered(case)):
        if each["kind"] == "Service":
            assert each["spec"]["publishNotReadyAddresses"] is True


def restricted(spec):
    """The fields of a pod that violate the Pod Security Standard "restricted", which includes "baseline"."""
    against = []

    def check(good, field):
        if not good:
            against.append(field)

    context = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        check(not spec.get(field), field)
    check(context.get("runAsUser") != 0, "securityContext.runAsUser")
    check(not context.get("windowsOptions", {}).get("hostProcess"), "securityContext.windowsOptions.hostProcess")
    check(context.get("seLinuxOptions", {}).get("type", "") in ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"), "securityContext.seLinuxOptions.type")
    check(not set(context.get("seLinuxOptions", {})) & {"user", "role"}, "securityContext.seLinuxOptions")
    check(context.get("appArmorProfile", {}).get("type", "RuntimeDefault") in ("RuntimeDefault", "Localhost"), "securityContext.appArmorProfile.type")
    safe = {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range"}
    check({sysctl["name"] for sysctl in context.get("sysctls", [])} <= safe, "securityContext.sysctls")
    kinds = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes", []):
        check(set(volume) - {"name"} <= kinds, f"volumes.{volume['name']}")
    for container in spec.get("initContainers", []) + spec["containers"] + spec.get("ephemeralContainers", []):
        own = container.get("securityContext", {})
        name = f"{container['name']}.securityContext"
        check(own.get("allowPrivilegeEscalation") is False, f"{name}.allowPrivilegeEscalation")
        check(not own.get("privileged"), f"{name}.privileged")
        check("ALL" in own.get("capabilities", {}).get("drop", []), f"{name}.capabilities.drop")
        check(set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"}, f"{name}.capabilities.add")
        check(own.get("runAsNonRoot", context.get("runAsNonRoot")) is True, f"{name}.runAsNonRoot")
        check(own.get("runAsUser") != 0, f"{name}.runAsUser")
        seccomp = own.get("seccompProfile", context.get("seccompProfile", {}))
        check(seccomp.get("type") in ("RuntimeDefault", "Localhost"), f"{name}.seccompProfile.type")
        check(own.get("procMount", "Default") == "Default", f"{name}.procMount")
        check(not own.get("windowsOptions", {}).get("hostProcess"), f"{name}.windowsOptions.hostProcess")
        check(own.get("appArmorProfile", {}).get("type", "RuntimeDefault") in ("RuntimeDefault", "Localhost"), f"{name}.appArmorProfile.type")
        check(not any(port.get("hostPort") for port in container.get("ports", [])), f"{container['name']}.ports.hostPort")
        for hook in ("livenessProbe", "readinessProbe", "startupProbe"):
            check("host" not in container.get(hook, {}).get("httpGet", {}), f"{container['name']}.{hook}.httpGet.host")
    return against


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_pod_security_restricted(case):
    found = list(pods(objects(rendered(case))))
    assert found
    for kind, _, spec in found:
        assert restricted(spec) == [], kind


def test_default_security_contexts():
    """Stricter than "restricted": an unprivileged numeric user, and a read-only file system."""
    for kind, _, spec in pods(objects(template({}))):
        assert spec["automountServiceAccountToken"] is False, kind
        assert spec["securityContext"] == {
            "runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534, "seccompProfile": {"type": "RuntimeDefault"}
        }
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
            }


@pytest.mark.parametrize(
    "path, value, field",
    [
        ("hostNetwork", True, "hostNetwork"),
        ("hostPID", True, "hostPID"),
        ("hostIPC", True, "hostIPC"),
        ("securityContext.runAsUser", 0, "securityContext.runAsUser"),
        ("securityContext.runAsNonRoot", False, "exporter.securityContext.runAsNonRoot"),
        ("securityContext.seccompProfile.type", "Unconfined", "exporter.securityContext.seccompProfile.type"),
        ("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "securityContext.sysctls"),
        ("securityContext.seLinuxOptions", {"type": "spc_t"}, "securityContext.seLinuxOptions.type"),
        ("securityContext.seLinuxOptions", {"user": "a"}, "securityContext.seLinuxOptions"),
        ("securityContext.appArmorProfile", {"type": "Unconfined"}, "securityContext.appArmorProfile.type"),
        ("securityContext.windowsOptions", {"hostProcess": True}, "securityContext.windowsOptions.hostProcess"),
        ("volumes.0", {"name": "config", "hostPath": {"path": "/"}}, "volumes.config"),
        ("containers.0.securityContext.allowPrivilegeEscalation", True, "exporter.securityContext.allowPrivilegeEscalation"),
        ("containers.0.securityContext.privileged", True, "exporter.securityContext.privileged"),
        ("containers.0.securityContext.capabilities.drop", ["NET_RAW"], "exporter.securityContext.capabilities.drop"),
        ("containers.0.securityContext.capabilities.add", ["SYS_ADMIN"], "exporter.securityContext.capabilities.add"),
        ("containers.0.securityContext.runAsUser", 0, "exporter.securityContext.runAsUser"),
        ("containers.0.securityContext.runAsNonRoot", False, "exporter.securityContext.runAsNonRoot"),
        ("containers.0.securityContext.seccompProfile", {"type": "Unconfined"}, "exporter.securityContext.seccompProfile.type"),
        ("containers.0.securityContext.procMount", "Unmasked", "exporter.securityContext.procMount"),
        ("containers.0.securityContext.windowsOptions", {"hostProcess": True}, "exporter.securityContext.windowsOptions.hostProcess"),
        ("containers.0.securityContext.appArmorProfile", {"type": "Unconfined"}, "exporter.securityContext.appArmorProfile.type"),
        ("containers.0.ports.0.hostPort", 80, "exporter.ports.hostPort"),
        ("containers.0.livenessProbe.httpGet.host", "example.com", "exporter.livenessProbe.httpGet.host"),
    ],
)
def test_the_check_of_pod_security_sees_each_field(path, value, field):
    spec = copy.deepcopy(find(objects(rendered(CHART / "ci" / "default-values.yaml")), "Deployment")["spec"]["template"]["spec"])
    node = spec
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        node = node[part]
    node[last] = value
    assert restricted(spec) == [field]


@pytest.mark.parametrize("helm", HELMS)
def test_as_a_dependency(helm, tmp_path):
    """As a dependency: known globals of the parent are used, others are ignored, a condition disables the chart."""
    parent = tmp_path / "parent"
    (parent / "templates").mkdir(parents=True)
    dependency = {"name": "iam-key-exporter", "version": ">=0", "repository": f"file://{CHART}", "condition": "exporters.iamKeys"}
    (parent / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}))
    (parent / "values.yaml").write_text(
        yaml.safe_dump({"global": {"imageRegistry": "mirror.example.com", "clusterName": "a"}, "iam-key-exporter": {"demo": True}})
    )
    built = run(TOOLS.bin(helm), "dependency", "build", parent)
    assert built.returncode == 0, built.stderr
    manifests = objects(template(helm=helm, chart=parent))
    (container,) = find(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("mirror.example.com/")
    assert "--demo" in container["args"]
    assert objects(template({"exporters": {"iamKeys": False}}, helm=helm, chart=parent)) == []


def test_a_release_fits_into_a_secret():
    """Helm stores chart and manifests of a release in one Secret, which is limited to one mebibyte."""
    files = {str(path): path.read_text() for path in CHART.rglob("*") if path.is_file() and path.parent.name not in ("ci", "tests")}
    release = json.dumps({"chart": files, "manifest": rendered(CHART / "ci" / "everything-values.yaml")})
    # Twice base64: once by Helm, once by Kubernetes; the limit is of the data after the second is undone.
    assert len(gzip.compress(release.encode())) * 4 / 3 < 0.75 * 2**20


# --- rules --------------------------------------------------------------------------------------------------------


def rule_files(text, directory):
    """Writes each PrometheusRule of a rendering to a file, as the operator does; returns the paths by name."""
    files = {}
    directory.mkdir(parents=True, exist_ok=True)
    for each in objects(text):
        if each["kind"] == "PrometheusRule":
            name = each["metadata"]["name"].rpartition("-")[2]
            files[name] = directory / f"{name}.yaml"
            files[name].write_text(yaml.safe_dump(each["spec"], sort_keys=False))
    return files


DEFAULT_RULES = {"prometheusRule": {"enabled": True}}


def normal(rules):
    """Rules with every expression as a string: the operator requires it, and `2` and `"2"` are equal for Prometheus."""
    rules = copy.deepcopy(rules)
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = str(rule["expr"])
    return rules


def test_rules_are_those_of_the_alerts(tmp_path):
    files = rule_files(template(DEFAULT_RULES), tmp_path)
    sources = {path.stem: path for path in (ROOT / "alerts" / "rules").glob("*.yaml")}
    assert set(files) == set(sources)
    for name, file in files.items():
        assert yaml.safe_load(file.read_text()) == normal(yaml.safe_load(sources[name].read_text()))


@pytest.mark.parametrize("version", ["", "-2.42"], ids=["newest", "oldest"])
@pytest.mark.parametrize("case", [case for case in CASES if "prometheusRule" in yaml.safe_load(case.read_text())], ids=case_name)
def test_promtool_takes_the_rules(case, version, tmp_path):
    files = rule_files(rendered(case), tmp_path)
    assert len(files) >= 2
    result = run(TOOLS.bin(f"promtool{version}"), "check", "rules", "--lint=all", "--lint-fatal", *files.values())
    assert result.returncode == 0, result.stdout + result.stderr


def rule_tests(text, directory, which="*"):
    """Runs the unit tests of the alerts on the rules of a rendering."""
    rule_files(text, directory / "rules")
    shutil.copytree(ROOT / "alerts" / "tests", directory / "tests")
    tests = sorted((directory / "tests").glob(f"{which}.yaml"))
    assert tests
    return run(TOOLS.bin("promtool"), "test", "rules", *tests)


def test_rules_pass_the_tests_of_the_alerts(tmp_path):
    result = rule_tests(template(DEFAULT_RULES), tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "changed",
    [
        {"thresholds": {"exemption_expires_soon_seconds": 60}},
        {"alerts": {"IamKeyExemptionExpired": {"enabled": False}}},
        {"alerts": {"IamKeyExemptionExpired": {"severity": "critical"}}},
        {"alerts": {"IamKeyExemptionExpired": {"for": "3h"}}},
        {"alerts": {"IamKeyExemptionExpired": {"labels": {"team": "security"}}}},
        {"alertLabels": {"team": "security"}},
    ],
    ids=["threshold", "enabled", "severity", "for", "labels", "alertLabels"],
)
def test_values_change_what_the_alerts_do(changed, tmp_path):
    """The same tests fail with each kind of override: it changes the evaluation, not only the rendered text."""
    result = rule_tests(template(merged(DEFAULT_RULES, {"prometheusRule": changed})), tmp_path, "exemptions")
    assert result.returncode == 1, result.stdout
    assert "FAILED" in result.stdout + result.stderr


# --- dashboards ---------------------------------------------------------------------------------------------------


def test_dashboards_reach_grafana_byte_by_byte():
    manifests = objects(template({"dashboards": {"configMaps": {"enabled": True}, "grafanaOperator": {"enabled": True}}}))
    sources = {path.name: path.read_text() for path in (ROOT / "dashboards").glob("*.json")}
    assert sources
    by_sidecar = {}
    for each in manifests:
        if each["kind"] == "ConfigMap" and each["metadata"]["labels"].get("grafana_dashboard") == "1":
            by_sidecar.update(each["data"])
    assert {name: text.rstrip("\n") for name, text in by_sidecar.items()} == {name: text.rstrip("\n") for name, text in sources.items()}
    by_operator = [each["spec"]["json"] for each in manifests if each["kind"] == "GrafanaDashboard"]
    assert sorted(map(json.loads, by_operator), key=json.dumps) == sorted(map(json.loads, sources.values()), key=json.dumps)


# --- docs/kubernetes.md -------------------------------------------------------------------------------------------

GUIDE = (ROOT / "docs" / "kubernetes.md").read_text()
GUIDE_CHART = "oci://ghcr.io/iam-key-exporter/charts/iam-key-exporter"
GUIDE_VALUES = {
    name: yaml.safe_load(text) for name, text in re.findall(r"<!-- (?:values|file): (\S+) -->\n```yaml\n(.*?)```", GUIDE, re.DOTALL)
}


def guide_commands():
    """All commands of the guide, in order, lines joined."""
    text = "\n".join(re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL))
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line]


def guide_options(command):
    """Options of a command: `--a b` and `--a=b` alike, as a dictionary."""
    words = [word for each in command for word in (each.split("=", 1) if each.startswith("--") else [each])]
    return {word: words[index + 1] for index, word in enumerate(words[:-1]) if word.startswith("--")}


def test_every_block_of_the_guide_is_tested():
    blocks = re.findall(r"^```(\w*)$", GUIDE, re.MULTILINE)
    assert set(blocks) - {""} == {"bash", "yaml"}
    assert blocks.count("yaml") == len(GUIDE_VALUES) + 4  # and the configurations of Prometheus, and the Certificate


@pytest.mark.parametrize("helm", HELMS)
def test_the_guides_commands(helm, tmp_path):
    """Each Helm command renders what it would install, and kubectl refers to these objects; test_the_demo_answers covers curl."""
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(GUIDE_VALUES["values.yaml"]))
    manifests, installed = [], 0
    options = {"release": "iam-key-exporter", "helm": helm, "namespace": "monitoring"}
    sharded = objects(template(merged(GUIDE_VALUES["values.yaml"], GUIDE_VALUES["shards"]), **options))
    for command in guide_commands():
        options = guide_options(command)
        if command[:3] == ["helm", "upgrade", "--install"]:
            release, chart = command[3:5]
            assert chart == GUIDE_CHART
            arguments = [word for word in command[5:] if word != "--create-namespace"]
            result = run(TOOLS.bin(helm), "template", release, CHART, f"--kube-version={NEWEST}", *arguments, cwd=tmp_path)
            assert result.returncode == 0, result.stderr
            assert kubeconform(result.stdout, NEWEST)[0] == 0
            manifests = objects(result.stdout)
            installed += 1
            (container,) = find(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
            assert ("--demo" in container["args"]) == (installed == 1)
            for kind in ("ServiceMonitor", "PrometheusRule"):
                for each in manifests:
                    if each["kind"] == kind:
                        assert each["metadata"]["labels"]["release"] == "kube-prometheus-stack"
        elif command[:2] in (["helm", "test"], ["helm", "uninstall"]):
            assert command[2] == release
            assert [each for each in manifests if each["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"]
        elif command[0] == "kubectl":
            for word in command:
                kind, _, name = word.partition("/")
                if kind in ("deployment", "statefulset"):
                    exporter = workload(manifests if kind == "deployment" else sharded)
                    assert (exporter["kind"].lower(), exporter["metadata"]["name"]) == (kind, name)
                    assert exporter["metadata"]["namespace"] == options["--namespace"] == "monitoring"
            if "port-forward" in command:
                assert int(command[-1]) == container["ports"][0]["containerPort"]
            if command[3:6] == ["create", "secret", "generic"]:
                assert command[6] in yaml.safe_dump([GUIDE_VALUES[name] for name in ("secret", "config-secret", "password")])
        elif command[0] == "aws":
            account = find(manifests, "ServiceAccount")["metadata"]
            assert (options["--service-account"], options["--namespace"]) == (account["name"], account["namespace"])
        else:
            assert command[0] == "curl", command
    assert installed == 2


@pytest.mark.parametrize("name", sorted(set(GUIDE_VALUES) - {"values.yaml"}))
def test_the_guides_values(name):
    """Each is an addition to values.yaml and changes the rendered output."""
    together = merged(GUIDE_VALUES["values.yaml"], GUIDE_VALUES[name])
    text = template(together, release="iam-key-exporter")
    code, report = kubeconform(text, NEWEST)
    assert code == 0, report
    assert objects(text) != objects(template(GUIDE_VALUES["values.yaml"], release="iam-key-exporter"))


def test_the_guides_prometheus_without_operator(tmp_path):
    config = yaml.safe_load(re.search(r"<!-- prometheus -->\n```yaml\n(.*?)```", GUIDE, re.DOTALL)[1])
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    result = run(TOOLS.bin("promtool"), "check", "config", "--lint=all", tmp_path / "prometheus.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    service = find(objects(template({}, release="iam-key-exporter")), "Service")
    (scrape,) = config["scrape_configs"]
    assert scrape["job_name"] == "iam-key-exporter"
    port = service["spec"]["ports"][0]["port"]
    assert scrape["static_configs"] == [{"targets": [f"{service['metadata']['name']}.monitoring.svc:{port}"]}]


def test_the_guides_prometheus_with_tls(tmp_path):
    """It and the Certificate fit what the chart deploys with the guide's values."""
    text = re.search(r"<!-- prometheus: tls -->\n```yaml\n(.*?)```", GUIDE, re.DOTALL)[1]
    for name, content in (("ca.crt", Authority("tests").certificate), ("password", "secret")):
        (tmp_path / name).write_text(content)
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/iam-key-exporter", str(tmp_path)))
    result = run(TOOLS.bin("promtool"), "check", "config", "--lint=all", tmp_path / "prometheus.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    values = merged(GUIDE_VALUES["values.yaml"], GUIDE_VALUES["password"])
    (endpoint,) = find(objects(template(values, release="iam-key-exporter", namespace="monitoring")), "ServiceMonitor")["spec"]["endpoints"]
    (scrape,) = yaml.safe_load(text)["scrape_configs"]
    assert (scrape["scheme"], scrape["tls_config"]["server_name"]) == (endpoint["scheme"], endpoint["tlsConfig"]["serverName"])
    assert scrape["basic_auth"]["username"] in values["web"]["config"]["basic_auth_users"]
    certificate = yaml.safe_load(re.search(r"<!-- certificate -->\n```yaml\n(.*?)```", GUIDE, re.DOTALL)[1])
    assert certificate["spec"]["dnsNames"] == [endpoint["tlsConfig"]["serverName"]]
    assert certificate["spec"]["secretName"] == values["web"]["tls"]["secretName"] == endpoint["tlsConfig"]["ca"]["secret"]["name"]
    assert certificate["metadata"]["namespace"] == "monitoring"


def test_the_guides_prometheus_scrapes_every_shard(tmp_path):
    text = re.search(r"<!-- prometheus: shards -->\n```yaml\n(.*?)```", GUIDE, re.DOTALL)[1]
    (tmp_path / "prometheus.yml").write_text(text)
    # The newest one is built without service discovery.
    result = run(TOOLS.bin("promtool-2.42"), "check", "config", tmp_path / "prometheus.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    manifests = objects(template(GUIDE_VALUES["shards"], release="iam-key-exporter", namespace="monitoring"))
    service = find(manifests, "Service", workload(manifests)["spec"]["serviceName"])
    (scrape,) = yaml.safe_load(text)["scrape_configs"]
    assert scrape["job_name"] == "iam-key-exporter"
    # Records of type A have no port.
    address = {"names": [f"{service['metadata']['name']}.monitoring.svc"], "type": "A", "port": service["spec"]["ports"][0]["port"]}
    assert scrape["dns_sd_configs"] == [address]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]


def test_the_guides_service_account_is_the_one_that_the_trust_policies_name():
    for name in ("irsa", "pod-identity"):
        text = (ROOT / "deploy" / "aws" / "trust" / f"{name}.json").read_text()
        account = find(objects(template({}, release="iam-key-exporter")), "ServiceAccount")["metadata"]["name"]
        namespace = guide_options(guide_commands()[0])["--namespace"]
        (conditions,) = [statement["Condition"]["StringEquals"] for statement in json.loads(text)["Statement"]]
        assert f"system:serviceaccount:{namespace}:{account}" in conditions.values() or (
            conditions["aws:RequestTag/kubernetes-namespace"] == namespace
            and conditions["aws:RequestTag/kubernetes-service-account"] == account
        )


# --- the exporter with the chart's arguments ----------------------------------------------------------------------


NO_METADATA = {"AWS_EC2_METADATA_DISABLED": "true"}

CREDENTIAL_REPORT = (
    "user,arn,user_creation_time,access_key_1_active,access_key_1_last_rotated,access_key_2_active,access_key_2_last_rotated\n"
    "<root_account>,arn:aws:iam::123456789012:root,2020-01-01T00:00:00Z,false,N/A,false,N/A\n"
    "ann,arn:aws:iam::123456789012:user/ann,2020-01-01T00:00:00Z,true,2020-01-01T00:00:00Z,true,2021-01-01T00:00:00Z\n"
)


def seconds(text):
    """Durations in the exporter's output format, which may use other units than the input."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "day": 86400, "month": 2630016, "year": 31557600}
    parts = re.findall(r"(\d+)(year|month|day|[dhms])s?\b", text)
    return sum(int(number) * units[unit] for number, unit in parts)


def assert_in_effect(given, effective, path=""):
    """Every configured setting is in effect."""
    if isinstance(given, dict):
        for key, value in given.items():
            assert_in_effect(value, effective[key], f"{path}.{key}")
    elif isinstance(given, list):
        assert len(given) == len(effective), path
        for index, value in enumerate(given):
            assert_in_effect(value, effective[index], f"{path}[{index}]")
    elif isinstance(given, str) and re.fullmatch(r"(\d+[dhms])+", given):
        assert seconds(given) == seconds(effective), path
    else:
        assert str(given) == str(effective), path


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_the_exporter_takes_arguments_and_configuration(case, tmp_path):
    """`verify-config` with the container's arguments instead of `serve`: exit code 0, and every setting is in effect."""
    contents = {"report": {"report.csv": CREDENTIAL_REPORT}}
    secret = yaml.safe_load(case.read_text()).get("existingConfigSecret")
    if secret:
        contents["config"] = {secret["key"]: "check:\n  interval: 7m\n"}
    issued = Authority("tests").issue("tests")
    contents["web-tls"] = issued | {"server.crt": issued["tls.crt"], "server.key": issued["tls.key"]}
    contents["web-client-ca"] = {"tls.crt": issued["ca.crt"]}
    if "existingSecret" in yaml.safe_load(case.read_text()).get("web", {}):
        contents["web-config"] = {"web.yaml": "tls_server_config: { cert_file: /etc/iam-key-exporter-tls/server.crt, key_file: /etc/iam-key-exporter-tls/server.key }\n"}
    with Pod(objects(rendered(case)), tmp_path, contents, NO_METADATA, command="verify-config") as pod:
        assert pod.wait() == 0, pod.log
        effective = yaml.safe_load(pod.log)
        (file,) = (tmp_path / "config").glob("[!.]*")
        assert_in_effect(yaml.safe_load(file.read_text()), effective)
        assert effective["web"]["listen_address"] == [f"127.0.0.1:{pod.port}"]


def test_the_exporter_refuses_a_configuration_that_is_wrong(tmp_path):
    """The test above can fail."""
    secret = {"existingConfigSecret": {"name": "mine"}}
    with Pod(objects(template(secret)), tmp_path, {"config": {"config.yaml": "polcy: {}\n"}}, command="verify-config") as pod:
        assert pod.wait() == 2
        assert "polcy" in pod.log


def test_the_exporter_refuses_a_web_configuration_that_is_wrong(tmp_path):
    secret = {"web": {"existingSecret": {"name": "mine"}}}
    with Pod(objects(template(secret)), tmp_path, {"web-config": {"web-config.yaml": "basic_auth_user: {}\n"}}, command="verify-config") as pod:
        assert pod.wait() == 2
        assert "basic_auth_user" in pod.log


def test_the_schema_takes_the_keys_of_the_web_configuration_and_no_other():
    """Those that the exporter names when it is given another one."""
    found = {}

    def visit(path, node):
        while "$ref" in node:
            node = SCHEMA["definitions"][node["$ref"].removeprefix("#/definitions/")]
        if "properties" in node:
            found[path] = set(node["properties"])
            for key, value in node["properties"].items():
                visit(path + (key,), value)

    visit((), SCHEMA["definitions"]["webConfig"])
    source = (ROOT / "src" / "config" / "web" / "section.rs").read_text()
    structs = {name: set(re.findall(r"^    pub (\w+):", body, re.MULTILINE)) for name, body in re.findall(r"struct (\w+) \{\n(.*?)\n\}", source, re.DOTALL)}
    headers = set(re.findall(r'^    \("([\w-]+)", ', (ROOT / "src" / "config" / "web.rs").read_text().partition("const HEADERS")[2].partition("];")[0], re.MULTILINE))
    assert found == {
        (): structs["WebSection"],
        ("tls_server_config",): structs["TlsSection"],
        ("http_server_config",): structs["HttpSection"],
        ("http_server_config", "headers"): headers,
        ("rate_limit",): structs["RateSection"],
    }


def test_the_demo_answers(tmp_path):
    """The demo's command line: probes, metrics, and the command of `helm test`."""
    demo = merged(yaml.safe_load((CHART / "ci" / "demo-values.yaml").read_text()), {"containerPort": free_port()})
    manifests = objects(template(demo))
    with Pod(manifests, tmp_path) as pod:
        probe = pod.container["readinessProbe"]["httpGet"]["path"]
        wait_until(lambda: request(pod.url + probe).status == 200)
        metrics = pod.metrics()
        assert metrics.select("aws_iam_access_key_violations", rule="multiple_active_keys")
        assert metrics.select("iam_key_exporter_account_up")[0][1] == 1

        # The guide's own words, at this port.
        (curl,) = [command for command in re.findall(r"^curl .*$", GUIDE, re.MULTILINE)]
        shown = run("sh", "-c", curl.replace("http://localhost:19674", pod.url))
        assert 'rule="multiple_active_keys"' in shown.stdout, shown.stderr

        (test,) = [each for each in manifests if each["kind"] == "Pod"]
        arguments = test["spec"]["containers"][0]["args"]
        service = find(manifests, "Service")
        # The name of the Service, resolved as the cluster would do it.
        name = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/"
        assert name in arguments[-1]
        here = [argument.replace(name, pod.url + "/") for argument in arguments]
        asked = run(exporter_binary(), *here, env={})
        assert asked.returncode == 0, asked.stderr
    gone = run(exporter_binary(), *here, env={})
    assert gone.returncode == 1


def test_prometheus_scrapes_and_alerts_as_the_chart_configures_it(tmp_path):
    """Prometheus with the scrape configuration of the ServiceMonitor and the rules of the PrometheusRules."""
    demo = merged(yaml.safe_load((CHART / "ci" / "demo-values.yaml").read_text()), {"containerPort": free_port()})
    text = template(demo, release="other")
    manifests = objects(text)
    (endpoint,) = find(manifests, "ServiceMonitor")["spec"]["endpoints"]
    relabelings = [
        {"target_label": each["targetLabel"], "replacement": each["replacement"]} for each in endpoint["relabelings"]
    ]
    rules = rule_files(text, tmp_path / "rules")
    with Pod(manifests, tmp_path) as pod:
        scrape = Prometheus.scrape(
            "serviceMonitor/exporters/other/0", f"127.0.0.1:{pod.port}", metrics_path=endpoint["path"], relabel_configs=relabelings
        )
        config = {"global": {"evaluation_interval": "1s"}, "scrape_configs": [scrape]}
        with Prometheus(config, rules.values()) as prometheus:
            alerts = wait_until(
                lambda: [each for each in prometheus.alerts() if each["labels"]["alertname"] == "IamKeyMultipleActive"]
            )
            assert {alert["labels"]["job"] for alert in alerts} == {"iam-key-exporter"}
            assert [rule for rule in prometheus.rules() if rule.get("lastError")] == []


ROLE = "arn:aws:iam::123456789012:role/iam-key-exporter"


@contextlib.contextmanager
def pod_identity_agent(token):
    """The agent of EKS on a node: returns credentials of the role for the token of the service account."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/v1/credentials" and self.headers.get("Authorization") == token
            credentials = {
                "AccessKeyId": "ASIAIOSFODNN7EXAMPLE",
                "SecretAccessKey": "secret",
                "Token": "session",
                "AccountId": "123456789012",
                "Expiration": "2099-01-01T00:00:00Z",
            }
            body = json.dumps(credentials if known else {"message": "who are you?"}).encode()
            self.send_response(200 if known else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/credentials"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("way", ["irsa", "pod-identity"])
def test_against_aws(way, moto, started, tmp_path):
    """The container as EKS would start it, with moto as AWS: its only credentials are the role of the service account."""
    moto.user("ann", "Active", "Active")
    moto.user("bob", "Active")
    token = tmp_path / "token"
    token.write_text("a-token-of-the-service-account")
    values = {
        "containerPort": free_port(),
        "extraEnv": [{"name": "AWS_ENDPOINT_URL", "value": moto.url}],
        "config": {"collector": "live", "aws": {"region": "us-east-1"}},
    }
    if way == "irsa":
        values["serviceAccount"] = {"annotations": {"eks.amazonaws.com/role-arn": ROLE}}
    manifests = objects(template(values))
    annotations = find(manifests, "ServiceAccount")["metadata"].get("annotations", {})
    # The settings that EKS adds to the pod: for the annotation, or for an association with the service account.
    if way == "irsa":
        added = {"AWS_ROLE_ARN": annotations["eks.amazonaws.com/role-arn"], "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    else:
        agent = started(pod_identity_agent(token.read_text()))
        added = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": agent, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)}
    with Pod(manifests, tmp_path / "pod", environment=NO_METADATA | added) as pod:
        wait_until(lambda: request(pod.url + "/readyz").status == 200)
        metrics = pod.metrics()
        assert metrics.value("aws_iam_user_active_access_keys", user_name="ann") == 2
        assert metrics.value("aws_iam_user_active_access_keys", user_name="bob") == 1
        assert metrics.value("aws_iam_access_key_violations", rule="multiple_active_keys", account_id="123456789012") == 1


def test_the_shards_check_each_account_once(moto, started, tmp_path):
    """Every pod of the StatefulSet, with the name that the cluster would give it."""
    accounts = [f"{number:012}" for number in range(111111111111, 111111111121)]
    for account in accounts:
        moto.user("ann", "Active", "Active", client=moto.client("iam", account=account))
    values = {
        "sharding": {"total": 3},
        "extraEnv": [{"name": name, "value": value} for name, value in moto.env.items()],
        "config": {"collector": "live", "accounts": [{"role_arn": f"arn:aws:iam::{account}:role/iam-key-exporter"} for account in accounts]},
    }
    checked = []
    for number in range(3):
        manifests = objects(template(merged(values, {"containerPort": free_port()})))
        pod = started(Pod(manifests, tmp_path / str(number), number=number))
        wait_until(lambda: request(pod.url + "/readyz").status == 200)
        users = pod.metrics().select("aws_iam_user_active_access_keys", user_name="ann")
        checked.append([labels["account_id"] for labels, keys in users if keys == 2])
    assert sorted(account for each in checked for account in each) == accounts
    assert all(checked), "a shard without an account shows less"


def test_without_aws_the_pod_is_alive_not_ready_and_scraped(tmp_path):
    values = {
        "containerPort": free_port(),
        "extraEnv": [
            {"name": "AWS_ENDPOINT_URL", "value": f"http://127.0.0.1:{free_port()}"},
            {"name": "AWS_ACCESS_KEY_ID", "value": "testing"},
            {"name": "AWS_SECRET_ACCESS_KEY", "value": "testing"},
        ],
        "config": {"check": {"timeout": "2s"}},
    }
    with Pod(objects(template(values)), tmp_path, environment=NO_METADATA) as pod:
        wait_until(lambda: pod.metrics().select("iam_key_exporter_check_failures_total"))
        failures = lambda: [value for _, value in pod.metrics().select("iam_key_exporter_check_failures_total") if value]
        assert wait_until(failures)
        assert request(pod.url + pod.container["livenessProbe"]["httpGet"]["path"]).status == 200
        assert request(pod.url + pod.container["readinessProbe"]["httpGet"]["path"]).status == 503
        assert [value for _, value in pod.metrics().select("iam_key_exporter_account_up")] == [0]
