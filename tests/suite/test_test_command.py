"""`make test` itself: it cannot pass when a part of it fails, no failure hides another, and its last line counts.

scripts/test runs in an empty checkout with stand-ins for cargo and the tools, each of which can be made to fail.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import ROOT, wait_until

CARGO = """#!/bin/sh
echo "cargo $*" >>"$CALLS"
[ "$FAIL $1" != "interrupted clippy" ] || { echo $$ >foreground; exec sleep 600; }
case "$FAIL" in
  cargo-"$1") echo "cargo: $1 went wrong"; echo "test result: FAILED. 2 passed; 1 failed; 0 ignored"; exit 101 ;;
esac
case "$*" in
  *--no-run*) ;;
  test*) echo "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"
         echo "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s" ;;
esac
"""

TOOLS = """#!/bin/sh
[ "$1" = --bin ] && echo "$PWD/bin" && exit
echo "tools $*" >>"$CALLS"
[ "$FAIL" != tools ] || { echo "no network"; exit 1; }
[ "$FAIL $#" != "some-tools 0" ] || { echo "one of them"; exit 1; }
[ "$FAIL $#" != "interrupted 0" ] || { sleep 600 & echo $! >child; wait; }
echo "tools: ready: $PWD/bin"
"""

PREREQUISITES = """#!/bin/sh
echo "prerequisites $*" >>"$CALLS"
[ "$FAIL" != prerequisites ] || { echo "buildah is missing"; exit 1; }
"""

CRATES = """#!/bin/sh
echo "crates $*" >>"$CALLS"
[ "$FAIL" != crates-cache ] || { echo "no space left"; exit 1; }
"""

DENY = """#!/bin/sh
echo "deny" >>"$CALLS"
[ "$FAIL" != deny ] || { echo "licenses FAILED"; exit 4; }
"""

PYTEST = """#!/bin/sh
echo "pytest $* with ${IAM_KEY_EXPORTER_BIN-nothing}" >>"$CALLS"
case "$FAIL $*" in
  "pytest "*"not deploy"*) echo "=== 2 failed, 8 passed, 1 error in 65.00s (0:01:05) ==="; exit 1 ;;
  "static "*"-m static") echo "=== 1 failed, 9 passed in 65.00s (0:01:05) ==="; exit 1 ;;
  "crash "*"-m deploy"*) echo "segmentation fault"; exit 139 ;;
