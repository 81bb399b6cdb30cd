"""The container image: built from the Dockerfile, inspected, and run by a container runtime."""

import http.server
import json
import os
import pathlib
import re
import ssl
import stat
import subprocess
import sys
import threading
import tomllib

import pytest

import image as images
import snippets
from harness import ACCOUNT, DUMMY_AWS, ROOT, TOOLS, Samples, free_port, request, wait_until
from machine import Machine, as_root, need

MEBIBYTE = 1024 * 1024
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
REVISION = "0123456789abcdef"


@pytest.fixture(scope="module")
def image():
    return images.Buildah(images.store()).exporter(VERSION, REVISION)


@pytest.fixture(scope="module")
def root(image, tmp_path_factory):
    """The image's files."""
    directory = tmp_path_factory.mktemp("image")
    # The directories above belong to another user than the container's.
    for parent in (directory, *directory.parents[:2]):
        parent.chmod(0o755)
    return image.unpack(directory)


@pytest.fixture
def container(image, root, started):
    return lambda arguments=(), **options: started(images.Container(image, root, arguments, **options))


@pytest.fixture
def run(image, root):
    return lambda *arguments, **options: images.Container(image, root, arguments, **options).run()


# --- the Dockerfile -----------------------------------------------------------------------------------------------


def test_hadolint_finds_no_errors():
    result = subprocess.run([TOOLS.bin("hadolint"), "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_the_builder_is_alpine_with_the_projects_version_of_rust():
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    assert re.findall(r"^ARG RUST_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.M) == [f"docker.io/library/rust:{channel}-alpine"]


def test_the_context_holds_what_the_dockerfile_copies_and_nothing_else():
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), flags=re.M))
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), flags=re.M)
    assert {name for line in copies for name in line.split()} == allowed
    assert "\n*\n" in (ROOT / ".dockerignore").read_text()


# --- the image ----------------------------------------------------------------------------------------------------


def test_the_image_is_a_program_and_certificates_and_nothing_else(root):
    # The runtime creates its own mount points when a container first runs.
    files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    assert files - {"etc/resolv.conf"} == {"iam-key-exporter", "etc/ssl/certs/ca-certificates.crt"}
    for path in root.rglob("*"):
        mode = path.stat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH), path
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert size <= 14 * MEBIBYTE, size


def test_the_program_is_static(root):
    described = subprocess.check_output(["readelf", "--program-headers", "--dynamic", root / "iam-key-exporter"], text=True)
    assert "INTERP" not in described and "NEEDED" not in described


def test_the_image_has_descriptive_labels(image):
    labels = image.config["Labels"]
    prefix = "org.opencontainers.image."
    wanted = {"title", "description", "url", "source", "documentation", "licenses", "version", "revision"}
    assert {name.removeprefix(prefix) for name in labels if name.startswith(prefix)} == wanted
    assert labels[prefix + "version"] == VERSION
    assert labels[prefix + "revision"] == REVISION
    assert labels[prefix + "licenses"] == tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["license"]
    assert labels[prefix + "source"] == "https://github.com/iam-key-exporter/iam-key-exporter"
    documentation = labels[prefix + "documentation"].removeprefix("https://github.com/iam-key-exporter/iam-key-exporter/blob/main/")
    assert (ROOT / documentation).is_file()


def test_the_image_runs_as_an_unprivileged_user_and_serves_by_default(image):
    assert image.config["User"] == "65534:65534"
    assert image.config["Entrypoint"] == ["/iam-key-exporter"]
    assert image.config["Cmd"] == ["serve"]
    assert list(image.config["ExposedPorts"]) == ["19674/tcp"]
    assert image.config["Healthcheck"]["Test"] == ["CMD", "/iam-key-exporter", "healthcheck"]
    assert image.docker["architecture"] == {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


# --- containers ---------------------------------------------------------------------------------------------------


def test_it_prints_its_version(run):
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"iam-key-exporter {VERSION}\n"), result.stderr


def test_there_is_no_shell(image, root):
    result = images.Container(image, root, ["-c", "true"], entrypoint=["/bin/sh"]).run()
    assert result.returncode != 0
    assert "no such file or directory" in result.stderr


