"""Shared parts of the test suite: processes, and clients for the servers that they start.

Every class here that starts a server is a context manager: on entry the server answers, on exit it is gone. Its log is
shown with a test that fails. `conftest.py` wraps the common ones in fixtures; a module that wants one server for all its
tests writes a module-scoped fixture around the class.
"""

import collections
import contextlib
import functools
import gzip
import http.server
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Long enough for a slow, busy machine: it limits a failing test, no passing test waits for it.
PATIENCE = 60.0

# moto's default account, and credentials that no server verifies.
ACCOUNT = "123456789012"
DUMMY_AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Without this the SDKs request credentials from the instance metadata service when they find none elsewhere.
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_PAGER": "",
}


# --- tools and the exporter's binary ------------------------------------------------------------------------------


class Tools:
    """The tools that `scripts/tools` installs."""

    @functools.cached_property
    def root(self):
        """Directory of everything: `bin`, schemas, CRDs."""
        script = ROOT / "scripts" / "tools"
        return pathlib.Path(subprocess.check_output([script, "--root"], text=True).strip())

    def bin(self, name):
        """Path of a binary."""
        return self._existing(self.root / "bin" / name)

    def path(self, relative):
        """Path of anything else, such as `kubernetes-schemas`."""
        return self._existing(self.root / relative)

    @staticmethod
    def _existing(path):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run scripts/tools")
        return path


TOOLS = Tools()


def exporter_binary():
    """The exporter under test: $IAM_KEY_EXPORTER_BIN, else the release build, else the debug build."""
    chosen = os.environ.get("IAM_KEY_EXPORTER_BIN")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    candidates = [pathlib.Path(chosen)] if chosen else [target / kind / "iam-key-exporter" for kind in ("release", "debug")]
    for candidate in candidates:
        if candidate.exists():
            return candidate.resolve()
    raise FileNotFoundError(f"no exporter at {' or '.join(map(str, candidates))}: run `cargo build --release`")


def clean_environment():
    """This process's environment without the developer's AWS settings and the exporter's flags, with dummy credentials."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "IAM_KEY_EXPORTER_"))}
    return kept | DUMMY_AWS | {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def path_without(directory, *commands):
    """A $PATH like this process's, except that it lacks some commands; `directory` is filled with links."""
    for folder in os.get_exec_path():
        for command in os.listdir(folder) if os.path.isdir(folder) else ():
            link = directory / command
            if command not in commands and not link.is_symlink():
                link.symlink_to(os.path.join(folder, command))
    return str(directory)


# --- waiting, ports, HTTP -----------------------------------------------------------------------------------------


# Below the ports that the kernel gives to clients, each once, and from a start that differs between processes: two test
# runs, or two workers of one, do not get the same port between its choice here and its use by a server.
_PORTS = itertools.cycle(range(20000, 32000))
for _ in range(os.getpid() * 37 % 12000):
    next(_PORTS)


