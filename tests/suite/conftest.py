"""Fixtures of the suite. The classes behind them, and plain functions, are in harness.py."""

import contextlib
import os

import pytest

import harness
from harness import (  # noqa: F401  (for `from conftest import ...`)
    ACCOUNT,
    ROOT,
    TOOLS,
    Alertmanager,
    Exporter,
    Moto,
    Process,
    Prometheus,
    Samples,
    WebhookReceiver,
    clean_environment,
    exporter_binary,
    free_port,
    get_json,
    request,
    wait_until,
)


def pytest_configure():
    """The developer's AWS settings reach neither boto3 in this process nor a program that a test starts."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            del os.environ[name]
    os.environ.update(harness.DUMMY_AWS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks what needs a machine, an image or a cluster, before `-m` selects."""
    for item in items:
        if {"machine", "image", "cluster"} & set(item.fixturenames):
            item.add_marker("deploy")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the logs of the programs that ran during a failed test."""
    report = yield
    if report.failed:
        for process in Process.started:
            if process.alive or process in getattr(item, "started_processes", ()):
                lines = (process.log or getattr(process, "last_log", "")).splitlines()
                report.sections.append((f"log of {process.name} (pid {process.pid})", "\n".join(lines[-100:])))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Notes which programs a test starts, so that its report shows those that have ended meanwhile, too."""
    before = len(Process.started)
    item.started_processes = _Since(before)
    return (yield)


class _Since:
    """The processes started after a moment."""

    def __init__(self, index):
        self.index = index

    def __contains__(self, process):
        return process in Process.started[self.index :]


def pytest_sessionfinish():
    for process in Process.started:
        if process.alive:
            process.close()


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def tools():
    """`.bin(name)`: a binary that scripts/tools installs; `.path(relative)`: other things."""
    return TOOLS


@pytest.fixture(scope="session")
def binary():
    """The exporter under test."""
    return exporter_binary()


@pytest.fixture(scope="session", name="free_port")
def _free_port():
    """The function: `free_port()` is an unused port."""
    return free_port


@pytest.fixture(scope="session", name="wait_until")
def _wait_until():
    """The function: `wait_until(predicate, timeout)` polls."""
    return wait_until


@pytest.fixture(scope="session")
def _moto_server():
    with Moto() as moto:
        yield moto


@pytest.fixture
def moto(_moto_server):
    """An empty moto: `.url`, `.env` for programs, `.client(service)`, `.iam`, `.user(name, "Active", ...)`.

    The server is one for the whole run and emptied for each test; what a module wants to keep belongs in a `Moto()` of
    its own.
    """
    _moto_server.reset()
    return _moto_server


@pytest.fixture
def started():
    """Enters context managers; leaves them after the test: `exporter = started(Exporter(["--demo"]))`."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def start_process(started):
    """`start_process(arguments, env=..., cwd=...)` runs a program until the test is over."""
    return lambda arguments, **options: started(Process(arguments, **options))


@pytest.fixture
def start_exporter(started):
    """`start_exporter(arguments, env=...)`: an `Exporter` until the test is over."""
    return lambda arguments=(), env=None, **options: started(Exporter(arguments, env, **options))


@pytest.fixture
def start_prometheus(started):
    """`start_prometheus(config, rules, ...)`: a `Prometheus` until the test is over."""
    return lambda config, rules=(), **options: started(Prometheus(config, rules, **options))


@pytest.fixture
def start_alertmanager(started):
    """`start_alertmanager(config, ...)`: an `Alertmanager` until the test is over."""
    return lambda config, **options: started(Alertmanager(config, **options))


@pytest.fixture
def webhook(started):
    """A `WebhookReceiver`."""
    return started(WebhookReceiver())