esac
echo "=== 10 passed in 1.23s ==="
"""


@pytest.fixture
def checkout(tmp_path):
    for name, text in (
        ("path/cargo", CARGO),
        ("scripts/tools", TOOLS),
        ("scripts/prerequisites", PREREQUISITES),
        ("scripts/crates", CRATES),
        ("path/rustc", "#!/bin/sh\necho 'host: this-machine'\n"),
        ("scripts/deny", DENY),
        ("bin/pytest", PYTEST),
    ):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    for name in ("test", "build"):
        shutil.copy2(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    return tmp_path


def environment(checkout, fail=""):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO", "IAM_KEY_EXPORTER"))}
    return kept | {"PATH": f"{checkout / 'path'}:{os.environ['PATH']}", "CALLS": str(checkout / "calls"), "FAIL": fail}


def run(checkout, *arguments, fail=""):
    command = [checkout / "scripts" / "test", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment(checkout, fail), timeout=60)
    calls = (checkout / "calls").read_text().splitlines()
    return result, calls


def table(result):
    """The closing lines: what became of each step."""
    lines = result.stdout.partition("\n==> steps")[2].splitlines()
    rows = [re.fullmatch(r" *(\d+|-) s  (.*?)  +(.+)", line) for line in lines]
    return {row[2]: row[3] for row in rows if row}


CLIPPY = "cargo clippy --all-targets --locked -- -D warnings"


def test_everything_runs_cheap_steps_first_and_is_counted(checkout):
    result, calls = run(checkout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "37 passed, 0 failed"
    binary = f"{checkout}/target/this-machine/release/iam-key-exporter"
    foreground = [
        "prerequisites ",
        "cargo fetch --locked",
        "crates restore",
        "cargo fmt --check",
        "tools python actionlint",
        "pytest tests/suite/test_repository.py tests/suite/test_workflows.py -m static with nothing",
        CLIPPY,
        "cargo doc --locked --no-deps",
        "cargo test --locked --no-run",
        "cargo test --locked --no-fail-fast",
        "crates keep",
        "deny",
        f"pytest tests/suite -m not static and not deploy -n 2 --dist loadfile --durations=10 with {binary}",
        f"pytest tests/suite -m deploy --durations=10 with {binary}",
    ]
    assert [call for call in calls if call in foreground] == foreground
    assert sorted(set(calls) - set(foreground)) == ["cargo build --release --locked", "cargo fetch --quiet --locked", "tools "]


def test_the_closing_lines_name_every_step_and_its_time(checkout):
    result, _ = run(checkout)
    steps = table(result)
    assert steps["Rust tests"] == "ok, 7 passed, 0 failed"
    assert steps["suite"] == "ok, 10 passed, 0 failed"
    assert steps["formatting"] == "ok"
    assert len(steps) == 14
    assert re.search(r"^ *\d+ s  in all$", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "fail, step, others, last",
    [
        ("cargo-fmt", "formatting", [], "39 passed, 1 failed"),
        ("static", "static checks", [], "36 passed, 1 failed"),
        ("cargo-clippy", "lints", [], "39 passed, 1 failed"),
        ("cargo-doc", "documentation of the code", [], "39 passed, 1 failed"),
        ("cargo-test", "compiling the tests", ["Rust tests"], "32 passed, 2 failed"),
        ("cargo-build", "release", ["suite", "deployment"], "19 passed, 3 failed"),
        ("some-tools", "tools", ["dependencies", "suite", "deployment"], "17 passed, 4 failed"),
        ("deny", "dependencies", [], "37 passed, 1 failed"),
        ("pytest", "suite", [], "35 passed, 3 failed"),
        ("crash", "deployment", [], "27 passed, 1 failed"),
    ],
)
def test_a_step_that_fails_fails_the_whole_and_hides_no_other(checkout, fail, step, others, last):
    result, _ = run(checkout, fail=fail)
    assert result.returncode == 1
    assert f"==> FAILED: {step}\n" in result.stdout
    steps = table(result)
    assert steps[step].startswith("FAILED")
    for other in others:
        assert re.match(r"not run \(needs: .+\), 0 passed, 1 failed$", steps[other]), steps
    assert all(state.startswith("ok") for name, state in steps.items() if name not in [step, *others]), steps
    assert result.stdout.splitlines()[-1] == last


def test_nothing_is_compiled_if_a_prerequisite_is_missing(checkout):
    result, calls = run(checkout, fail="prerequisites")
    assert result.returncode == 1
    assert calls == ["prerequisites "]
    assert "buildah is missing" in result.stdout
    assert result.stdout.splitlines()[-1] == "0 passed, 14 failed"


def test_tools_that_cannot_be_installed_are_shown(checkout):
    result, _ = run(checkout, fail="some-tools")
    assert "one of them" in result.stdout


def test_a_cache_of_crates_that_fails_costs_time_only(checkout):
    result, _ = run(checkout, fail="crates-cache")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "37 passed, 0 failed")


def test_an_interrupted_run_fails_and_ends_what_it_started(checkout):
    process = subprocess.Popen([checkout / "scripts" / "test"], stdout=subprocess.PIPE, text=True, env=environment(checkout, "interrupted"))
    files = [checkout / "child", checkout / "foreground"]
    wait_until(lambda: all(file.exists() and file.read_text().strip() for file in files), what="a step in the background and one in the foreground")
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert re.search(r"- s  tools +interrupted", output), output
    assert re.fullmatch(r"\d+ passed, [1-9]\d* failed", output.splitlines()[-1])
    for file in files:
        wait_until(lambda: not running(int(file.read_text())), what=f"the end of the {file.name} process")


def running(pid):
    """Neither gone nor a zombie that waits for its parent."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_fast_part_needs_no_tools(checkout):
    result, calls = run(checkout, "--fast")
    assert result.returncode == 0
    assert calls == ["prerequisites --fast", "cargo fmt --check", CLIPPY, "cargo test --locked --lib"]
    assert result.stdout.splitlines()[-1] == "7 passed, 0 failed"


def test_the_deployment_tests_run_alone(checkout):
    result, calls = run(checkout, "--deploy")
    assert result.returncode == 0
    tools = "tools prometheus python helm3 helm4 kube-apiserver crds-prometheus-operator crds-grafana-operator"
    build = ["cargo fetch --quiet --locked", "cargo build --release --locked"]
    assert calls[1:6] == [tools, "cargo fetch --locked", "crates restore", *build]
    assert calls[6].startswith("pytest tests/suite -m deploy with ")
    assert result.stdout.splitlines()[-1] == "10 passed, 0 failed"


