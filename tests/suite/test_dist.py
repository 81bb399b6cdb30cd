"""`make dist`: the files in dist/ work, are reproducible, and have one version."""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tomllib

import pytest
import yaml

from harness import ROOT, TOOLS, exporter_binary

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
NAME = "iam-key-exporter"
CHART = f"{NAME}-{yaml.safe_load((ROOT / 'helm' / NAME / 'Chart.yaml').read_text())['version']}.tgz"


def run(*arguments, **options):
    options = {"capture_output": True, "text": True, "timeout": 600} | options
    return subprocess.run([str(argument) for argument in arguments], **options)


def copy_of_the_checkout(directory):
    """The files under version control (and new ones), without build results; tools as installed."""
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name, follow_symlinks=False)
    (directory / "target").mkdir()
    (directory / "target" / "tools").symlink_to(TOOLS.root)
    # Another test checks that the generated files are up to date.
    assert run(directory / "scripts" / "chart").returncode == 0
    return directory


def dist(checkout, *parts):
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    result = run(checkout / "scripts" / "dist", *parts, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """dist/ with all files, built from a copy of the checkout with the program under test."""
    checkout = copy_of_the_checkout(tmp_path_factory.mktemp("dist"))
    dist(checkout, "archive", exporter_binary())
    for part in ("chart", "sbom", "checksums"):
        dist(checkout, part)
    return checkout / "dist"


@pytest.fixture(scope="module")
def archive(built):
    (file,) = built.glob(f"{NAME}-{VERSION}-linux-*.tar.gz")
    return file


@pytest.fixture(scope="module")
def unpacked(archive, tmp_path_factory):
    directory = tmp_path_factory.mktemp("unpacked")
    assert run("tar", "xzf", archive, "-C", directory).returncode == 0
    (only,) = directory.iterdir()
    return only


def test_everything_is_there(built, archive):
    expected = {archive.name, CHART, f"{NAME}-{VERSION}.spdx.json", f"{NAME}-{VERSION}.cdx.json", "SHA256SUMS"}
    assert {file.name for file in built.iterdir()} == expected


def test_the_checksums_match_and_detect_a_change(built, tmp_path):
    copy = shutil.copytree(built, tmp_path / "dist")
    assert run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=copy).returncode == 0
    assert len((copy / "SHA256SUMS").read_text().splitlines()) == 4
    with open(copy / CHART, "ab") as file:
        file.write(b"x")
    result = run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=copy)
    assert result.returncode != 0
    assert f"{CHART}: FAILED" in result.stdout


def test_everything_is_the_same_bytes_when_made_again(built, archive, tmp_path):
    checkout = copy_of_the_checkout(tmp_path / "again")
    dist(checkout, "archive", exporter_binary())
    for part in ("chart", "sbom", "checksums"):
        dist(checkout, part)
    for name in (archive.name, CHART, f"{NAME}-{VERSION}.spdx.json", f"{NAME}-{VERSION}.cdx.json", "SHA256SUMS"):
        assert (checkout / "dist" / name).read_bytes() == (built / name).read_bytes(), name


def test_archives_contain_no_information_about_the_machine(built, archive):
    for file in (archive, built / CHART):
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(file.read_bytes()))) as packed:
            for member in packed:
                assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", ""), member.name
                assert member.mtime == 1700000000, member.name
                assert member.mode & 0o022 == 0, f"{member.name} may be changed by others"


def test_the_program_in_the_archive_runs(unpacked):
    assert run(unpacked / NAME, "--version").stdout.strip() == f"{NAME} {VERSION}"
    checked = run(unpacked / NAME, "check", "--demo", "--output=json")
    # Violations, and a user whose keys are unknown in the demo.
    assert checked.returncode == 3, checked.stderr
    json.loads(checked.stdout)


def test_documents_are_in_the_archive(unpacked):
    assert {"LICENSE", "README.md", "CHANGELOG.md", "THIRD-PARTY-LICENSES"} <= {file.name for file in unpacked.iterdir()}


def test_the_licences_of_all_libraries_are_in_the_archive(unpacked):
    """Each crate that is linked is named with its licence, and the licences that ask for their text have it."""
    text = (unpacked / "THIRD-PARTY-LICENSES").read_text()
    listed, *texts = text.split("\n" + "-" * 100 + "\n")
    linked = set()
    for target in TARGETS:
        tree = run("cargo", "tree", "--locked", "--edges=normal", f"--target={target}", "--prefix=none", "--format={p}", cwd=ROOT)
        linked |= {" ".join(line.split()[:2]).replace(" v", " ") for line in tree.stdout.splitlines() if line and "(proc-macro)" not in line}
    linked.discard(f"{NAME} {VERSION}")
    rows = dict(re.findall(r"^([\w-]+ \S+): (.+)$", listed, re.MULTILINE))
    assert set(rows) == linked and len(linked) > 100
    with_text = set(re.findall(r"^([\w-]+ \S+) \(", "\n".join(texts), re.MULTILINE))
    assert {"tokio", "aws-lc-sys", "rustls"} <= {name.split()[0] for name in with_text}
    # Some packages were published without a file: a few, or the search for them is wrong.
    assert len(linked - with_text) < 10, linked - with_text


