"""A Kubernetes API server with its etcd: what a cluster is to Helm, but for what runs in it.

It defaults, validates and admits objects as any cluster does. There are no controllers and no kubelet: a Deployment has no
pods unless a test creates them (`create_pods`), and a namespace that is deleted does not end.
"""

import copy
import functools
import http.client
import json
import ssl
import subprocess

import yaml

from harness import PATIENCE, TOOLS, Server, free_port, request, wait_until

TOKEN = "the-token-of-the-tests"


class Refused(AssertionError):
    """The API server's answer to a request that it did not accept."""


class Cluster(Server):
    """`with Cluster() as cluster: cluster.get("/api/v1/namespaces")`."""

    def __init__(self):
        port = free_port()
        super().__init__([], port, name="kube-apiserver")
        self.url = f"https://127.0.0.1:{port}"
        directory = self.directory
        subprocess.run(["openssl", "genrsa", "-out", directory / "accounts.key"], check=True, capture_output=True)
        (directory / "tokens").write_text(f"{TOKEN},tests,tests\n")
        self.arguments = [
            str(TOOLS.bin("kube-apiserver")),
            str(directory),
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            # The server makes its certificate there, for the address above.
            f"--cert-dir={directory}",
            f"--token-auth-file={directory / 'tokens'}",
            "--authorization-mode=AlwaysAllow",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={directory / 'accounts.key'}",
            f"--service-account-signing-key-file={directory / 'accounts.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # Fairness between clients: there is one.
            "--enable-priority-and-fairness=false",
        ]

    def wait_ready(self):
        def ready():
            return not self.alive or request(self.url + "/readyz", context=self.context, headers=self.headers, timeout=5).status == 200

        wait_until(ready, what=f"{self.name} at {self.url}")
        if not self.alive:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log}")

    headers = {"Authorization": f"Bearer {TOKEN}"}

    @functools.cached_property
    def context(self):
        return ssl.create_default_context(cafile=self.directory / "apiserver.crt")

    @functools.cached_property
    def kubeconfig(self):
        """Path of the file that Helm needs."""
        file = self.directory / "kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.directory / "apiserver.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": TOKEN}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        file.write_text(yaml.safe_dump(config))
        return file

    # --- objects --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def connection(self):
        """One for all requests, of which there are hundreds."""
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=PATIENCE)

    def _request(self, method, path, body=None):
        headers = self.headers | {"Content-Type": "application/json"}
        self.connection.request(method, path, body=body and json.dumps(body), headers=headers)
        answer = self.connection.getresponse()
        content = json.loads(answer.read())
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} {path}: {answer.status} {content['message']}")
        return content

    def get(self, path):
        return self._request("GET", path)

    @functools.cached_property
    def resources(self):
        """Everything that can be listed in a namespace: `/apis/apps/v1`, `deployments`, `Deployment`."""
        groups = {each["preferredVersion"]["groupVersion"] for each in self.get("/apis")["groups"]}
        prefixes = ["/api/v1", *(f"/apis/{group}" for group in sorted(groups))]
        resources = [(prefix, each) for prefix in prefixes for each in self.get(prefix)["resources"]]
        return [(prefix, each["name"], each["kind"]) for prefix, each in resources if each["namespaced"] and "list" in each["verbs"]]

    def objects(self, namespace=None):
        """All objects of a namespace, or of all of them, with their kinds. Events, which expire, are left out."""
        for prefix, name, kind in self.resources:
            if kind == "Event":
                continue
            path = f"{prefix}/namespaces/{namespace}/{name}" if namespace else f"{prefix}/{name}"
            for each in self.get(path)["items"]:
                yield each | {"kind": kind}

    def find(self, kind, namespace, name):
        """An object, with what the API server added; None if there is none."""
        found = [each for each in self.objects(namespace) if each["kind"] == kind and each["metadata"]["name"] == name]
        return found[0] if found else None

    def create(self, manifest, namespace=None):
        """Creates an object, in a namespace if its kind has one."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural = kind.lower() + ("es" if kind.endswith("s") else "s")
        path = f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"
        return self._request("POST", path, manifest)

    def delete(self, path):
        return self._request("DELETE", path)

    def namespace(self, name):
        """Creates a namespace that enforces Pod Security's "restricted", with the service account that a controller creates."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, name)
        return name

    def install_crds(self, *kinds):
        """Custom resources, by their plural names: `servicemonitors`."""
        for kind in kinds:
            (file,) = [file for file in TOOLS.root.glob(f"*-crds/*_{kind}.yaml")]
            definition = yaml.safe_load(file.read_text())
            path = f"/apis/{definition['spec']['group']}/{definition['spec']['versions'][0]['name']}"
            self.create(definition)
            wait_until(lambda: "items" in self.get(f"{path}/{kind}"), what=f"the resource {kind}")

    # --- pods -----------------------------------------------------------------------------------------------------

    def create_pods(self, workload):
        """Creates the pods of a Deployment or StatefulSet, with names and labels as the controllers give them."""
        namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
        made = []
        for number in range(workload["spec"]["replicas"]):
            pod = copy.deepcopy(workload["spec"]["template"]) | {"apiVersion": "v1", "kind": "Pod"}
            if workload["kind"] == "Deployment":
                labels = {"pod-template-hash": "7c9d6fbb5f"}
                # The names of a ReplicaSet's pods are cut, so that the random part has a place.
                pod["metadata"]["name"] = f"{name}-7c9d6fbb5f-"[:58] + f"abcd{number}"
            else:
                pod["metadata"]["name"] = f"{name}-{number}"
                labels = {
                    "apps.kubernetes.io/pod-index": str(number),
                    "controller-revision-hash": f"{name}-7c9d6fbb5f",
                    "statefulset.kubernetes.io/pod-name": f"{name}-{number}",
                }
                pod["spec"] |= {"hostname": f"{name}-{number}", "subdomain": workload["spec"]["serviceName"]}
            pod["metadata"]["labels"] |= labels
            made.append(self.create(pod, namespace))
        return made

    def pods(self, namespace, labels):
        """Names of the pods that a selector selects."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        pods = self.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")["items"]
        return sorted(pod["metadata"]["name"] for pod in pods)

    def delete_pods(self, namespace):
        """At once: no kubelet confirms their end."""
        self.delete(f"/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0")
