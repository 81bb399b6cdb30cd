"""The container image, built from the Dockerfile with buildah and run with runc: no Docker engine is needed.

The builder of a release is an Alpine image with Rust, which has to be pulled. Here it is this system itself: an empty image
to which buildah mounts this system's programs, Rust toolchain and downloaded crates. So the same Dockerfile compiles the
same sources with the same commands, but for glibc instead of musl. Dependencies that scripts/test compiled for the same target
and with the same flags are not compiled again.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile

from harness import ROOT, TOOLS
from machine import as_root, need

NAME = "ghcr.io/iam-key-exporter/iam-key-exporter"
HOST = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}[os.uname().machine]
BUILDER = """
FROM scratch
COPY . /
ENV PATH=/toolchain/bin:/usr/bin CARGO_HOME={cargo_home} CARGO_NET_OFFLINE=true
"""
CARGO_HOME = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def output(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], stdout=subprocess.PIPE, text=True, check=True, **options).stdout.strip()


class Buildah:
    """buildah with a store of its own, so that images of the system are neither seen nor left behind."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.command = [*as_root(), need("buildah"), "--root", str(self.directory / "store"), "--runroot", str(self.directory / "run")]
        self.command += ["--storage-driver", "vfs"]

    def __call__(self, *arguments):
        result = subprocess.run([*self.command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert result.returncode == 0, f"buildah {' '.join(map(str, arguments))}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
        return result.stdout.strip()

    def build(self, context, *arguments):
        return self("build", "--isolation=chroot", "--format=docker", *arguments, context)

    def builder(self):
        """The image in which this system compiles."""
        with tempfile.TemporaryDirectory() as directory:
            base = pathlib.Path(directory)
            for name in ("bin", "sbin", "lib", "lib64"):
                if pathlib.Path("/" + name).is_symlink():
                    (base / name).symlink_to("usr/" + name)
            for name in ("etc", "tmp", "usr"):
                (base / name).mkdir()
            with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as file:
                file.write(BUILDER.format(cargo_home=CARGO_HOME))
                file.flush()
                self.build(base, "--file", file.name, "--tag", "localhost/builder")

    def target(self):
        """Cargo's directory for the build: a copy, by links, of what is compiled already."""
        target = self.directory / "target"
        output(*as_root(), "rm", "-rf", target)
        for part in ("release", f"{HOST}/release"):
            (target / part).mkdir(parents=True)
            for name in ("deps", "build", ".fingerprint"):
                # cargo writes into the small files of the other two.
                how = ["--archive", "--link"] if name == "deps" else ["--archive"]
                if (TARGET / part / name).is_dir():
                    output("cp", *how, TARGET / part / name, target / part)
        return target

    def exporter(self, version, revision):
        """Builds the exporter's image."""
        self.builder()
        toolchain = output("rustc", "--print", "sysroot", cwd=ROOT)
        # Fetched here, because a registry may only be reached with this system's settings.
        output("cargo", "fetch", "--locked", cwd=ROOT)
        target = self.target()
        volumes = ["/usr:/usr:ro", "/etc/ssl:/etc/ssl:ro", "/etc/alternatives:/etc/alternatives:ro"]
        volumes += [f"{toolchain}:/toolchain:ro", f"{target}:/build/target"]
        # At their own paths, which build scripts have recorded.
        volumes += [f"{file.resolve()}:{file}" for file in (CARGO_HOME / "registry", CARGO_HOME / "config.toml") if file.exists()]
        arguments = {
            "RUST_IMAGE": "localhost/builder",
            "CARGO_BUILD_TARGET": HOST,
            "RUSTFLAGS": output(ROOT / "scripts" / "build", "--flags"),
            "VERSION": version,
            "REVISION": revision,
        }
        self.build(
            ROOT,
            "--layers",
            "--file=Dockerfile",
            f"--tag={NAME}:{version}",
            *(f"--volume={volume}" for volume in volumes),
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
        )
        return Image(self, f"{NAME}:{version}")


class Image:
    def __init__(self, buildah, name):
        self.buildah, self.name = buildah, name
        inspected = json.loads(buildah("inspect", "--type=image", name))
        self.docker = inspected["Docker"]
        self.config = inspected["Docker"]["config"]

    def unpack(self, directory):
        """The image's files, with their owners."""
        container = self.buildah("from", "--pull-never", self.name)
        try:
            mounted = self.buildah("mount", container)
            output(*as_root(), "cp", "--archive", mounted + "/.", directory)
        finally:
            self.buildah("rm", container)
        return pathlib.Path(directory)


class Container:
    """A container as Docker and Kubernetes run it: by runc, with the image's user and command, read-only, and without
    capabilities. It shares this system's network."""

    count = 0

    def __init__(self, image, root, arguments=(), *, environment=None, mounts=None, entrypoint=None, user=None):
        Container.count += 1
        self.name = f"iam-key-exporter-test-{os.getpid()}-{Container.count}"
        self.bundle = pathlib.Path(tempfile.mkdtemp(prefix="container-"))
        self.runc = [*as_root(), need("runc"), "--root", str(self.bundle / "state")]
        output(need("runc"), "spec", "--bundle", self.bundle)
        file = self.bundle / "config.json"
        spec = json.loads(file.read_text())
        user, group = map(int, (user or image.config["User"]).split(":"))
        process = spec["process"]
        process |= {"terminal": False, "user": {"uid": user, "gid": group}, "capabilities": {}, "noNewPrivileges": True}
        process["args"] = [*(entrypoint or image.config["Entrypoint"]), *(arguments or image.config["Cmd"])]
        process["env"] = image.config["Env"] + [f"{name}={value}" for name, value in (environment or {}).items()]
        spec["root"] = {"path": str(root), "readonly": True}
        spec["mounts"] += [
            {"source": str(source), "destination": target, "type": "bind", "options": ["bind", "ro"]} for target, source in (mounts or {}).items()
        ]
        spec["linux"]["namespaces"] = [kind for kind in spec["linux"]["namespaces"] if kind["type"] != "network"]
        # Where the tests run there may be no control groups to be had; none is needed.
        spec["linux"].pop("resources", None)
        file.write_text(json.dumps(spec))

    def run(self, timeout=120):
        """Runs to the end."""
        try:
            command = [*self.runc, "run", "--bundle", str(self.bundle), self.name]
            return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout)
        finally:
            self.remove()

    def __enter__(self):
        with open(self.bundle / "log", "wb") as log:
            command = [*self.runc, "run", "--bundle", str(self.bundle), self.name]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    @property
    def log(self):
        return (self.bundle / "log").read_text(errors="replace")

    @property
    def pid(self):
        """The number of the container's process, seen from here."""
        return json.loads(output(*self.runc, "state", self.name))["pid"]

    def execute(self, *command):
        """As `docker exec` and Docker's health check do."""
        return subprocess.run([*self.runc, "exec", self.name, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)

    def signal(self, name):
        output(*self.runc, "kill", self.name, name)

    def wait(self, timeout=60):
        return self.process.wait(timeout)

    def __exit__(self, *_):
        if self.process.poll() is None:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.signal("KILL")
            self.process.wait(60)
        self.remove()

    def remove(self):
        subprocess.run([*self.runc, "delete", "--force", self.name], capture_output=True)
        subprocess.run([*as_root(), "rm", "-rf", str(self.bundle)], check=False)


def store():
    """Directory of the images: links to what cargo compiled need the same file system."""
    return TARGET / "image"