def test_completions_complete_in_bash(unpacked):
    script = f"""
        source completions/{NAME}.bash
        COMP_WORDS=({NAME} verify); COMP_CWORD=1
        _{NAME} {NAME} verify {NAME} 2>/dev/null || "$(complete -p {NAME} | sed 's/.*-F \\([^ ]*\\).*/\\1/')" {NAME} verify {NAME}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = run("bash", "-c", script, cwd=unpacked)
    assert "verify-config" in result.stdout.split(), result.stderr


@pytest.mark.parametrize("shell, word", [("zsh", f"#compdef {NAME}"), ("fish", f"complete -c {NAME}")])
def test_completions_for_other_shells(unpacked, shell, word):
    assert word in (unpacked / "completions" / f"{NAME}.{shell}").read_text()


def test_the_manual_page_is_valid(unpacked):
    page = (unpacked / "man" / f"{NAME}.1").read_text()
    assert re.search(rf'^\.TH "?{NAME}"? 1', page, re.MULTILINE | re.IGNORECASE)
    assert ".SH" in page
    assert "serve" in page


@pytest.mark.parametrize("helm", ["helm3", "helm4"])
def test_the_packaged_chart_renders(built, helm):
    result = run(TOOLS.bin(helm), "template", "x", built / CHART, "--kube-version=1.34.0")
    assert result.returncode == 0, result.stderr
    kinds = {document["kind"] for document in yaml.safe_load_all(result.stdout) if document}
    assert {"Deployment", "Service", "ServiceAccount"} <= kinds


TARGETS = ("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl")


def crates_of_the_program():
    """Names and versions of the crates that are compiled for the platforms of the releases, without those of tests."""
    found = set()
    for target in TARGETS:
        command = ["cargo", "tree", "--locked", "--edges=normal,build", f"--target={target}", "--prefix=none", "--format={p}"]
        result = run(*command, cwd=ROOT)
        assert result.returncode == 0, result.stderr
        found |= {tuple(line.split()[:2]) for line in result.stdout.splitlines() if line}
    return {(name, version.removeprefix("v")) for name, version in found}


def crates_of_the_metadata():
    """The same of `cargo metadata`: more, because it has every crate that a feature of a test's dependency could enable."""
    found = set()
    for target in TARGETS:
        result = run("cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}", cwd=ROOT)
        metadata = json.loads(result.stdout)
        packages = {package["id"]: (package["name"], package["version"]) for package in metadata["packages"]}
        nodes = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}
        todo, seen = [metadata["resolve"]["root"]], set()
        while todo:
            if (identity := todo.pop()) not in seen:
                seen.add(identity)
                todo += [each["pkg"] for each in nodes[identity] if any(kind["kind"] != "dev" for kind in each["dep_kinds"])]
        found |= {packages[identity] for identity in seen}
    return found


def test_the_bills_of_materials_list_the_crates_of_the_program_and_no_other(built):
    crates = crates_of_the_program()
    assert len(crates) > 100 and "tokio" in {name for name, _ in crates}
    assert crates <= crates_of_the_metadata()
    cyclonedx = json.loads((built / f"{NAME}-{VERSION}.cdx.json").read_text())
    assert {(each["name"], each["version"]) for each in cyclonedx["components"]} == crates
    assert (cyclonedx["metadata"]["component"]["name"], cyclonedx["metadata"]["component"]["version"]) == (NAME, VERSION)
    spdx = json.loads((built / f"{NAME}-{VERSION}.spdx.json").read_text())
    assert {(package["name"], package["versionInfo"]) for package in spdx["packages"]} == crates
    urls = {reference["referenceLocator"] for package in spdx["packages"] for reference in package.get("externalRefs", [])}
    assert {f"pkg:cargo/{name}@{version}" for name, version in crates} <= urls


