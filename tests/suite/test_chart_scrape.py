"""Prometheus scrapes the exporter as the chart deploys it: with TLS, client certificates, passwords, a route prefix, shards.

The exporter runs with the arguments, the web configuration and the Secrets of the rendered pods. The scrape configuration is
the one that the Prometheus operator's own generator makes of the rendered ServiceMonitor and PodMonitor. Only the discovery of
targets is replaced: by the labels that Kubernetes' service discovery finds at the rendered Services and pods.
"""

import base64
import copy
import json
import re

import pytest
import yaml
from certificates import Authority
from chartpod import Pod
from harness import TOOLS, Prometheus, free_port, request, wait_until
from helm import CHART, find, helm_environment, merged, objects, run, workload

NAMESPACE = "exporters"
SERVER = f"keys-iam-key-exporter.{NAMESPACE}.svc"
PASSWORD = "correct horse"
PASSWORD_HASH = "$2b$04$7keiTbNCiHh3RCAwDThW5elXfJEsgaDV2175MFSsxjwj0ys8TwVOO"


@pytest.fixture(scope="module", autouse=True)
def helm_home(tmp_path_factory):
    with helm_environment(tmp_path_factory.mktemp("helm")):
        yield


# --- Secrets -------------------------------------------------------------------------------------


def secret(name, data):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "stringData": data}


OURS, OTHERS = Authority("ours"), Authority("others")
SECRETS = [
    secret("server", OURS.issue(SERVER)),
    secret("client", OURS.issue("prometheus", client=True)),
    secret("other", OTHERS.issue("prometheus", client=True)),
    secret("scrape", {"user": "prometheus", "password": PASSWORD, "wrong": "battery staple"}),
    secret("web", {"web.yaml": f"basic_auth_users: {{ prometheus: {PASSWORD_HASH} }}\n"}),
    secret(
        "web-with-tls",
        {
            "web-config.yaml": "tls_server_config:\n  cert_file: /etc/iam-key-exporter-tls/tls.crt\n  key_file: /etc/iam-key-exporter-tls/tls.key\n"
            f"basic_auth_users: {{ prometheus: {PASSWORD_HASH} }}\n"
        },
    ),
]


# --- what the operator and Kubernetes make of the manifests -------------------------------------------------------


def template(values):
    command = [TOOLS.bin("helm3"), "template", "keys", CHART, f"--namespace={NAMESPACE}", "--kube-version=1.37.0", "--values=-"]
    result = run(*command, input=yaml.safe_dump(values))
    assert result.returncode == 0, result.stderr
    return objects(result.stdout)


def scrape_config(manifests, directory):
    """The only scrape configuration that the operator generates, with its files in `directory`."""
    given = [each for each in manifests if each["kind"] in ("Secret", "ServiceMonitor", "PodMonitor")] + SECRETS
    result = run(TOOLS.bin("scrapeconfig"), NAMESPACE, input="\n---\n".join(map(json.dumps, given)))
    assert result.returncode == 0, result.stderr
    generated = json.loads(result.stdout)
    directory.mkdir()
    for name, content in generated["files"].items():
        (directory / name).write_bytes(base64.b64decode(content))
    # The number of this Prometheus, which is one of one.
    text = generated["config"].replace("$(SHARD)", "0").replace("/etc/prometheus/certs/", f"{directory}/")
    (scrape,) = yaml.safe_load(text)["scrape_configs"]
    return scrape


def meta(prefix, labels):
    """Labels of an object, as service discovery names them."""
    names = {name: re.sub(r"\W", "_", name) for name in labels}
    return {f"{prefix}_label_{names[name]}": value for name, value in labels.items()} | {f"{prefix}_labelpresent_{name}": "true" for name in names.values()}


