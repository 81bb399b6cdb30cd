"""The Helm chart against a Kubernetes API server: what it installs is admitted, and every change of values can be upgraded to.

The API server enforces what no schema contains: fields that cannot change, and Pod Security. Its namespaces here enforce
the standard "restricted". No controller runs (see cluster.py), so a test creates the pods of a workload.

Upgrades begin with the released charts in chart/releases, packed because a clone may lack the history that they are in:
`git archive COMMIT helm alerts dashboards | tar --extract --directory DIRECTORY`, then `helm package`. Each release adds its own.
"""

import itertools
import json

import pytest
import yaml

from cluster import Cluster, Refused
from harness import TOOLS
from helm import CASES, CHART, HELMS, case_name, find, helm_environment, objects, run, workload

RELEASES = sorted((CHART.parents[1] / "tests" / "suite" / "chart" / "releases").glob("*.tgz"))
# What the values of the cases refer to, and the cluster has.
PREREQUISITES = [
    {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "monitoring"}, "value": 1000},
    {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"},
]
# Of the cases, beside the release's own.
NAMESPACES = ["security", "monitoring", "grafana"]
# From one to the other, and what Helm 3 installed upgraded by Helm 4.
PAIRS = [("helm3", "helm3"), ("helm4", "helm4"), ("helm3", "helm4")]
MONITORED = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}},
    "networkPolicy": {"enabled": True},
}
EVERY_OBJECT = MONITORED | {
    "prometheusRule": {"enabled": True},
    "dashboards": {"configMaps": {"enabled": True}, "grafanaOperator": {"enabled": True}},
}
ORGANIZATION = {"config": {"organization": {"role_name": "iam-key-exporter"}}}
numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster() as cluster, helm_environment(tmp_path_factory.mktemp("helm"), cluster.kubeconfig):
        cluster.install_crds("servicemonitors", "podmonitors", "prometheusrules", "grafanadashboards")
        for each in PREREQUISITES:
            cluster.create(each)
        for name in NAMESPACES:
            cluster.namespace(name)
        yield cluster


class Release:
    """A release in a namespace of its own."""

    def __init__(self, cluster, helm, name="keys"):
        self.cluster, self.helm, self.name = cluster, helm, name
        self.namespace = cluster.namespace(f"test-{next(numbers)}")
        self.manifests = self.hooks = []

    def _helm(self, *arguments, **options):
        return run(TOOLS.bin(self.helm), *arguments, "--namespace", self.namespace, **options)

    def upgrade(self, values, *options, chart=CHART):
        """`helm upgrade --install`; afterwards the cluster holds the objects of the manifest and no others of the release."""
        command = ["upgrade", "--install", self.name, chart, "--values=-", "--output=json", *options]
        result = self._helm(*command, input=json.dumps(values, default=str))
        assert result.returncode == 0, result.stderr
        self._installed(json.loads(result.stdout))
        return self

    def rollback(self):
        """To the revision before this one."""
        result = self._helm("rollback", self.name)
        assert result.returncode == 0, result.stderr
        result = self._helm("get", "manifest", self.name)
        self._installed({"manifest": result.stdout, "hooks": []})

    def _installed(self, release):
        self.manifests = objects(release["manifest"])
        self.hooks = [each for hook in release.get("hooks", []) for each in objects(hook["manifest"])]
        wanted = {(each["kind"], each["metadata"].get("namespace", self.namespace), each["metadata"]["name"]) for each in self.manifests}
        assert self.owned() == wanted

    def owned(self):
        """Kind, namespace and name of every object that Helm has noted as the release's."""
        note = {"meta.helm.sh/release-name": self.name, "meta.helm.sh/release-namespace": self.namespace}
        return {
            (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
            for each in self.cluster.objects()
            if note.items() <= each["metadata"].get("annotations", {}).items()
        }

    def refuses(self, values, chart=CHART):
        """The error of an upgrade that has to fail."""
        result = self._helm("upgrade", self.name, chart, "--values=-", input=json.dumps(values, default=str))
        assert result.returncode != 0, result.stdout
        return result.stderr

    def uninstall(self):
        """Afterwards nothing of the release is left, Helm's own records included."""
        result = self._helm("uninstall", self.name)
        assert result.returncode == 0, result.stderr
        assert self.owned() == set()

    def everything(self):
        """Kinds and names of all objects in its namespace."""
        return {(each["kind"], each["metadata"]["name"]) for each in self.cluster.objects(self.namespace)}

    def stored(self, kind, name=None):
        """An object of the manifest as the API server has it."""
        wanted = find(self.manifests, kind, name)["metadata"]
        return self.cluster.find(kind, wanted.get("namespace", self.namespace), wanted["name"])

    def uid(self, kind, name=None):
        return self.stored(kind, name)["metadata"]["uid"]

    @property
    def workload(self):
        return self.stored(workload(self.manifests)["kind"])

    @property
    def checksum(self):
        return self.workload["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    def admits_its_pods(self):
        """Creates the pods of the workload and of `helm test`, and deletes them."""
        self.cluster.create_pods(self.workload)
        for hook in self.hooks:
            self.cluster.create(hook, hook["metadata"]["namespace"])
        self.cluster.delete_pods(self.workload["metadata"]["namespace"])


def shards(total):
    return MONITORED | ORGANIZATION | {"sharding": {"total": total}, "podDisruptionBudget": {"enabled": True}}


# --- installing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=case_name)
@pytest.mark.parametrize("helm", HELMS)
def test_each_case_is_installed_and_uninstalled(cluster, helm, case):
    values = yaml.safe_load(case.read_text())
    release = Release(cluster, helm)
    account = values.get("serviceAccount", {})
    if account.get("create") is False:
        cluster.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account["name"]}}, release.namespace)
    before = release.everything()
    release.upgrade(values)
    release.admits_its_pods()
    release.uninstall()
    assert release.everything() == before