def test_it_serves_as_an_unprivileged_user_on_a_read_only_root(container):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serving = container(["serve", "--demo", f"--web.listen-address=127.0.0.1:{port}"])
    wait_until(lambda: request(url + "/-/ready").status == 200)
    known = Samples.parse(request(url + "/metrics").body)
    assert known.value("aws_iam_user_active_access_keys", user_name="mallory") == 2
    assert known.value("iam_key_exporter_build_info", version=VERSION, revision=REVISION) == 1
    # Also without the files of an ordinary system.
    assert known.value("process_start_time_seconds") > 1e9

    process = pathlib.Path(f"/proc/{serving.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
    assert status["CapEff"] == status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1"
    options = next(line.split()[5] for line in (process / "mountinfo").read_text().splitlines() if line.split()[4] == "/")
    assert "ro" in options.split(",")

    healthcheck = ["/iam-key-exporter", "healthcheck", "--url", url + "/-/healthy"]
    assert serving.execute(*healthcheck).returncode == 0
    assert serving.execute("/iam-key-exporter", "healthcheck", "--url", f"http://127.0.0.1:{free_port()}/-/healthy").returncode == 1
    # `docker stop`.
    serving.signal("TERM")
    assert serving.wait() == 0, serving.log


# --- TLS ----------------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority, and an HTTPS proxy of an HTTP server with a certificate of that authority."""

    def __init__(self, directory):
        self.certificate = directory / "ca.pem"
        key, request_file, leaf_key, leaf = (directory / name for name in ("ca.key", "leaf.csr", "leaf.key", "leaf.pem"))

        def openssl(*arguments):
            subprocess.run([need("openssl"), *map(str, arguments)], check=True, capture_output=True)

        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
        openssl(*new, "-x509", "-days", 2, "-subj", "/CN=Test authority", "-keyout", key, "-out", self.certificate)
        openssl(*new, "-subj", "/CN=localhost", "-keyout", leaf_key, "-out", request_file)
        extensions = directory / "extensions"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        signing = ["-CA", self.certificate, "-CAkey", key, "-CAcreateserial", "-extfile", extensions]
        openssl("x509", "-req", "-days", 2, "-in", request_file, *signing, "-out", leaf)
        self.certificate.chmod(0o644)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(leaf, leaf_key)


class Front:
    """Forwards requests to moto, with HTTPS."""

    def __init__(self, authority, moto):
        self.requests = 0
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                front.requests += 1
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
                answer = request(moto.url + self.path, method="POST", data=body, headers=headers | {"Accept-Encoding": "identity"})
                text = answer.body.encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "text/xml"))
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                """A client that rejects the certificate closes the connection during the handshake."""

            def finish_request(self, connection, address):
                # Here instead of where connections are accepted: a failed handshake must not end the server.
                super().finish_request(authority.context.wrap_socket(connection, server_side=True), address)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"https://localhost:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    directory = tmp_path_factory.mktemp("authority")
    for parent in (directory, *directory.parents[:2]):
        parent.chmod(0o755)
    return Authority(directory)


@pytest.fixture
def front(authority, moto, started):
    moto.user("bob", "Active", "Active")
    return started(Front(authority, moto))


def environment(front):
    kept = {name: value for name, value in DUMMY_AWS.items() if value != os.devnull}
    return kept | {"AWS_ENDPOINT_URL": front.url}


HOSTS = {"/etc/hosts": "/etc/hosts"}  # Docker and Kubernetes put one there, too.


def test_it_trusts_the_authorities_of_the_image(run, root, authority, front, tmp_path):
    """The image's own file of authorities plus one more, as in a derived image."""
    bundle = tmp_path / "ca-certificates.crt"
    own = (root / "etc/ssl/certs/ca-certificates.crt").read_text()
    assert own.count("BEGIN CERTIFICATE") > 100
    bundle.write_text(own + authority.certificate.read_text())
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    result = run(
        "check", "--output=json", environment=environment(front), mounts=HOSTS | {"/etc/ssl/certs/ca-certificates.crt": bundle}
    )
    assert result.returncode == 1, result.stderr
    assert "bob" in result.stdout
    assert front.requests > 0


def test_it_refuses_a_server_of_an_unknown_authority(run, front):
    result = run("check", environment=environment(front), mounts=HOSTS)
    assert result.returncode == 3, result.stdout
    assert re.search("certificate|UnknownIssuer", result.stderr), result.stderr
    assert front.requests == 0


def test_an_authority_can_be_given_in_a_file_of_its_own(run, authority, front):
    """As documented in docs/docker.md: the file replaces all other authorities."""
    given = {"SSL_CERT_FILE": "/ca.pem"}
    result = run("check", environment=environment(front) | given, mounts=HOSTS | {"/ca.pem": authority.certificate})
    assert result.returncode == 1, result.stderr
    assert front.requests > 0