def free_port():
    """A TCP port of the loopback address on which no server listens."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(predicate, timeout=PATIENCE, what=None):
    """Polls until `predicate()` is true, and returns its value. Exceptions mean "not yet"; the last one is shown."""
    deadline = time.monotonic() + timeout
    pause, problem, value = 0.01, None, None
    while True:
        try:
            value, problem = predicate(), None
            if value:
                return value
        except Exception as error:  # whatever the predicate trips over while a server is still starting
            problem = error
        if time.monotonic() >= deadline:
            subject = what or getattr(predicate, "__name__", "the condition")
            raise AssertionError(f"waited {timeout:g} s in vain for {subject}; last seen: {problem or value!r}") from problem
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


Response = collections.namedtuple("Response", "status headers body")


def request(url, *, method=None, headers=None, data=None, timeout=PATIENCE, context=None):
    """One HTTP request. Every status is an answer; only a connection that fails raises. gzip is undone, `body` is text."""
    if isinstance(data, (dict, list)):
        data, headers = json.dumps(data).encode(), {"Content-Type": "application/json"} | (headers or {})
    message = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    handlers = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(message, timeout=timeout) as answer:
            status, answer_headers, body = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        status, answer_headers, body = answer.code, answer.headers, answer.read()
    if answer_headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    return Response(status, answer_headers, body.decode())


def get_json(url, **parameters):
    """The JSON that a GET of `url` answers; anything but 2xx raises."""
    if parameters:
        url += "?" + urllib.parse.urlencode(parameters, doseq=True)
    answer = request(url)
    if not 200 <= answer.status < 300:
        raise AssertionError(f"{url}: {answer.status} {answer.body}")
    return json.loads(answer.body)


# --- processes ----------------------------------------------------------------------------------------------------


class Process:
    """A program that runs beside the test. Its output goes to a log that failing tests show."""

    started = []  # all of this test run, for the logs of failing tests

    def __init__(self, arguments, *, env=None, cwd=None, name=None):
        self.arguments = [str(argument) for argument in arguments]
        self.name = name or pathlib.Path(self.arguments[0]).name
        self.environment = clean_environment() | {key: str(value) for key, value in (env or {}).items()}
        self.cwd = cwd
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.process = None

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.arguments, env=self.environment, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        Process.started.append(self)
        return self

    def __enter__(self):
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def wait_ready(self):
        """Returns when the program serves; a program without a server is ready at once."""

    def wait_url(self, url, status=200):
        """Returns when `url` answers `status`; raises at once if the program has ended."""

        def answers():
            if not self.alive:
                return True
            return request(url, timeout=5).status == status

        wait_until(answers, what=f"{self.name} at {url}")
        if not self.alive:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log}")

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    @property
    def returncode(self):
        """Exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    @property
    def log(self):
        """All output so far."""
        log = self.directory / "log"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE):
        """Waits for the end; returns the exit code."""
        return self.process.wait(timeout)

    def terminate(self, timeout=PATIENCE):
        """SIGTERM, then waits; returns the exit code."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        """SIGKILL: ends the program without a shutdown."""
        if self.alive:
            self.process.kill()
        return self.process.wait(PATIENCE)

    def close(self):
        """Ends the program and removes its files. The log is kept in memory for the report."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.terminate(10)
            self.kill()
        self.last_log = self.log
        shutil.rmtree(self.directory, ignore_errors=True)


class Server(Process):
    """A program that listens on a port of its own."""

    def __init__(self, arguments, port, **options):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(arguments, **options)


class Exporter(Server):
    """`iam-key-exporter serve` with the given further arguments.

    `Exporter(["--demo"])`, or `Exporter(env=moto.env)` to check a moto server. It is entered when the port answers, not
    when the first check is done: see `wait_checked`.
    """

    def __init__(self, arguments=(), env=None, *, binary=None, port=None, **options):
        port = port or free_port()
        command = [binary or exporter_binary(), "serve", f"--web.listen-address=127.0.0.1:{port}", *arguments]
        super().__init__(command, port, env=env, **options)

    def wait_ready(self):
        self.wait_url(self.url + "/-/healthy")

    def wait_checked(self):
        """Returns after the first complete check."""
        self.wait_url(self.url + "/-/ready")
        return self

    def get(self, path="/metrics", headers=None, **options):
        return request(self.url + path, headers=headers, **options)

    def post(self, path, **options):
        return request(self.url + path, method="POST", **options)

    def metrics(self):
        """The samples of one scrape."""
        answer = self.get("/metrics")
        if answer.status != 200:
            raise AssertionError(f"/metrics: {answer.status} {answer.body}")
        return Samples.parse(answer.body)


