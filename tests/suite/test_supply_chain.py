"""The supply chain: rules for dependencies, and what docs/supply-chain.md states about it."""

import os
import pathlib
import subprocess
import tomllib

import pytest

from harness import ROOT, TOOLS, exporter_binary

DENY = tomllib.loads((ROOT / "deny.toml").read_text())


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], **{"capture_output": True, "text": True, "timeout": 300} | options)


# --- deny.toml ----------------------------------------------------------------------------------------------------


def package(directory, name, version="1.0.0", dependencies=()):
    """A package without code, with dependencies (alias, package, version, directory)."""
    (directory / "src").mkdir(parents=True)
    (directory / "src" / "lib.rs").touch()
    lines = [f'{alias} = {{ package = "{of}", version = "{at}", path = "{path}" }}' for alias, of, at, path in dependencies]
    head = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2024"\nlicense = "Apache-2.0"\n'
    (directory / "Cargo.toml").write_text(head + "\n".join(["[dependencies]", *lines, "" if lines else "[features]", ""]))
    return directory


def check_bans(tmp_path, *packages):
    """deny.toml, on a program with these dependencies (name, version)."""
    dependencies = [
        (f"dependency{number}", name, version, package(tmp_path / f"dependency{number}", name, version))
        for number, (name, version) in enumerate(packages)
    ]
    program = package(tmp_path / "program", "program", "1.0.0", dependencies)
    return run(TOOLS.bin("cargo-deny"), "--offline", "--config", ROOT / "deny.toml", "check", "bans", cwd=program)


def test_two_versions_of_a_crate_are_refused(tmp_path):
    result = check_bans(tmp_path, ("some", "1.0.0"), ("some", "2.0.0"))
    assert result.returncode != 0
    assert "found 2 duplicate entries for crate 'some'" in result.stderr


def test_dependencies_outside_the_rules_pass(tmp_path):
    """The refusals beside this test have their own reasons."""
    result = check_bans(tmp_path, ("some", "1.0.0"), ("other", "2.0.0"), ("hyper", "1.12.0"))
    assert result.returncode == 0, result.stderr


def test_banned_crates_are_refused(tmp_path):
    banned = [rule["crate"].partition(":<") for rule in DENY["bans"]["deny"]]
    assert len(banned) > 5
    packages = [(name, "0.1.0" if limit else "1.0.0") for name, _, limit in banned]
    result = check_bans(tmp_path, *packages)
    assert result.returncode != 0
    missed = [name for name, version in packages if f"crate '{name} = {version}' is explicitly banned" not in result.stderr]
    assert missed == []


def test_exceptions_have_reasons():
    rules = DENY["bans"]["skip"] + DENY["bans"]["features"]
    assert rules
    assert [rule["crate"] for rule in rules if not rule.get("reason")] == []


# --- known vulnerabilities ------------------------------------------------------------------------------------------


def advisory_database(directory, crate):
    """A database in RustSec's format with one advisory, as a git repository."""
    file = directory / "crates" / crate / "RUSTSEC-2000-0001.md"
    file.parent.mkdir(parents=True)
    file.write_text(
        f'```toml\n[advisory]\nid = "RUSTSEC-2000-0001"\npackage = "{crate}"\ndate = "2000-01-01"\n[versions]\npatched = []\n```\n\n'
        "# Invented for a test\n\nIt concerns every version.\n"
    )
    git = ["git", "-C", directory, "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=x"]):
        assert run(*git, *command).returncode == 0
    return directory


@pytest.mark.parametrize("crate, code, word", [("tokio", 1, "advisories FAILED"), ("not-a-dependency", 0, "advisories ok")])
def test_a_known_vulnerability_is_refused(tmp_path, crate, code, word):
    """With a clone of the database; without one and without network scripts/deny states that it did not check."""
    database = advisory_database(tmp_path / "database", crate)
    result = run(ROOT / "scripts" / "deny", env=os.environ | {"IAM_KEY_EXPORTER_ADVISORY_DB": str(database)})
    assert word in result.stdout + result.stderr
    assert result.returncode == code, result.stdout + result.stderr
    assert "NOT CHECKED" not in result.stdout
    assert ("RUSTSEC-2000-0001" in result.stderr) == (code != 0)


# --- the build ------------------------------------------------------------------------------------------------------


def test_the_program_contains_no_path_of_this_machine():
    """A program that contains the place of its build differs from one that was built elsewhere."""
    program = exporter_binary()
    if program.parent.name != "release":
        pytest.skip("scripts/build is a release build; this program is none")
    text = program.read_bytes()
    assert b"/crates/tokio-" in text, "panic messages have the paths of sources"
    sysroot = run("rustc", "--print", "sysroot", cwd=ROOT).stdout.strip()
    cargo_home = os.environ.get("CARGO_HOME", str(pathlib.Path.home() / ".cargo"))
    machine = {str(ROOT), str(pathlib.Path.home()) + "/", cargo_home, sysroot, os.path.realpath(cargo_home)}
    assert [path for path in machine if path.encode() in text] == []


CARGO = """#!/bin/sh
[ "$1" = build ] || exit 0
mkdir -p target/this/release
echo "a program of ${DIFFERENT:+$PWD}" >target/this/release/iam-key-exporter
"""


@pytest.mark.parametrize("different, code", [("", 0), ("yes", 1)])
def test_a_build_that_depends_on_its_place_is_found(tmp_path, different, code):
    """scripts/reproducible with a stand-in for cargo. `make reproducible` is the real one, and takes two release builds."""
    for name, text in (("cargo", CARGO), ("rustc", "#!/bin/sh\necho 'host: this'\n")):
        file = tmp_path / "path" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    for directory in ("index", "cache"):
        (tmp_path / "cargo" / "registry" / directory).mkdir(parents=True)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'path'}:{os.environ['PATH']}",
        "CARGO_HOME": str(tmp_path / "cargo"),
        "DIFFERENT": different,
    }
    result = run(ROOT / "scripts" / "reproducible", tmp_path / "work", env=environment)
    assert result.returncode == code, result.stdout + result.stderr
    assert ("reproducible: both programs are the same" in result.stdout) == (code == 0)
    assert ("> a program of " in result.stderr) == (code != 0)


def test_flags_of_the_build_name_the_crates_and_nothing_else(tmp_path):
    (tmp_path / "registry" / "src" / "a-registry").mkdir(parents=True)
    flags = run(ROOT / "scripts" / "build", "--flags", env=os.environ | {"CARGO_HOME": str(tmp_path)}).stdout.strip()
    assert flags == f"-C target-feature=+crt-static --remap-path-prefix={tmp_path}/registry/src/a-registry=/crates"