def test_a_name_that_is_not_in_the_certificate_is_rejected(run, authority, front, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost elsewhere\n")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    other = environment(front) | {"SSL_CERT_FILE": "/ca.pem", "AWS_ENDPOINT_URL": front.url.replace("localhost", "elsewhere")}
    result = run("check", environment=other, mounts={"/etc/hosts": hosts, "/ca.pem": authority.certificate})
    assert result.returncode == 3, result.stdout
    assert front.requests == 0


# --- docs/docker.md, run ------------------------------------------------------------------------------------------

PAGE = ROOT / "docs" / "docker.md"

# Blocks for bash that no test here runs, by a word of them, and the reason.
NOT_RUN = {
    "--env SSL_CERT_FILE": "the variable is tested above, with a server of that authority",
    "docker build": "buildah builds the same Dockerfile, see image.py",
}


@pytest.fixture(scope="module")
def machine(image, root):
    with Machine() as machine:
        # The machine's /tmp is its own.
        machine.run("mkdir -p /srv/image /root/work")
        unpack = f"nsenter --target {machine.pid} --mount --root tar --extract --file - --directory /srv/image"
        subprocess.run([*as_root(), "sh", "-c", f"tar --create --file - --directory {root} . | {unpack}"], check=True)
        described = {"name": f"{images.NAME}:{VERSION}", "root": "/srv/image", "config": image.config}
        command = f"exec {TOOLS.bin('python')} {ROOT}/tests/suite/docker_stand_in.py /srv/image.json"
        machine.run(
            f"cat >/srv/image.json <<'END'\n{json.dumps(described)}\nEND\n"
            f"printf '#!/bin/sh\\n{command} \"$@\"\\n' >/usr/local/bin/docker; chmod 755 /usr/local/bin/docker"
        )
        for name, block in snippets.named("file", PAGE).items():
            machine.run(f"cat >/root/work/{name} <<'END-OF-FILE'\n{block.text}END-OF-FILE\n")
        machine.run(f"systemd-run --quiet --unit=moto --setenv=PATH {TOOLS.bin('moto_server')} --host 127.0.0.1 --port 5000")
        wait_until(lambda: machine.run("curl --silent --fail http://127.0.0.1:5000/moto-api/", check=False).returncode == 0, what="moto")
        for arguments in ("create-user", "create-access-key", "create-access-key"):
            machine.run(f"{TOOLS.bin('aws')} iam {arguments} --user-name bob", environment=AWS | {"AWS_DEFAULT_REGION": "us-east-1"})
        yield machine


AWS = {"AWS_ENDPOINT_URL": "http://127.0.0.1:5000"} | {
    name: value for name, value in DUMMY_AWS.items() if name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
}
# The endpoint is the only difference from a real account.
ENDPOINT = ("docker run ", "docker run --env AWS_ENDPOINT_URL=http://127.0.0.1:5000 ")


@pytest.fixture
def follow(machine, request):
    """Runs a block of the page; each test declares its blocks."""
    blocks, ran = snippets.named("run", PAGE), set()

    def follow(name, replace=("", ""), **options):
        ran.add(name)
        assert replace[0] in blocks[name].text
        return machine.run("cd /root/work\n" + (blocks[name].text.replace(*replace) if replace[0] else blocks[name].text), **options)

    yield follow
    assert ran == set(request.function.snippets)


@snippets.executes("demo", "numbers", "health")
def test_the_page_shows_the_demo(machine, follow):
    follow("demo")
    wait_until(lambda: "multiple_active_keys" in follow("numbers").stdout)
    follow("health")
    assert machine.run("curl --silent http://127.0.0.1:19674/", check=False).returncode != 0


@snippets.executes("check", "profile")
def test_the_page_checks_an_account_once(machine, follow):
    result = follow("check", ENDPOINT, check=False, environment=AWS)
    assert result.returncode == 1 and "bob" in result.stdout, result.stderr
    machine.run(
        "mkdir -p /root/.aws; printf '[profile audit]\\nregion=us-east-1\\n' >/root/.aws/config\n"
        "printf '[audit]\\naws_access_key_id=testing\\naws_secret_access_key=testing\\n' >/root/.aws/credentials"
    )
    result = follow("profile", ENDPOINT, check=False)
    assert result.returncode == 1 and "bob" in result.stdout, result.stderr


@snippets.executes("serve", "reload")
def test_the_page_keeps_checking(machine, follow):
    given = "".join(f"--env {name}={value} " for name, value in AWS.items())
    follow("serve", ("docker run ", f"docker run {given}"))

    def known():
        return Samples.parse(machine.get(19674))

    wait_until(lambda: known().value("iam_key_exporter_account_up", account_id=ACCOUNT) == 1)
    assert known().value("aws_iam_users", status="rotating") == 1
    machine.run("sed 's/24h/0s/' /root/work/config.yaml >/root/work/new && cat /root/work/new >/root/work/config.yaml")
    assert "check succeeded" in follow("reload").stdout
    wait_until(lambda: known().value("aws_iam_access_key_violations", rule="multiple_active_keys") == 1)
    machine.run("docker rm --force iam-key-exporter")


def test_every_command_of_the_page_is_run_or_there_is_a_reason():
    assert sorted(snippets.named("run", PAGE)) == snippets.executed(sys.modules[__name__])
    unnamed = [block.text for block in snippets.blocks(PAGE) if block.language == "bash" and not block.name]
    assert len(unnamed) == len(NOT_RUN)
    for word in NOT_RUN:
        assert sum(word in text for text in unnamed) == 1, word
    assert snippets.bad_shell(PAGE) == []
    assert set(re.findall(re.escape(images.NAME) + r":([\w.]+)", PAGE.read_text())) == {VERSION}
