"""What holds for every file: no trace of a machine, working links, clean shell scripts, the licence as it is."""

import hashlib
import re
import subprocess
import urllib.parse

import pytest

from harness import ROOT, TOOLS

pytestmark = pytest.mark.static


def tracked():
    """Files under version control, or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def text_of(file):
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


# Put together from pieces, so that this file does not contain them.
TRACES = [
    r"(?<!\w)/" + "work/",
    r"/root/(?:\.cache|\.cargo|\.rustup|go)\b",
    r"/home/\w+/(?:\.cache|\.cargo|\.rustup|go|src)\b",
    r"registry\.npm" + r"js\.org",
    r"proxy\.golang" + r"\.org",
    r"sum\.golang" + r"\.org",
    r"pypi\." + r"org",
    r"files\.python" + r"hosted\.org",
    r"static\.crates" + r"\.io",
    r"index\.crates" + r"\.io",
    r"deb\.debian" + r"\.org",
]


def test_no_file_knows_the_machine_or_registry_it_was_made_with():
    pattern = re.compile("|".join(TRACES))
    found = []
    for file in tracked():
        for number, line in enumerate((text_of(file) or "").splitlines(), 1):
            match = pattern.search(line)
            # Cargo names its index in every lock file; that is the format, and no host.
            if match and file.name != "Cargo.lock":
                found.append(f"{file.relative_to(ROOT)}:{number}: {match[0]}")
    assert found == []


def test_no_file_contains_a_key_of_aws_that_could_be_real():
    """Access key IDs in examples and tests are AWS's own example or obviously invented."""
    found = []
    for file in tracked():
        for key in re.findall(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b", text_of(file) or ""):
            if "EXAMPLE" not in key and len(set(key[4:])) > 6:
                found.append(f"{file.relative_to(ROOT)}: {key}")
    assert found == []


def test_every_text_file_ends_with_a_newline_and_has_no_carriage_return():
    found = []
    for file in tracked():
        text = text_of(file)
        if text and (not text.endswith("\n") or "\r" in text):
            found.append(str(file.relative_to(ROOT)))
    # Test data may be malformed on purpose.
    assert [name for name in found if not re.match(r"(tests|benches)/.*(data|fixtures|reports|golden)/|fuzz/corpus/", name)] == []


def shell_scripts():
    return [file for file in tracked() if re.match(r"#!.*\b(?:ba)?sh\b", (text_of(file) or "").partition("\n")[0])]


def test_shellcheck_is_content():
    scripts = shell_scripts()
    assert {"tools", "test", "dist"} <= {file.name for file in scripts}
    command = [TOOLS.bin("shellcheck"), *scripts]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_go_code_is_formatted():
    programs = [file for file in tracked() if file.suffix == ".go"]
    assert programs
    result = subprocess.run(["gofmt", "-l", *programs], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr


def test_every_script_is_executable():
    scripts = [file for file in tracked() if (text_of(file) or "").startswith("#!/")]
    assert [str(file.relative_to(ROOT)) for file in scripts if not file.stat().st_mode & 0o111] == []


def test_every_script_of_the_makefile_exists():
    text = (ROOT / "Makefile").read_text()
    scripts = set(re.findall(r"^\t@((?:scripts|benches)/\S+)", text, re.MULTILINE))
    assert {"scripts/test", "scripts/demo", "scripts/dist"} <= scripts
    assert [script for script in sorted(scripts) if not (ROOT / script).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert targets == set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())


def anchor(heading):
    """The anchor that GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def test_every_link_between_pages_leads_somewhere():
    broken = []
    for page in tracked():
        if page.suffix != ".md":
            continue
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, fragment = urllib.parse.unquote(target).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            goal = (page.parent / path).resolve() if path else page
            if not goal.exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
            elif fragment and goal.suffix == ".md":
                headings = re.findall(r"^#+ (.*)$", goal.read_text(), re.MULTILINE)
                if fragment not in {anchor(re.sub(r"[`*]", "", heading)) for heading in headings}:
                    broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_links_to_files_on_github_lead_to_files_of_this_checkout():
    """Runbook links of alerts, links of the chart: they name this repository's main branch."""
    pattern = re.compile(r"https://github\.com/iam-key-exporter/iam-key-exporter/(?:blob|tree)/main/([\w./-]+)")
    found = {}
    for file in tracked():
        for path in pattern.findall(text_of(file) or ""):
            found.setdefault(path.rstrip("."), file.relative_to(ROOT))
    assert found
    assert {path: str(file) for path, file in found.items() if not (ROOT / path).exists()} == {}


def test_generated_files_are_marked():
    """GitHub folds marked files in diffs."""
    generated = [
        *(ROOT / "dashboards").glob("*.json"),
        *(ROOT / "tests" / "suite" / "chart" / "golden").iterdir(),
        *(ROOT / "tests" / "e2e" / "data").glob("*.prom"),
        *(ROOT / "tools").glob("*/go.sum"),
        ROOT / "helm" / "iam-key-exporter" / "README.md",
        ROOT / "helm" / "iam-key-exporter" / "values.schema.json",
        ROOT / "Cargo.lock",
    ]
    names = [str(file.relative_to(ROOT)) for file in generated]
    result = subprocess.run(["git", "check-attr", "linguist-generated", "--", *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line for line in result.stdout.splitlines() if not line.endswith(": set")] == []
    by_hand = subprocess.run(["git", "check-attr", "linguist-generated", "--", "src/main.rs", "helm/iam-key-exporter/values.yaml"], cwd=ROOT, capture_output=True, text=True)
    assert by_hand.stdout.count(": unspecified") == 2


def test_rules_and_dashboards_exist_once():
    """A copy of a file is a link to it. Fuzzers write into their corpora: they have copies."""
    seen, copies = {}, []
    for file in tracked():
        if not file.is_symlink() and not file.is_relative_to(ROOT / "fuzz" / "corpus") and file.stat().st_size > 1000:
            first = seen.setdefault(hashlib.sha256(file.read_bytes()).digest(), file)
            copies += [] if first is file else [f"{file.relative_to(ROOT)} is {first.relative_to(ROOT)}"]
    assert copies == []


def test_the_licence_is_apache_2_word_for_word():
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


@pytest.mark.parametrize("script", ["tools", "dist", "test", "prerequisites"])
def test_every_script_says_what_it_does(script):
    head = (ROOT / "scripts" / script).read_text().splitlines()[1]
    assert head.startswith("# ")
