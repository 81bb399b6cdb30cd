"""The supply chain, and the statements of docs/supply-chain.md, docs/security.md and docs/reliability.md: each names a test that exists."""

import os
import pathlib
import re
import subprocess
import tomllib

import pytest

from harness import ROOT, TOOLS, exporter_binary

DENY = tomllib.loads((ROOT / "deny.toml").read_text())


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], **{"capture_output": True, "text": True, "timeout": 300} | options)


def tracked():
    """Files under version control, or about to be."""
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


# --- the documents --------------------------------------------------------------------------------------------------

PAGES = ["docs/security.md", "docs/supply-chain.md", "docs/reliability.md"]
# OpenSSF Scorecard 5.5, docs/checks.md.
SCORECARD = (
    "Binary-Artifacts Branch-Protection CI-Tests CII-Best-Practices Code-Review Contributors Dangerous-Workflow Dependency-Update-Tool"
    " Fuzzing License Maintained Packaging Pinned-Dependencies SAST SBOM Security-Policy Signed-Releases Token-Permissions Vulnerabilities"
    " Webhooks"
).split()


def missing(name):
    """Why the test of a name like `tests/suite/test_dist.py::test_everything_is_there` is none, or None."""
    file, _, function = name.partition("::")
    path = ROOT / file
    if not path.is_file():
        return "no such file"
    pattern = rf"^def {function}\(" if path.suffix == ".py" else rf"#\[(?:tokio::)?test[^\n]*\n(?:\s*#\[[^\n]*\n)*\s*(?:async )?fn {function}\("
    return None if re.search(pattern, path.read_text(), re.MULTILINE) else "no such test"


def named_tests(page):
    return re.findall(r"`((?:tests|src)/[\w./-]+::\w+)`", (ROOT / page).read_text())


@pytest.mark.parametrize("page", PAGES)
def test_statements_name_tests_that_exist(page):
    names = named_tests(page)
    assert len(names) > 10
    assert [(name, why) for name in names if (why := missing(name))] == []


def test_a_test_that_does_not_exist_is_found():
    assert missing("tests/suite/test_dist.py::test_everything_is_there") is None
    assert missing("tests/architecture.rs::foreign_crates_have_their_modules") is None
    assert missing("tests/architecture.rs::sources") == "no such test"  # a function, but no test
    assert missing("tests/suite/test_dist.py::test_of_nothing") == "no such test"
    assert missing("tests/suite/test_nothing.py::test_of_nothing") == "no such file"


def test_every_check_of_scorecard_has_its_state():
    rows = re.findall(r"^\| ([A-Z][\w-]+) \| (\w+) \| (\w+) \| (.+) \|$", (ROOT / "docs" / "supply-chain.md").read_text(), re.MULTILINE)
    assert [name for name, *_ in rows] == SCORECARD
    assert {state for _, _, state, _ in rows} <= {"met", "partial", "open", "setting", "automatic"}


def test_the_security_policy_has_what_scorecard_expects():
    """A link for reports, text, and more than one mention of vulnerabilities, disclosure and times."""
    text = (ROOT / "SECURITY.md").read_text()
    assert re.search(r"https://github\.com/iam-key-exporter/iam-key-exporter/security/advisories/new", text)
    assert len(re.findall(r"vuln|disclos|\d+ days", text, re.IGNORECASE)) > 4


def test_no_executable_is_under_version_control():
    """Formats of executables and libraries; scripts are text."""
    magic = {b"\x7fELF", b"\0asm", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"!<ar"}
    suffixes = {".a", ".class", ".dll", ".dylib", ".exe", ".jar", ".o", ".pyc", ".rlib", ".so", ".wasm", ".whl"}
    found = []
    for file in tracked():
        with open(file, "rb") as opened:
            start = opened.read(4)
        if start in magic or start[:2] == b"MZ" or file.suffix in suffixes:
            found.append(str(file.relative_to(ROOT)))
    assert found == []


def test_the_page_names_every_pair_of_versions():
    text = (ROOT / "docs" / "supply-chain.md").read_text()
    table = text[text.index("### Two versions of one crate") :].partition("\n## ")[0]
    named = set(re.findall(r"`([\w-]+)`", "".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE))))
    assert named == {rule["crate"].partition("@")[0] for rule in DENY["bans"]["skip"]}


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
