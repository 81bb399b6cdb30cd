"""Runs the commands of the documentation.

A code block that a test runs has a name, in a comment above it that is not rendered:

    <!-- run: review-cli -->        a bash or python block, run unchanged
    <!-- file: plan.py -->          a block that the page asks to save under this name
    <!-- text: textbook -->         text that a test reads

A test declares with `@executes(...)` which blocks it runs. A `runner` fails a test that did not run exactly these, and
`executed` returns the blocks that the tests of a module run, for comparison with those of the page.
"""

import contextlib
import dataclasses
import datetime
import http.server
import json
import logging
import os
import pathlib
import re
import subprocess
import threading

import boto3
import pytest

from harness import ACCOUNT, DUMMY_AWS, ROOT, TOOLS, clean_environment, exporter_binary, request

FENCE = re.compile(r"^```(\w*)$")
NAME = re.compile(r"^<!-- (run|file|text): (\S+) -->$")


@dataclasses.dataclass(frozen=True)
class Block:
    path: pathlib.Path
    line: int
    language: str
    text: str
    kind: str | None
    name: str | None

    @property
    def where(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(*paths):
    """All code blocks of Markdown files."""
    found = []
    for path in paths:
        kind = name = language = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if language is not None:
                if line == "```":
                    found.append(Block(path, start, language, "".join(text), kind, name))
                    kind = name = language = None
                else:
                    text.append(line + "\n")
            elif line.lstrip().startswith("```"):
                fence = FENCE.match(line)
                assert fence, f"{path}:{number}: a fence starts at the beginning of its line and has a language only"
                language, start, text = fence[1], number, []
            elif match := NAME.match(line):
                kind, name = match.groups()
            elif line:
                assert name is None, f"{path}:{number}: no block follows the name {name}"
        assert language is None, f"{path}: the block of line {start} does not end"
    return found


def named(kind, *paths):
    """The blocks of a kind, by name."""
    found = {}
    for block in blocks(*paths):
        if block.kind == kind:
            assert block.name not in found, f"{block.where}: duplicate name {block.name}"
            found[block.name] = block
    return found


def executes(*names):
    """Marks a test with the blocks that it runs."""

    def mark(function):
        function.snippets = names
        return function

    return mark


def executed(module):
    """Names of all blocks that the tests of a module run."""
    return sorted({name for function in vars(module).values() for name in getattr(function, "snippets", ())})


class Runner:
    """Runs blocks in one directory, against one account, with the tools that a reader has: bash, aws, Python and the exporter."""

    def __init__(self, paths, directory, environment):
        self.blocks, self.files = named("run", *paths), named("file", *paths)
        self.directory = directory
        self.ran = set()
        commands = directory / ".bin"
        commands.mkdir()
        (commands / "aws").symlink_to(TOOLS.bin("aws"))
        (commands / "python3").symlink_to(TOOLS.bin("python"))
        with contextlib.suppress(FileNotFoundError):
            (commands / "iam-key-exporter").symlink_to(exporter_binary())
        self.environment = clean_environment() | environment
        self.environment["PATH"] = f"{commands}{os.pathsep}{self.environment['PATH']}"

    def save(self, name):
        """Saves a block under its name, as the page asks for."""
        (self.directory / name).write_text(self.files[name].text, encoding="utf-8")

    def __call__(self, name, replace=None, env=None, fails=False, code=None):
        """Runs a block and returns its output. `replace` holds the values that a reader changes; each must occur.

        With `fails` the block must fail, and its standard error is returned. `code` is the expected exit code.
        """
        block, self.ran = self.blocks[name], self.ran | {name}
        text = block.text
        for old, new in (replace or {}).items():
            assert old in text, f"{block.where}: nothing to replace: {old}"
            text = text.replace(old, new)
        program = {"bash": "bash", "python": TOOLS.bin("python")}[block.language]
        result = subprocess.run(
            [program, "-c", text],
            cwd=self.directory,
            env=self.environment | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        output = f"{block.where} ended with {result.returncode}\n{result.stdout}\n{result.stderr}"
        if code is not None:
            assert result.returncode == code, output
        else:
            assert (result.returncode != 0) == fails, output
        return result.stderr if fails else result.stdout


def runner(paths, directory, environment, function):
    """For a fixture: a Runner that requires exactly the blocks that the test declares."""
    run = Runner(paths, directory, environment)
    yield run
    declared = set(getattr(function, "snippets", ()))
    assert run.ran == declared, f"declared {declared}, ran {run.ran}"


def aws_environment(url):
    return DUMMY_AWS | {"AWS_ENDPOINT_URL": url}


class AgedMoto:
    """A moto server inside this process, so that a test can make its keys older: AWS's API has no way to do that."""

    def __init__(self):
        from moto.server import ThreadedMotoServer

        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def __enter__(self):
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs a line per request
        self.server.start()
        self.url = "http://{}:{}".format(*self.server.get_host_and_port())
        self.iam = self.client("iam")
        return self

    def __exit__(self, *_):
        self.server.stop()

    def client(self, service, **credentials):
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"} | credentials
        return boto3.client(service, region_name="us-east-1", endpoint_url=self.url, **keys)

    def reset(self):
        assert request(self.url + "/moto-api/reset", method="POST", data=b"").status == 200

    def key(self, user_name, created=0, used=None, status="Active"):
        """Creates a key with the given ages of creation and last use, in days; returns the API's answer."""
        from moto.iam.models import AccessKeyLastUsed, iam_backends

        answer = self.iam.create_access_key(UserName=user_name)["AccessKey"]
        if status != "Active":
            self.iam.update_access_key(UserName=user_name, AccessKeyId=answer["AccessKeyId"], Status=status)
        keys = iam_backends[ACCOUNT]["aws"].list_access_keys(user_name)
        (key,) = (key for key in keys if key.access_key_id == answer["AccessKeyId"])
        now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
        key.create_date = now - datetime.timedelta(days=created)
        if used is not None:
            key.last_used = AccessKeyLastUsed(now - datetime.timedelta(days=used), "s3", "eu-central-1")
        return answer

    def statuses(self, user_name):
        """The user's keys as the API returns them: ID to status."""
        keys = self.iam.list_access_keys(UserName=user_name)["AccessKeyMetadata"]
        return {key["AccessKeyId"]: key["Status"] for key in keys}


class FakeService:
    """A service that moto does not implement: records the requests, answers each with the same JSON.

    `errors` maps operations to the error codes that they are answered with.
    """

    def __init__(self, answer, errors=()):
        self.requests = []
        requests, errors = self.requests, dict(errors)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                requests.append((self.path, self.headers.get("X-Amz-Target"), json.loads(text)))
                error = errors.get((self.headers.get("X-Amz-Target") or "").rpartition(".")[2])
                body = json.dumps({"__type": error} if error else answer).encode()
                self.send_response(400 if error else 200)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def aged_moto_server():
    with AgedMoto() as moto:
        yield moto


@pytest.fixture
def account(aged_moto_server):
    """An empty account: an `AgedMoto`."""
    aged_moto_server.reset()
    return aged_moto_server


def broken_links(*paths):
    """Broken relative links of Markdown files, anchors included."""

    def anchors(path):
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        titles = re.findall(r"^#+ (.+)$", text, flags=re.M)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    broken = []
    for path in paths:
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for link in re.findall(r"\]\(\s*([^)\s]+)\s*\)", text):
            if "://" in link:
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    return broken


def bad_shell(*paths):
    """The errors that shellcheck finds in the bash blocks."""
    complaints = []
    for block in blocks(*paths):
        if block.language == "bash":
            command = [TOOLS.bin("shellcheck"), "--shell=bash", "--format=gcc", "-"]
            result = subprocess.run(command, input=block.text, capture_output=True, text=True, timeout=60)
            complaints += [f"{block.where}: {line}" for line in result.stdout.splitlines()]
    return complaints
