"""The exporter's container as the chart renders it, run as a process."""

import base64
import re

from harness import Process, Samples, exporter_binary, request
from helm import workload


class Pod(Process):
    """The exporter's container: its arguments, its environment only, its volumes, an IP address of the loopback network.

    `contents` are the files of volumes that are in no ConfigMap or Secret of the manifests, by the volume's name.
    """

    def __init__(self, manifests, directory, contents=None, environment=None, command=None, number=0):
        pod = workload(manifests)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        self.root, self.container = directory, container
        self.ip = f"127.0.0.{number + 1}"
        mounts = {}
        for mount in container["volumeMounts"]:
            mounts[mount["mountPath"]] = directory / mount["name"]
            mounts[mount["mountPath"]].mkdir(parents=True)
        for volume in pod["volumes"]:
            data = (contents or {}).get(volume["name"])
            if data is None:
                data = self._data(volume, manifests)
            # What a file of a configuration names is a mounted one, too.
            self.update(volume["name"], {name: self._mounted(text, mounts) for name, text in data.items()})
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        self.port, self.ports = ports["metrics"], ports
        self.url = f"http://{self.ip}:{self.port}"
        arguments = [self._mounted(argument, mounts) for argument in container["args"]]
        # Several pods listen on the same port of this machine.
        arguments = [re.sub(r"^(--web\.(?:listen|probe)-address=)(?=:)", rf"\g<1>{self.ip}", argument) for argument in arguments]
        if command:
            arguments[0] = command
        super().__init__([exporter_binary(), *arguments])
        given = {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}
        for each in container.get("env", []):
            if each.get("valueFrom", {}).get("fieldRef") == {"fieldPath": "metadata.name"}:
                given[each["name"]] = f"{workload(manifests)['metadata']['name']}-{number}"
        self.environment = given | (environment or {})

    @staticmethod
    def _data(volume, manifests):
        """The files of a volume, if its ConfigMap or Secret is among the manifests."""
        name = volume.get("configMap", {}).get("name")
        if name is not None:
            found = [each["data"] for each in manifests if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", name)]
            return found[0] if found else {}
        if "secret" not in volume:
            return {}
        name = volume["secret"]["secretName"]
        secret = next((each for each in manifests if (each["kind"], each["metadata"]["name"]) == ("Secret", name)), None)
        if secret is None:
            return {}
        data = {name: base64.b64decode(value).decode() for name, value in secret.get("data", {}).items()}
        data |= secret.get("stringData", {})
        items = volume["secret"].get("items", [{"key": name, "path": name} for name in data])
        return {item["path"]: data[item["key"]] for item in items}

    @staticmethod
    def _mounted(text, mounts):
        for path, directory in mounts.items():
            text = text.replace(path + "/", f"{directory}/")
        return text

    def update(self, volume, files):
        """Replaces the files of a volume at once, as a kubelet does: by a link to a directory."""
        folder = self.root / volume
        if not folder.exists():
            return
        data = folder / f"..{len(list(folder.iterdir()))}"
        data.mkdir()
        for name, text in files.items():
            (data / name).write_text(text)
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(f"..data/{name}")
        (folder / "..new").symlink_to(data.name)
        (folder / "..new").rename(folder / "..data")

    def probe(self, name):
        """The kubelet's request for `livenessProbe` or `readinessProbe`."""
        target = self.container[name]["httpGet"]
        return request(f"http://{self.ip}:{self.ports[target['port']]}{target['path']}", timeout=5)

    def wait_ready(self):
        if self.arguments[1] == "serve":
            target = self.container["livenessProbe"]["httpGet"]
            self.wait_url(f"http://{self.ip}:{self.ports[target['port']]}{target['path']}")

    def metrics(self):
        answer = request(self.url + "/metrics")
        assert answer.status == 200
        return Samples.parse(answer.body)
