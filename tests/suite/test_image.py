"""The container image: built from the Dockerfile, inspected, and run by a container runtime."""

import http.server
import json
import os
import pathlib
import re
import shlex
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
from machine import need

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
    (image,) = re.findall(r"^ARG RUST_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.M)
    assert re.fullmatch(rf"docker\.io/library/rust:{re.escape(channel)}-alpine@sha256:[0-9a-f]{{64}}", image)


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
    assert size <= 17 * MEBIBYTE, size


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


# --- docs/docker.md -----------------------------------------------------------------------------------------------

PAGE = ROOT / "docs" / "docker.md"

# Named blocks that start no container.
WITHOUT_CONTAINER = {"numbers", "health", "reload"}
# Blocks without a name, by a word in each.
NOT_RUN = {
    "--env SSL_CERT_FILE": "the variable is tested above, with a server of that authority",
    "docker build": "buildah builds the same Dockerfile, see image.py",
}
# Options of `docker run` without an effect here: containers of these tests are always read-only and without capabilities.
SWITCHES = {"--detach", "--rm", "--read-only"}
SETTINGS = {"--name", "--publish", "--restart", "--cap-drop", "--security-opt"}


def docker_run(name):
    """A command of the page as arguments of `Container`: what follows the image, environment, mounts, user."""
    text = snippets.named("run", PAGE)[name].text.replace("\\\n", " ")
    given = {"environment": [], "mounts": {}, "user": None}
    words = iter(shlex.split(next(line for line in text.splitlines() if line.startswith("docker run "))))
    assert (next(words), next(words)) == ("docker", "run")
    for word in words:
        if word == f"{images.NAME}:{VERSION}":
            return list(words), given
        if word in SETTINGS:
            next(words)
        elif word == "--env":
            given["environment"].append(next(words))
        elif word == "--volume":
            source, target, mode = next(words).split(":")
            assert mode == "ro"
            given["mounts"][target] = source
        elif word == "--user":
            given["user"] = next(words)
        else:
            assert word in SWITCHES, f"{name}: {word}"
    raise AssertionError(f"{name}: no image")


@pytest.fixture
def listening():
    port = free_port()
    return f"--web.listen-address=127.0.0.1:{port}", f"http://127.0.0.1:{port}"


@pytest.fixture
def account(moto):
    """The environment of a shell with credentials for an account with one user in violation."""
    moto.user("bob", "Active", "Active")
    return {name: value for name, value in DUMMY_AWS.items() if name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")}


def readable(directory):
    """Makes a temporary directory accessible for the container's user."""
    for path in (directory, *directory.parents[:2]):
        path.chmod(0o755)
    return directory


@snippets.executes("demo")
def test_the_pages_demo(container, listening):
    arguments, given = docker_run("demo")
    assert given == {"environment": [], "mounts": {}, "user": None}
    container([*arguments, listening[0]])
    wait_until(lambda: 'rule="multiple_active_keys"' in request(listening[1] + "/metrics").body)


@snippets.executes("check")
def test_the_pages_check_with_the_shells_credentials(run, account, moto):
    arguments, given = docker_run("check")
    passed_on = {name: account[name] for name in given["environment"] if name in account}
    assert passed_on == account
    result = run(*arguments, environment=passed_on | {"AWS_ENDPOINT_URL": moto.url}, mounts=given["mounts"])
    assert result.returncode == 1 and "bob" in result.stdout, result.stderr


@snippets.executes("profile")
def test_the_pages_check_with_a_profile(run, account, moto, tmp_path):
    arguments, given = docker_run("profile")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[profile audit]\nregion=us-east-1\n")
    (tmp_path / ".aws" / "credentials").write_text("[audit]\naws_access_key_id=testing\naws_secret_access_key=testing\n")
    (tmp_path / ".aws" / "credentials").chmod(0o600)
    readable(tmp_path)
    assert given["user"] == "$(id -u):$(id -g)"
    mounts = {target: source.replace("$HOME", str(tmp_path)) for target, source in given["mounts"].items()}
    environment = dict(each.split("=") for each in given["environment"]) | {"AWS_ENDPOINT_URL": moto.url}
    result = run(*arguments, environment=environment, mounts=mounts, user=f"{os.getuid()}:{os.getgid()}")
    assert result.returncode == 1 and "bob" in result.stdout, result.stderr


@snippets.executes("serve")
def test_the_pages_service(container, account, moto, listening, tmp_path):
    arguments, given = docker_run("serve")
    config = readable(tmp_path) / "config.yaml"
    config.write_text(snippets.named("file", PAGE)["config.yaml"].text)
    mounts = {target: source.replace("$PWD", str(tmp_path)) for target, source in given["mounts"].items()}
    serving = container([*arguments, listening[0]], environment=account | {"AWS_ENDPOINT_URL": moto.url}, mounts=mounts)

    def known():
        return Samples.parse(request(listening[1] + "/metrics").body)

    wait_until(lambda: known().value("iam_key_exporter_account_up", account_id=ACCOUNT) == 1)
    assert known().value("aws_iam_users", status="rotating") == 1
    # In place: the mount is of the file, not of its directory.
    config.write_text(config.read_text().replace("24h", "0s"))
    serving.signal("HUP")
    wait_until(lambda: known().value("aws_iam_access_key_violations", rule="multiple_active_keys") == 1)


def test_every_command_of_the_page_is_run_or_there_is_a_reason():
    assert set(snippets.named("run", PAGE)) - WITHOUT_CONTAINER == set(snippets.executed(sys.modules[__name__]))
    unnamed = [block.text for block in snippets.blocks(PAGE) if block.language == "bash" and not block.name]
    assert len(unnamed) == len(NOT_RUN)
    for word in NOT_RUN:
        assert sum(word in text for text in unnamed) == 1, word
    assert snippets.bad_shell(PAGE) == []
    assert set(re.findall(re.escape(images.NAME) + r":([\w.]+)", PAGE.read_text())) == {VERSION}