def test_a_pod_that_violates_the_standard_is_not_admitted(cluster):
    release = Release(cluster, "helm4").upgrade({"securityContext": {"allowPrivilegeEscalation": True}})
    with pytest.raises(Refused, match='violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'):
        release.admits_its_pods()


@pytest.mark.parametrize("helm", HELMS)
def test_a_changed_secret_with_the_configuration_replaces_the_pods(cluster, helm):
    """The chart reads the Secret, which it cannot without a cluster."""
    release = Release(cluster, helm)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": {"config.yaml": "demo: {}"}}
    values = {"existingConfigSecret": {"name": "mine"}}
    # A Secret that is created later is waited for by the pods, not by Helm.
    sums = [release.upgrade(values).checksum]
    cluster.create(secret, release.namespace)
    sums.append(release.upgrade(values).checksum)
    cluster.delete(f"/api/v1/namespaces/{release.namespace}/secrets/mine")
    cluster.create(secret | {"stringData": {"config.yaml": "check: { interval: 1m }"}}, release.namespace)
    sums += [release.upgrade(values).checksum, release.upgrade(values).checksum]
    assert len(set(sums)) == 3 and sums[2] == sums[3]
    wrong = {"existingConfigSecret": {"name": "mine", "key": "other.yaml"}}
    assert 'existingConfigSecret: the Secret "mine" has no key "other.yaml"' in release.refuses(wrong)


# --- upgrades -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", RELEASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("before, after", PAIRS, ids=map("-".join, PAIRS))
def test_a_released_chart_is_upgraded_and_rolled_back(cluster, before, after, old):
    release = Release(cluster, before).upgrade(EVERY_OBJECT, chart=old)
    kept = {kind: release.uid(kind) for kind in ("Deployment", "Service", "ServiceMonitor", "NetworkPolicy")}
    release.helm = after
    release.upgrade(EVERY_OBJECT)
    release.admits_its_pods()
    assert {kind: release.uid(kind) for kind in kept} == kept, "replaced instead of changed"
    release.rollback()
    assert {kind: release.uid(kind) for kind in kept} == kept
    release.uninstall()