@pytest.mark.parametrize("target, arguments", [("test", ""), ("check", "--fast"), ("test-deploy", "--deploy")])
def test_make_runs_it(checkout, target, arguments):
    shutil.copy2(ROOT / "Makefile", checkout / "Makefile")
    (checkout / "scripts" / "test").write_text('#!/bin/sh\necho "this one $*"\n')
    result = subprocess.run(["make", target], cwd=checkout, capture_output=True, text=True, timeout=60, env=without_make())
    assert (result.returncode, result.stdout) == (0, f"this one {arguments}\n"), result.stderr


def without_make():
    """Without the variables of an outer `make`, because a nested make prints additional lines."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}


def test_ci_gives_it_a_cargo_home_that_holds_the_registrys_configuration_and_no_crate(checkout, tmp_path):
    (checkout / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci" / "run", checkout / ".ci" / "run")
    shutil.copy2(ROOT / "Makefile", checkout / "Makefile")
    (checkout / "scripts" / "test").write_text('#!/bin/sh\ncd "$CARGO_HOME" && ls && cat config.toml && command -v cargo; exit 3\n')
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    shutil.copy2(checkout / "path" / "cargo", home / "bin" / "cargo")
    (home / "registry" / "cache").mkdir(parents=True)
    (home / "config.toml").write_text("# a mirror\n")
    environment = without_make() | {"CARGO_HOME": str(home), "IAM_KEY_EXPORTER_CACHE": str(tmp_path / "cache")}
    (tmp_path / "cache" / "cargo-home" / "registry").mkdir(parents=True)  # of an earlier run
    result = subprocess.run(["bash", ".ci/run"], cwd=checkout, capture_output=True, text=True, timeout=60, env=environment)
    assert result.stdout == f"bin\nconfig.toml\n# a mirror\n{home}/bin/cargo\n"
    # The test command's failure is CI's.
    assert result.returncode != 0
    assert (home / "registry" / "cache").is_dir()


def test_the_step_of_static_checks_names_the_modules_that_are_marked():
    marked = {file.name for file in (ROOT / "tests" / "suite").glob("test_*.py") if "\npytestmark = pytest.mark.static\n" in file.read_text()}
    (line,) = re.findall(r"^step 'static checks'.*$", (ROOT / "scripts" / "test").read_text(), re.MULTILINE)
    assert set(re.findall(r"tests/suite/(\S+)", line)) == marked


# --- scripts/crates -----------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path):
    """A package with one dependency, for the real cargo; and the environment of its script."""
    place = tmp_path / "package"
    for path, text in {
        "Cargo.toml": '[package]\nname = "outer"\nversion = "1.0.0"\nedition = "2024"\n[dependencies]\ninner = { path = "../inner" }\n[workspace]\n',
        "src/main.rs": "fn main() { inner::greet() }\n",
        "../inner/Cargo.toml": '[package]\nname = "inner"\nversion = "1.0.0"\nedition = "2024"\n',
        "../inner/src/lib.rs": 'pub fn greet() { println!("hello") }\n',
    }.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    for path in ("rust-toolchain.toml", "scripts/crates"):
        (place / path).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / path, place / path)
    kept = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    return place, kept | {"IAM_KEY_EXPORTER_CACHE": str(tmp_path / "cache")}


def test_compiled_dependencies_are_kept_for_the_next_checkout_and_the_package_itself_is_not(package, tmp_path):
    place, environment = package

    def call(*command):
        result = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr

    target = call("rustc", "-vV").partition("host: ")[2].split()[0]
    builds = [["cargo", "build"], ["cargo", "build", "--release"], ["cargo", "build", "--release", "--target", target]]
    for build in builds:
        call(*build)
    call("scripts/crates", "keep")
    (archive,) = (tmp_path / "cache" / "crates").iterdir()
    names = call("tar", "--list", "--file", str(archive))
    assert "libinner-" in names and "outer" not in names
    shutil.rmtree(place / "target")
    call("scripts/crates", "restore")
    for build in builds:
        output = call(*build, "--verbose")
        assert "Fresh inner" in output and "Compiling outer" in output
    # What is there already stays as it is.
    (place / "target" / "release" / "deps" / "mark").touch()
    call("scripts/crates", "restore")
    assert (place / "target" / "release" / "deps" / "mark").exists()
    # Another lock file has another archive.
    with open(place / "Cargo.lock", "a") as file:
        file.write("# changed\n")
    shutil.rmtree(place / "target")
    call("scripts/crates", "restore")
    assert not (place / "target").exists()