class Moto(Server):
    """A moto server: an independent implementation of AWS's APIs."""

    def __init__(self, **options):
        port = free_port()
        super().__init__([TOOLS.bin("moto_server"), "-H", "127.0.0.1", "-p", port], port, name="moto", **options)
        self.env = DUMMY_AWS | {"AWS_ENDPOINT_URL": self.url}

    def wait_ready(self):
        self.wait_url(self.url + "/moto-api/data.json")

    def reset(self):
        """Deletes all data in every account."""
        answer = request(self.url + "/moto-api/reset", method="POST", data=b"")
        if answer.status != 200:
            raise AssertionError(f"moto: {answer.status} {answer.body}")

    def client(self, service, *, account=None, region="us-east-1"):
        """A boto3 client of moto's default account, or of another account, given by its ID."""
        import boto3  # here: most tests need no AWS, and it takes half a second

        credentials = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        if account is not None:
            role = {"RoleArn": f"arn:aws:iam::{account}:role/test", "RoleSessionName": "test"}
            assumed = self.client("sts").assume_role(**role)["Credentials"]
            credentials = {
                "aws_access_key_id": assumed["AccessKeyId"],
                "aws_secret_access_key": assumed["SecretAccessKey"],
                "aws_session_token": assumed["SessionToken"],
            }
        return boto3.client(service, region_name=region, endpoint_url=self.url, **credentials)

    @property
    def iam(self):
        return self.client("iam")

    def user(self, name, *keys, client=None, **options):
        """Creates a user with access keys of the given statuses ("Active", "Inactive"); returns the keys' IDs."""
        iam = client or self.iam
        iam.create_user(UserName=name, **options)
        ids = []
        for status in keys:
            key = iam.create_access_key(UserName=name)["AccessKey"]["AccessKeyId"]
            if status != "Active":
                iam.update_access_key(UserName=name, AccessKeyId=key, Status=status)
            ids.append(key)
        return ids