@pytest.mark.parametrize("old", RELEASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("option", ["--reuse-values", "--reset-then-reuse-values"])
@pytest.mark.parametrize("helm", HELMS)
def test_the_values_of_a_release_are_reused(cluster, helm, option, old):
    """With --reuse-values the chart's new values do not exist, not even their defaults."""
    release = Release(cluster, helm).upgrade(MONITORED | {"containerPort": 9100}, chart=old)
    release.upgrade({"podLabels": {"a": "b"}}, option)
    pod = release.workload["spec"]["template"]
    assert (pod["metadata"]["labels"]["a"], pod["spec"]["containers"][0]["ports"][0]["containerPort"]) == ("b", 9100)
    assert release.stored("ServiceMonitor")
    release.upgrade(ORGANIZATION | {"sharding": {"total": 2}}, option)
    assert release.workload["spec"]["replicas"] == 2


@pytest.mark.parametrize("old", RELEASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("before, after", PAIRS, ids=map("-".join, PAIRS))
def test_sharding_is_switched_on_and_off(cluster, before, after, old):
    """From a released chart without shards, to this one with 3, 5 and 2 of them, and back to one pod."""
    release = Release(cluster, before).upgrade(MONITORED, chart=old)
    service = release.stored("Service")
    (single,) = cluster.create_pods(release.workload)
    release.helm = after

    release.upgrade(shards(3))
    names = [f"keys-iam-key-exporter-{number}" for number in range(3)]
    assert sorted(pod["metadata"]["name"] for pod in cluster.create_pods(release.workload)) == names
    # The Deployment's pod is still there: the StatefulSet does not take it for its own, and both are scraped.
    assert cluster.find("Deployment", release.namespace, "keys-iam-key-exporter") is None
    assert cluster.pods(release.namespace, release.workload["spec"]["selector"]["matchLabels"]) == names
    for selector in (
        release.stored("Service", "keys-iam-key-exporter")["spec"]["selector"],
        release.stored("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        release.stored("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert cluster.pods(release.namespace, selector) == sorted([single["metadata"]["name"], *names])
    assert release.stored("Service", "keys-iam-key-exporter-shards")["spec"]["clusterIP"] == "None"
    cluster.delete_pods(release.namespace)
    release.rollback()
    assert release.workload["kind"] == "Deployment"

    release.upgrade(shards(3))
    stateful = release.uid("StatefulSet")
    for total in (5, 2):
        release.upgrade(shards(total))
        assert release.uid("StatefulSet") == stateful, "replaced instead of changed"
        assert release.workload["spec"]["replicas"] == total
        assert f"--total-shards={total}" in release.workload["spec"]["template"]["spec"]["containers"][0]["args"]
        release.admits_its_pods()
    release.rollback()
    assert release.workload["spec"]["replicas"] == 5

    release.upgrade(MONITORED | ORGANIZATION)
    release.admits_its_pods()
    assert cluster.find("StatefulSet", release.namespace, "keys-iam-key-exporter") is None
    # Its address is that of the beginning: clients that resolved it go on.
    kept = release.stored("Service")
    for path in (("metadata", "uid"), ("spec", "clusterIP")):
        assert kept[path[0]][path[1]] == service[path[0]][path[1]]
    release.uninstall()


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [MONITORED, shards(2)], ids=["deployment", "shards"])
@pytest.mark.parametrize("helm", HELMS)
def test_names_change(cluster, helm, values):
    """Objects of the old name go, because `Release.upgrade` finds those of the new name and no others."""
    release = Release(cluster, helm)
    for names in ({}, {"nameOverride": "iam-keys"}, {"fullnameOverride": "other"}, {"nameOverride": "iam-keys", "fullnameOverride": "third"}):
        release.upgrade(values | names)
    release.admits_its_pods()
    release.uninstall()


@pytest.mark.parametrize("values", [{}, shards(2)], ids=["deployment", "shards"])
@pytest.mark.parametrize("helm", HELMS)
def test_a_name_that_cannot_change_is_refused_before_anything_is_changed(cluster, helm, values):
    """The name is in the selector, and the release's name makes the full name the same."""
    release = Release(cluster, helm, "iam-keys-exporter").upgrade(values | {"nameOverride": "iam-keys"})
    before = release.workload
    error = release.refuses(values | {"nameOverride": "keys"})
    kind = before["kind"]
    assert f'nameOverride: the {kind} "iam-keys-exporter" selects its pods by the name "iam-keys", which cannot be changed; keep' in error
    assert release.workload == before
    release.upgrade(values | {"nameOverride": "keys", "fullnameOverride": "other"})
    # A new name is no obstacle to switching to the other kind.
    release.upgrade((shards(2) if kind == "Deployment" else {}) | {"nameOverride": "iam-keys", "fullnameOverride": "other"})
    release.uninstall()


def test_the_api_server_refuses_such_a_name(cluster):
    """Otherwise the test above would prove nothing: the released chart does not look before."""
    release = Release(cluster, "helm4", "iam-keys-exporter").upgrade({"nameOverride": "iam-keys"}, chart=RELEASES[0])
    assert "field is immutable" in release.refuses({"nameOverride": "keys"}, chart=RELEASES[0])


@pytest.mark.parametrize("values", [MONITORED, shards(2)], ids=["deployment", "shards"])
@pytest.mark.parametrize("helm", HELMS)
def test_the_longest_names(cluster, helm, values):
    """Of a release: 53 characters; of an object: 63, less what a controller appends."""
    release = Release(cluster, helm, "r" * 53).upgrade(values)
    release.admits_its_pods()
    release.upgrade(values | {"fullnameOverride": "n" * 63})
    release.admits_its_pods()
    release.uninstall()