def discovered(role, manifests, pod, number):
    """The targets of one pod that Kubernetes' service discovery would find: all of its ports, and by each of its Services."""
    exporter = workload(manifests)
    labels = exporter["spec"]["template"]["metadata"]["labels"]
    name = f"{exporter['metadata']['name']}-{number}"
    own = meta("__meta_kubernetes_pod", labels) | {
        "__meta_kubernetes_namespace": NAMESPACE,
        "__meta_kubernetes_pod_name": name,
        "__meta_kubernetes_pod_ip": pod.ip,
        "__meta_kubernetes_pod_phase": "Running",
    }
    if role == "pod":
        for port, value in pod.ports.items():
            yield own | {"__address__": f"{pod.ip}:{value}", "__meta_kubernetes_pod_container_port_name": port, "__meta_kubernetes_pod_container_name": "exporter"}
        return
    for service in (each for each in manifests if each["kind"] == "Service" and each["spec"]["selector"].items() <= labels.items()):
        for port in service["spec"]["ports"]:
            yield own | meta("__meta_kubernetes_service", service["metadata"]["labels"]) | {
                "__address__": f"{pod.ip}:{pod.ports[port['targetPort']]}",
                "__meta_kubernetes_service_name": service["metadata"]["name"],
                "__meta_kubernetes_endpoint_port_name": port["name"],
                "__meta_kubernetes_endpoint_address_target_kind": "Pod",
                "__meta_kubernetes_endpoint_address_target_name": name,
                "__meta_kubernetes_pod_container_name": "exporter",
            }


def job(name, manifests, pods, directory):
    """The job of Prometheus; its series have the label `way`."""
    scrape = scrape_config(manifests, directory / name)
    (discovery,) = scrape.pop("kubernetes_sd_configs")
    assert discovery["namespaces"]["names"] == [NAMESPACE]
    role = discovery["role"].removesuffix("slice")
    found = [each for number, (own, pod) in enumerate(pods) for each in discovered(role, own, pod, number)]
    scrape["static_configs"] = [{"targets": [each.pop("__address__")], "labels": each} for each in found]
    scrape["relabel_configs"].append({"target_label": "way", "replacement": name})
    return scrape | {"job_name": name, "scrape_interval": "1s", "scrape_timeout": "1s"}


# --- the cases ----------------------------------------------------------------------------------------------------

TLS = {"web": {"tls": {"enabled": True, "secretName": "server"}}}
CLIENT = {"web": {"tls": {"enabled": True, "secretName": "server", "clientCA": {"enabled": True}}}}
USERS = {"web": {"config": {"basic_auth_users": {"prometheus": PASSWORD_HASH}}}}
EXISTING = {"web": {"existingSecret": {"name": "web", "key": "web.yaml"}}}
EXISTING_TLS = {"web": {"existingSecret": {"name": "web-with-tls"}, "tls": {"enabled": True, "secretName": "server"}}}
PREFIX = {"web": {"externalUrl": "https://example.com/security/keys"}}
SHARDS = {"sharding": {"total": 2}, "config": {"demo": {"scenario": "organization"}}}


def basic(password):
    return {"basicAuth": {"username": {"name": "scrape", "key": "user"}, "password": {"name": "scrape", "key": password}}}


def certificate(name):
    return {"tlsConfig": {"cert": {"secret": {"name": name, "key": "tls.crt"}}, "keySecret": {"name": name, "key": "tls.key"}}}


OTHER_CA = {"tlsConfig": {"ca": {"secret": {"name": "other", "key": "ca.crt"}}}}
OTHER_NAME = {"tlsConfig": {"serverName": "example.com"}}
# Name, values, the monitor's part that is right, and those that are wrong with the reason that Prometheus gives.
DENIED = "401 Unauthorized"
# Depending on what the client sent meanwhile, it receives the alert or a reset.
NO_CERTIFICATE = ""
CASES = {
    "plain": ({}, {}, {}),
    "prefix": (PREFIX, {}, {}),
    "tls": (TLS, {}, {"ca": (OTHER_CA, "unknown authority"), "name": (OTHER_NAME, "certificate is valid for")}),
    "client": (CLIENT, certificate("client"), {"client": (certificate("other"), NO_CERTIFICATE)}),
    "password": (USERS, basic("password"), {"password": (basic("wrong"), DENIED)}),
    "existing": (EXISTING, basic("password"), {"none": ({}, DENIED)}),
    "existing with TLS": (EXISTING_TLS, basic("password"), {"none": ({}, DENIED), "ca": (basic("password") | OTHER_CA, "unknown authority")}),
    "both": (merged(TLS, USERS, PREFIX), basic("password"), {"password": (basic("wrong"), DENIED), "ca": (basic("password") | OTHER_CA, "unknown authority")}),
    "all": (
        merged(CLIENT, USERS),
        certificate("client") | basic("password"),
        {"password": (certificate("client") | basic("wrong"), DENIED), "client": (certificate("other") | basic("password"), NO_CERTIFICATE)},
    ),
    "shards": (merged(SHARDS, CLIENT, USERS), certificate("client") | basic("password"), {"password": (certificate("client") | basic("wrong"), DENIED)}),
}