class Prometheus(Server):
    """A Prometheus with the given configuration (a dictionary as in prometheus.yml) and rule files.

    `version` is a suffix of the tool's name: "" for the newest, "2.42" for the oldest that is supported.
    """

    def __init__(self, config, rules=(), arguments=(), *, version="", port=None, **options):
        port = port or free_port()
        binary = TOOLS.bin(f"prometheus-{version}" if version else "prometheus")
        self.config = dict(config)
        if rules:
            self.config["rule_files"] = [str(pathlib.Path(rule).resolve()) for rule in rules]
        super().__init__([], port, name="prometheus", **options)
        self.arguments = [
            str(binary),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            *map(str, arguments),
        ]
        self.write_config()

    @staticmethod
    def scrape(job, *targets, interval="1s", **options):
        """A scrape configuration; targets are servers of this module, or `host:port`."""
        addresses = [f"127.0.0.1:{target.port}" if isinstance(target, Server) else target for target in targets]
        return {
            "job_name": job,
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "static_configs": [{"targets": addresses}],
        } | options

    def write_config(self):
        """Writes `self.config`, as JSON, which is YAML too."""
        (self.directory / "prometheus.yml").write_text(json.dumps(self.config, indent=2), encoding="utf-8")

    def reload(self):
        """Reloads a changed `self.config` and changed rule files."""
        self.write_config()
        answer = request(self.url + "/-/reload", method="POST", data=b"")
        if answer.status != 200:
            raise AssertionError(f"reload: {answer.status} {answer.body}")

    def wait_ready(self):
        self.wait_url(self.url + "/-/ready")

    def api(self, path, **parameters):
        """`data` of an answer of the HTTP API; `path` is what follows /api/v1/."""
        return get_json(f"{self.url}/api/v1/{path}", **parameters)["data"]

    def query(self, expression, **parameters):
        """An instant query: a list of (labels, value). A scalar is one sample without labels."""
        data = self.api("query", query=expression, **parameters)
        if data["resultType"] in ("scalar", "string"):
            return [({}, float(data["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def query_range(self, expression, start, end, step):
        """A range query: a list of (labels, [(time, value), ...])."""
        data = self.api("query_range", query=expression, start=start, end=end, step=step)
        return [(series["metric"], [(at, float(value)) for at, value in series["values"]]) for series in data["result"]]

    def targets(self):
        return self.api("targets")["activeTargets"]

    def alerts(self):
        return self.api("alerts")["alerts"]

    def rules(self):
        """All rules of all groups."""
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]


class Alertmanager(Server):
    """An Alertmanager with a configuration: a dictionary, or the path of a file (which `reload` reads again)."""

    def __init__(self, config, arguments=(), *, version="", port=None, **options):
        port = port or free_port()
        super().__init__([], port, name="alertmanager", **options)
        if isinstance(config, dict):
            file = self.directory / "alertmanager.yml"
            file.write_text(json.dumps(config, indent=2), encoding="utf-8")
        else:
            file = pathlib.Path(config).resolve()
        self.arguments = [
            str(TOOLS.bin(f"alertmanager-{version}" if version else "alertmanager")),
            f"--config.file={file}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            # Empty: no cluster, so nothing listens on other addresses.
            "--cluster.listen-address=",
            *map(str, arguments),
        ]

    def wait_ready(self):
        self.wait_url(self.url + "/-/ready")

    def reload(self):
        answer = request(self.url + "/-/reload", method="POST", data=b"")
        if answer.status != 200:
            raise AssertionError(f"reload: {answer.status} {answer.body}")

    def alerts(self, **parameters):
        return get_json(self.url + "/api/v2/alerts", **parameters)

    def groups(self):
        return get_json(self.url + "/api/v2/alerts/groups")

    def post_alerts(self, alerts):
        """Sends alerts as Prometheus would: a list of {"labels": ..., "annotations": ..., "endsAt": ...}."""
        answer = request(self.url + "/api/v2/alerts", data=alerts)
        if answer.status != 200:
            raise AssertionError(f"alerts: {answer.status} {answer.body}")


Post = collections.namedtuple("Post", "path headers body at")


class WebhookReceiver:
    """Records POST requests, in order, in `posts`. `body` is parsed if it is JSON."""

    def __init__(self, port=0):
        self.posts = []
        posts = self.posts

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode(errors="replace")
                with contextlib.suppress(json.JSONDecodeError):
                    body = json.loads(body)
                posts.append(Post(self.path, dict(self.headers), body, time.time()))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def wait(self, count, timeout=PATIENCE):
        """Waits for `count` posts in all; returns them."""
        wait_until(lambda: len(self.posts) >= count, timeout, f"{count} posts")
        return list(self.posts)


# --- samples ------------------------------------------------------------------------------------------------------


class Samples(dict):
    """Samples of Prometheus' text format: `name{label="value",...}`, labels in alphabetical order, to the value."""

    _LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$")
    _LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"(?:,|$)')
    _ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

    @classmethod
    def parse(cls, text):
        samples = cls()
        for line in text.split("\n"):
            if not line or line.startswith("#"):
                continue
            match = cls._LINE.match(line)
            if match is None:
                raise AssertionError(f"not a sample: {line!r}")
            name, labels, value = match.groups()
            key = cls.key(name, cls._labels(labels or ""))
            if key in samples:
                raise AssertionError(f"twice: {key}")
            samples[key] = float(value)
        return samples

    @classmethod
    def _labels(cls, text):
        labels, at = {}, 0
        while at < len(text):
            match = cls._LABEL.match(text, at)
            if match is None:
                raise AssertionError(f"not labels: {text!r}")
            labels[match[1]] = re.sub(r"\\.", lambda escape: cls._ESCAPES[escape[0]], match[2])
            at = match.end()
        return labels

    @staticmethod
    def key(name, labels):
        def quote(value):
            return '"' + value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"'

        inner = ",".join(f"{label}={quote(value)}" for label, value in sorted(labels.items()))
        return f"{name}{{{inner}}}" if inner else name

    def select(self, name, **labels):
        """All samples of a metric that carry these labels: a list of (labels, value)."""
        found = []
        for key, value in self.items():
            key_name, _, inner = key.partition("{")
            if key_name == name:
                own = self._labels(inner.removesuffix("}"))
                if labels.items() <= own.items():
                    found.append((own, value))
        return found

    def value(self, name, **labels):
        """The one sample that `select` finds; none or several are an error."""
        found = self.select(name, **labels)
        if len(found) != 1:
            raise AssertionError(f"{self.key(name, labels)}: {len(found)} samples, not one: {found}")
        return found[0][1]

    def names(self):
        """Names of all metrics."""
        return {key.partition("{")[0] for key in self}