def test_the_bills_of_materials_have_licences_and_checksums(built):
    locked = {(each["name"], each["version"]): each.get("checksum") for each in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    for component in json.loads((built / f"{NAME}-{VERSION}.cdx.json").read_text())["components"]:
        checksum = locked[component["name"], component["version"]]
        assert [each["content"] for each in component.get("hashes", [])] == ([checksum] if checksum else []), component["name"]
        assert re.search(r"Apache-2\.0|MIT|BSD|ISC|Unicode-3\.0|Zlib", component["licenses"][0]["expression"]), component["name"]
    for package in json.loads((built / f"{NAME}-{VERSION}.spdx.json").read_text())["packages"]:
        assert "/" not in package["licenseDeclared"] and package["licenseDeclared"] != "NOASSERTION", package["name"]


VALIDATE_CYCLONEDX = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(str(problem) if problem else 0)
"""


@pytest.mark.parametrize("broken", [False, True])
def test_the_bills_of_materials_are_valid(built, tmp_path, broken):
    """By the validators of the two formats; and they find a mistake."""
    cyclonedx = json.loads((built / f"{NAME}-{VERSION}.cdx.json").read_text())
    spdx = json.loads((built / f"{NAME}-{VERSION}.spdx.json").read_text())
    if broken:
        cyclonedx["components"][0]["type"] = "crate"
        del spdx["packages"][0]["downloadLocation"]
    file = tmp_path / "bill.spdx.json"
    file.write_text(json.dumps(spdx))
    python = TOOLS.bin("sbom-python")
    results = [
        run(python, "-c", VALIDATE_CYCLONEDX, input=json.dumps(cyclonedx)),
        run(python, "-m", "spdx_tools.spdx.clitools.pyspdxtools", "--infile", file),
    ]
    assert [result.returncode != 0 for result in results] == [broken, broken], [result.stdout + result.stderr for result in results]


# --- refusals -----------------------------------------------------------------------------------------------------


def test_a_program_of_another_version_is_not_packed(tmp_path):
    other = tmp_path / NAME
    other.write_text(f"#!/bin/sh\necho {NAME} 9.9.9\n")
    other.chmod(0o755)
    result = run(copy_of_the_checkout(tmp_path / "checkout") / "scripts" / "dist", "archive", other)
    assert result.returncode == 1
    assert f"is '{NAME} 9.9.9', not '{NAME} {VERSION}'" in result.stderr


def test_without_a_program_it_is_built_first(tmp_path):
    """With stand-ins for the compiler: the program that scripts/build makes is the one in the archive."""
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    program = f"#!/bin/sh\n# $(printf '%s' \"$RUSTFLAGS\" | tr ' ' '_')\necho {NAME} {VERSION}\n"
    cargo = f'#!/bin/sh\n[ "$1" = build ] || exit 0\nmkdir -p target/this/release\ncat >target/this/release/{NAME} <<EOF\n{program}EOF\nchmod +x target/this/release/{NAME}\n'
    for name, text in (("cargo", cargo), ("rustc", "#!/bin/sh\necho 'host: this'\n")):
        file = tmp_path / "path" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    # It asks the real cargo.
    (checkout / "scripts" / "notices").write_text("#!/bin/sh\necho licences\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CARGO")}
    environment["PATH"] = f"{tmp_path / 'path'}:{os.environ['PATH']}"
    result = run(checkout / "scripts" / "dist", "archive", env=environment)
    assert result.returncode == 0, result.stderr
    (archive,) = (checkout / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        (member,) = [each for each in packed if each.name.endswith(f"/{NAME}")]
        assert "target-feature=+crt-static" in packed.extractfile(member).read().decode()


def test_a_chart_without_all_rules_is_not_packed(tmp_path):
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    (checkout / "alerts" / "rules" / "more.yaml").write_text("groups: []\n")
    result = run(checkout / "scripts" / "dist", "chart")
    assert result.returncode == 1
    assert "run make chart" in result.stderr


def test_an_unknown_part_is_refused():
    result = run(ROOT / "scripts" / "dist", "everything")
    assert result.returncode == 1
    assert "no part 'everything'; there are: archive, chart, sbom, checksums" in result.stderr


# --- one version --------------------------------------------------------------------------------------------------


def test_cargo_decides_the_version():
    assert run(ROOT / "scripts" / "version").stdout.strip() == VERSION
    assert run(ROOT / "scripts" / "version", f"v{VERSION}").returncode == 0
    refused = run(ROOT / "scripts" / "version", "v9.9.9")
    assert refused.returncode == 1
    assert f"the tag is 'v9.9.9', but the version in Cargo.toml is '{VERSION}'" in refused.stderr


def test_the_chart_installs_this_version():
    chart = yaml.safe_load((ROOT / "helm" / NAME / "Chart.yaml").read_text())
    assert chart["appVersion"] == VERSION


def test_the_changelog_has_a_section_about_this_version():
    result = run(ROOT / "scripts" / "changelog")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(("First release", "###")), result.stdout[:80]
    assert "## [" not in result.stdout and "]: http" not in result.stdout
    missing = run(ROOT / "scripts" / "changelog", "9.9.9")
    assert missing.returncode == 1
    assert "CHANGELOG.md has nothing about 9.9.9" in missing.stderr


def tracked_texts():
    """Name and text of every file under version control, or about to be."""
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).stdout.split("\0")
    for name in filter(None, names):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def test_every_mention_of_the_image_or_chart_is_of_this_version():
    """Pages, manifests and examples that name a version name this one."""
    image = re.compile(rf"ghcr\.io/[\w-]+/{NAME}:v?(\d+\.\d+\.\d+[\w.-]*)")
    chart = re.compile(rf"charts/{NAME}[^\n]*?--version[ =]v?(\d+\.\d+\.\d+[\w.-]*)")
    shell = re.compile(r"^VERSION=(\d+\.\d+\.\d+[\w.-]*)", re.MULTILINE)
    found = []
    for name, text in tracked_texts():
        if not name.startswith(("tests/", "tools/")):
            for pattern in (image, chart, shell):
                found += [(name, version) for version in pattern.findall(text)]
    assert found
    assert [each for each in found if each[1] != VERSION] == []