def monitored(values, kind, part):
    return template(merged(values, {kind: {"enabled": True} | copy.deepcopy(part)}))


@pytest.mark.parametrize("case", CASES)
def test_prometheus_scrapes_what_the_monitors_mean(case, started, tmp_path):
    values, right, wrongs = CASES[case]
    values = merged({"demo": True, "containerPort": free_port(), "web": {"probePort": free_port()}}, values)
    manifests = template(values)
    total = values.get("sharding", {}).get("total", 1)
    pods = [(manifests, started(Pod(manifests + SECRETS, tmp_path / f"pod-{number}", number=number))) for number in range(total)]
    for _, pod in pods:
        wait_until(lambda: pod.probe("readinessProbe").status == 200)

    jobs, reasons = [], {}
    for kind in ("serviceMonitor", "podMonitor"):
        jobs.append(job(f"{kind}-right", monitored(values, kind, right), pods, tmp_path))
        for name, (part, reason) in wrongs.items():
            jobs.append(job(f"{kind}-{name}", monitored(values, kind, part), pods, tmp_path))
            reasons[f"{kind}-{name}"] = reason
    prometheus = started(Prometheus({"scrape_configs": jobs}))
    targets = lambda: prometheus.targets()
    wait_until(lambda: targets() and all(each["health"] != "unknown" for each in targets()))

    for target in targets():
        wrong = target["scrapePool"] in reasons
        assert target["health"] == ("down" if wrong else "up"), (target["scrapePool"], target["lastError"])
        assert reasons.get(target["scrapePool"], "") in target["lastError"]
    # Every pod once in each job: by no other port, and by no other Service.
    addresses = sorted(f"{pod.ip}:{pod.port}" for _, pod in pods)
    for each in jobs:
        way = each["job_name"]
        up = wait_until(lambda: prometheus.query(f'up{{way="{way}"}}'))
        assert sorted(labels["instance"] for labels, _ in up) == addresses
        assert {labels["job"] for labels, _ in up} == {"iam-key-exporter"}
        assert {value for _, value in up} == {0.0 if way in reasons else 1.0}
        found = prometheus.query(f'aws_iam_access_key_violations{{way="{way}"}}')
        assert bool(found) == (way not in reasons)


@pytest.mark.parametrize("case", ["plain", "all"])
def test_probes_need_neither_certificate_nor_password_and_show_no_metrics(case, started, tmp_path):
    values = merged({"demo": True, "containerPort": free_port(), "web": {"probePort": free_port()}}, CASES[case][0])
    manifests = template(values)
    pod = started(Pod(manifests + SECRETS, tmp_path))
    wait_until(lambda: pod.probe("readinessProbe").status == 200)
    assert pod.probe("livenessProbe").status == 200
    if case == "all":
        assert request(f"http://{pod.ip}:{pod.ports['probes']}/metrics").status == 404
    assert request(f"http://{pod.ip}:{pod.ports.get('probes', pod.port)}/-/reload", method="POST", data=b"").status in (403, 404)
    # `helm test` asks the same port, by the name of the Service.
    (test,) = [each for each in manifests if each["kind"] == "Pod"]
    service = find(manifests, "Service")
    (port,) = [each for each in service["spec"]["ports"] if f":{each['port']}/" in test["spec"]["containers"][0]["args"][-1]]
    assert port["targetPort"] == ("probes" if case == "all" else "metrics")


def test_a_renewed_certificate_is_served_without_a_restart(started, tmp_path):
    values = merged({"demo": True, "containerPort": free_port(), "web": {"probePort": free_port()}}, TLS)
    manifests = template(values)
    pod = started(Pod(manifests + SECRETS, tmp_path / "pod"))
    before = job("before", monitored(values, "podMonitor", {}), [(manifests, pod)], tmp_path)
    after = job("after", monitored(values, "podMonitor", OTHER_CA), [(manifests, pod)], tmp_path)
    prometheus = started(Prometheus({"scrape_configs": [before, after]}))
    health = lambda: {each["scrapePool"]: each["health"] for each in prometheus.targets()}
    wait_until(lambda: health() == {"before": "up", "after": "down"})
    renewed = OTHERS.issue(SERVER)
    pod.update("web-tls", {name: renewed[name] for name in ("tls.crt", "tls.key")})
    # The other job keeps its connection, and with it the certificate that it saw.
    wait_until(lambda: health()["after"] == "up")
    assert pod.alive
