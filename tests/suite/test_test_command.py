"""`make test` itself: it cannot pass when a part of it fails, and its last line counts the tests.

scripts/test runs in an empty checkout with stand-ins for cargo and the tools, each of which can be told to fail.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

from harness import ROOT, path_without, wait_until

CARGO = """#!/bin/sh
echo "cargo $*" >>"$CALLS"
[ "$FAIL $1" != "cargo-fmt-while-tools-run fmt" ] || { until [ -s child ]; do sleep 0.01; done; exit 1; }
case "$FAIL" in
  cargo-"$1") echo "cargo: $1 went wrong"; echo "test result: FAILED. 2 passed; 1 failed; 0 ignored"; exit 101 ;;
esac
case "$*" in
  *--no-run*) ;;
  test*) echo "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
         echo "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s" ;;
esac
mkdir -p target/release
"""

TOOLS = """#!/bin/sh
[ "$1" = --bin ] && echo "$PWD/bin" && exit
echo "tools $*" >>"$CALLS"
[ "$FAIL" != tools ] || { echo "no network"; exit 1; }
[ "$FAIL" != cargo-fmt-while-tools-run ] || { sleep 600 & echo $! >child; wait; }
echo "tools: ready: $PWD/bin"
"""

DENY = """#!/bin/sh
echo "deny" >>"$CALLS"
[ "$FAIL" != deny ] || { echo "licenses FAILED"; exit 4; }
"""

PYTEST = """#!/bin/sh
echo "pytest $* with $IAM_KEY_EXPORTER_BIN" >>"$CALLS"
[ "$FAIL" != pytest ] || { echo "=== 2 failed, 8 passed, 1 error in 65.00s (0:01:05) ==="; exit 1; }
echo "=== 10 passed in 1.23s ==="
"""


@pytest.fixture
def checkout(tmp_path):
    for name, text in (
        ("path/cargo", CARGO),
        ("scripts/tools", TOOLS),
        ("scripts/deny", DENY),
        ("bin/pytest", PYTEST),
    ):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    shutil.copy2(ROOT / "scripts" / "test", tmp_path / "scripts" / "test")
    return tmp_path


def run(checkout, *arguments, fail=""):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CARGO")}
    environment |= {
        "PATH": f"{checkout / 'path'}:{os.environ['PATH']}",
        "CALLS": str(checkout / "calls"),
        "FAIL": fail,
    }
    result = subprocess.run(
        [checkout / "scripts" / "test", *arguments], capture_output=True, text=True, env=environment, timeout=60
    )
    calls = (checkout / "calls").read_text().splitlines()
    return result, calls


def test_everything_runs_and_is_counted(checkout):
    result, calls = run(checkout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "17 passed, 0 failed"
    assert sorted(calls) == sorted(
        [
            "tools ",
            "cargo fmt --check",
            "cargo clippy --all-targets --locked -- -D warnings",
            "cargo doc --locked --no-deps",
            "cargo test --locked --no-run",
            "cargo build --release --locked",
            "deny",
            "cargo test --locked --no-fail-fast",
            f"pytest tests/suite with {checkout}/target/release/iam-key-exporter",
        ]
    )


def test_the_closing_lines_of_the_test_runners_are_repeated_at_the_end(checkout):
    lines = run(checkout)[0].stdout.splitlines()[-4:]
    assert lines[0].startswith("test result: ok. 3 passed")
    assert lines[2] == "=== 10 passed in 1.23s ==="


@pytest.mark.parametrize(
    "fail, step, last",
    [
        ("cargo-fmt", "formatting", "2 passed, 1 failed"),
        ("cargo-clippy", "lints", "2 passed, 1 failed"),
        ("cargo-doc", "documentation of the code", "2 passed, 1 failed"),
        ("cargo-build", "release", "0 passed, 0 failed"),
        ("tools", "tools", "0 passed, 0 failed"),
        ("deny", "dependencies", "0 passed, 0 failed"),
        ("cargo-test", "compiling the tests", "2 passed, 1 failed"),
        ("pytest", "suite", "15 passed, 3 failed"),
    ],
)
def test_a_step_that_fails_fails_the_whole(checkout, fail, step, last):
    result, calls = run(checkout, fail=fail)
    assert result.returncode != 0
    assert f"==> FAILED: {step}" in result.stdout
    assert result.stdout.splitlines()[-1] == last
    assert fail == "pytest" or not any(call.startswith("pytest") for call in calls)


def test_tools_that_cannot_be_installed_are_shown(checkout):
    result, _ = run(checkout, fail="tools")
    assert "no network" in result.stdout


def test_nothing_goes_on_in_the_background_after_a_failure(checkout):
    result, _ = run(checkout, fail="cargo-fmt-while-tools-run")
    assert result.returncode != 0
    assert "==> FAILED: formatting" in result.stdout
    child = int((checkout / "child").read_text())
    wait_until(lambda: not running(child), what="the end of what the tools had started")


def running(pid):
    """Neither gone nor a zombie that waits for its parent."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_fast_part_needs_no_tools(checkout):
    result, calls = run(checkout, "--fast")
    assert result.returncode == 0
    assert calls == [
        "cargo fmt --check",
        "cargo clippy --all-targets --locked -- -D warnings",
        "cargo test --locked --lib",
    ]
    assert result.stdout.splitlines()[-1] == "7 passed, 0 failed"


def test_without_cargo_it_says_how_to_get_it(checkout, tmp_path):
    (checkout / "path" / "cargo").unlink()
    environment = {"PATH": path_without(checkout / "path", "cargo"), "HOME": str(tmp_path)}
    result = subprocess.run([checkout / "scripts" / "test"], capture_output=True, text=True, env=environment, timeout=60)
    assert result.returncode == 1
    assert "cargo is missing: install Rust" in result.stderr


@pytest.mark.parametrize("command", [["bash", ".ci/run"], ["make", "test"]])
def test_ci_and_make_run_it(checkout, command):
    (checkout / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci" / "run", checkout / ".ci" / "run")
    shutil.copy2(ROOT / "Makefile", checkout / "Makefile")
    (checkout / "scripts" / "test").write_text("#!/bin/sh\necho this one\n")
    # Under `make test` this make would be one within another, and say so.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "this one\n"
