"""The Helm chart and the two Helms, for the tests of the chart."""

import contextlib
import copy
import os
import subprocess

import pytest
import yaml

from harness import ROOT

CHART = ROOT / "helm" / "iam-key-exporter"
CASES = sorted((CHART / "ci").glob("*-values.yaml"))
HELMS = ["helm3", "helm4"]


def case_name(path):
    return path.name.removesuffix("-values.yaml")


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=300, **options)


@contextlib.contextmanager
def helm_environment(home, kubeconfig=os.devnull):
    """An environment in which Helm does not use settings, plugins, caches and clusters of the developer."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("HELM_"):
                patch.delenv(name)
        for kind in ("CACHE", "CONFIG", "DATA"):
            patch.setenv(f"HELM_{kind}_HOME", str(home / kind.lower()))
        patch.setenv("KUBECONFIG", str(kubeconfig))
        yield


# libyaml if PyYAML was built with it: the pure Python loader takes seconds for the dashboards.
YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def objects(text):
    return [each for each in yaml.load_all(text, YamlLoader) if each]


def find(manifests, kind, name=None):
    found = [each for each in manifests if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    assert len(found) == 1, f"{kind}: {[each['metadata']['name'] for each in found]}"
    return found[0]


def workload(manifests):
    """The Deployment, or the StatefulSet of shards."""
    (found,) = [each for each in manifests if each["kind"] in ("Deployment", "StatefulSet")]
    return found


def merged(base, *others):
    """Helm's merge of values: maps are merged, everything else is replaced."""
    result = copy.deepcopy(base)
    for other in others:
        for key, value in other.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result
