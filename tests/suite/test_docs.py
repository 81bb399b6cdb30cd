"""The documentation: links resolve, flags and metrics exist, the commands of docs/try.md work."""

import collections
import re
import subprocess
import sys

import pytest

import snippets
from harness import ROOT, exporter_binary

README = ROOT / "README.md"
TRY = ROOT / "docs" / "try.md"

# Flags of other programs with the same form, and their programs.
FOREIGN_FLAGS = {
    "--collector.textfile.directory": "node_exporter",
    "--cluster.listen-address": "Alertmanager",
}

# Blocks for bash of docs/try.md that no test here runs, and the reason.
NOT_RUN = {
    "cargo run --release -- serve --demo\n": "the same program is started as a service; compiling it is `make test`'s own first step",
    "make demo\n": "runs until it is stopped; test_chain.py does that",
}


def pages():
    """Every Markdown file of the repository, including files that git does not track yet."""
    listed = subprocess.check_output(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"], cwd=ROOT, text=True)
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).exists()]


PAGES = pages()


def prose(path):
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(path):
    """As GitHub makes them from headings: a repeated one gets a number."""
    seen, found = collections.Counter(), set()
    for title in re.findall(r"^#+ +(.+?) *#*$", prose(path), flags=re.M):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def links(path):
    """Targets of links and pictures: inline, by reference, and in HTML."""
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    found = re.findall(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", text)
    found += re.findall(r"^\[[^]]+\]:\s*(\S+)", text, flags=re.M)
    found += re.findall(r"(?:src|href|srcset)=\"([^\"]+)\"", text)
    return [link for link in found if not re.match(r"[a-z][a-z+]*:", link)]


def broken(path, link):
    """The reason why a link is broken, or None."""
    file, _, anchor = link.partition("#")
    target = (path.parent / file).resolve() if file else path
    if not target.is_relative_to(ROOT) or not target.exists():
        return "no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return f"no such heading; there are {sorted(anchors(target))}"
    return None


# --- links --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    assert [(link, why) for link in links(page) if (why := broken(page, link))] == []


def test_broken_links_are_found(tmp_path):
    page = ROOT / "docs" / "try.md"
    assert broken(page, "no-such-page.md") == "no such file"
    assert broken(page, "docker.md#no-such-heading")
    assert broken(page, "../../outside.md")
    assert broken(page, "docker.md#3-keep-checking") is None
    file = tmp_path / "page.md"
    file.write_text('[a](x.md#y) ![b](p.png "title")\n<img src="q.svg">\n[c]: r.md\n`[no](code)`\n```text\n[no](block)\n```\n[d](https://x.org)\n')
    assert links(file) == ["x.md#y", "p.png", "r.md", "q.svg"]


def test_links_into_this_repository_on_github_resolve():
    """In files that are used elsewhere, such as rules and units, links are absolute."""
    prefix = r"https://github\.com/iam-key-exporter/iam-key-exporter/(?:blob|tree)/main/([\w./-]+)(?:#([\w-]+))?"
    listed = subprocess.check_output(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
    wrong, seen = [], 0
    for name in listed:
        path = ROOT / name
        if not path.is_file() or path.suffix in (".png", ".lock", ".json", ".py") or name.startswith("helm/iam-key-exporter/tests"):
            continue
        for file, anchor in re.findall(prefix, path.read_text(encoding="utf-8", errors="replace")):
            seen += 1
            target = ROOT / file.rstrip(".")
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                wrong.append((name, file, anchor))
    assert seen > 5
    assert wrong == []


# --- flags --------------------------------------------------------------------------------------------------------


def help_of(command):
    result = subprocess.run([exporter_binary(), command, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def flags_of(command):
    return set(re.findall(r"^ {2,6}(?:-\w, {1,2}|    )?(--[a-z][\w.-]*)", help_of(command), flags=re.M))


COMMANDS = re.findall(r"^  ([a-z-]+) {2,}", subprocess.run([exporter_binary(), "--help"], capture_output=True, text=True).stdout, flags=re.M)
FLAGS = {command: flags_of(command) for command in COMMANDS if command != "help"}
COMMON = {"--help", "--version"}


def test_the_help_is_parsed():
    assert {"serve", "check", "verify-config", "healthcheck"} <= set(FLAGS)
    assert {"--demo", "--config.file", "--web.listen-address", "--help"} <= FLAGS["serve"]
    assert {"--output", "--output-file", "--user"} <= FLAGS["check"]


def configuration():
    """The table of docs/configuration.md: flag to the commands that have it."""
    rows = re.findall(r"^\| `(--[\w.-]+)` \|[^|]*\|[^|]*\| ([^|]+) \|", (ROOT / "docs" / "configuration.md").read_text(), flags=re.M)
    assert len(rows) == len(dict(rows)), "duplicate flag"
    return {flag: {command.strip() for command in commands.split(",")} for flag, commands in rows}


@pytest.mark.parametrize("command", ["serve", "check"])
def test_configuration_lists_every_flag(command):
    listed = {flag for flag, commands in configuration().items() if command in commands or "all" in commands}
    assert listed == FLAGS[command] - COMMON


def test_configuration_lists_only_flags_that_the_commands_have():
    for flag, commands in configuration().items():
        for command in commands - {"all"}:
            assert flag in FLAGS[command], (flag, command)


def test_every_flag_has_the_variable_that_the_page_promises():
    for command in ("serve", "check"):
        variables = set(re.findall(r"\[env: (\w+)[=\]]", help_of(command)))
        promised = {"IAM_KEY_EXPORTER_" + re.sub(r"[.-]", "_", flag[2:]).upper() for flag in FLAGS[command] - COMMON}
        assert variables == promised


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_exist(page):
    text = page.read_text(encoding="utf-8")
    known = set().union(*FLAGS.values()) | set(FOREIGN_FLAGS)
    groups = {flag.split(".")[0] for flag in known if "." in flag}
    named = {flag.rstrip(".") for flag in re.findall(r"(?<![\w-])--[a-z]+\.[a-z][a-z.-]*", text)}
    assert {flag for flag in named if flag.split(".")[0] in groups} - known == set()
    # Whole command lines, in blocks and in prose.
    joined = text.replace("\\\n", " ")
    for command, rest in re.findall(r"\biam-key-exporter (serve|check|verify-config|healthcheck)\b([^`'|\n;&)]*)", joined):
        used = {word.split("=")[0].rstrip(".,:") for word in rest.split() if re.match(r"--[a-z]", word)}
        assert used <= FLAGS[command], (page.name, command, used - FLAGS[command])


# --- metrics ------------------------------------------------------------------------------------------------------


def test_metrics_exist():
    table = (ROOT / "docs" / "metrics.md").read_text()
    known = set(re.findall(r"^\| `((?:aws_iam|iam_key_exporter)_\w+)` \|", table, flags=re.M))
    assert len(known) > 20
    wrong = {}
    for page in PAGES:
        # Names of recording rules, which contain a colon, are excluded.
        named = set(re.findall(r"(?<![\w:])((?:aws_iam|iam_key_exporter)_[a-z_]*[a-z])(?![\w:*]|_\*)", page.read_text(encoding="utf-8")))
        # A prefix of a name stands for all metrics that have it.
        if unknown := {name for name in named if name not in known and not any(other.startswith(name + "_") for other in known)}:
            wrong[str(page.relative_to(ROOT))] = unknown
    assert wrong == {}


def test_the_demo_exports_the_metrics_that_the_readme_names(start_exporter):
    exporter = start_exporter(["--demo"])
    exporter.wait_checked()
    named = set(re.findall(r"^\| `(\w+)` \|", README.read_text(), flags=re.M))
    assert len(named) >= 5
    assert named <= exporter.metrics().names()


# --- the readme ---------------------------------------------------------------------------------------------------


def test_the_readme_opens_with_what_it_is_a_picture_and_the_two_commands():
    text = README.read_text()
    opening = text[: text.index("\n## ")]
    assert re.search(r"!\[[^]]{20,}\]\(docs/images/[\w-]+\.png\)", opening)
    assert "cargo run --release -- serve --demo" in opening
    assert "make test" in opening
    for page in ("kubernetes", "docker", "linux", "try", "comparison", "metrics", "configuration", "permissions"):
        assert f"(docs/{page}.md" in text, page


def test_every_page_can_be_found_from_the_readme():
    seen, todo = set(), [README]
    while todo:
        page = todo.pop()
        if page not in seen:
            seen.add(page)
            targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if link.partition("#")[0]}
            todo += [target for target in targets if target.suffix == ".md" and target.exists()]
    lost = [page for page in (ROOT / "docs").rglob("*.md") if page not in seen]
    assert lost == []


def test_shellcheck_finds_no_errors_in_pages_without_a_test_module():
    assert snippets.bad_shell(TRY, ROOT / "docs" / "comparison.md") == []


# --- docs/try.md, run ---------------------------------------------------------------------------------------------


@pytest.fixture
def follow(tmp_path, request):
    """Runs a block of the page; each test declares its blocks."""
    yield from snippets.runner([TRY], tmp_path, {}, request.function)


@snippets.executes("numbers", "table")
def test_the_built_in_account(follow, start_exporter):
    exporter = start_exporter(["--demo"]).wait_checked()
    numbers = follow("numbers", {"localhost:19674": f"127.0.0.1:{exporter.port}"})
    assert 'status="violation"' in numbers and 'user_name="mallory"' in numbers
    users = exporter.metrics().select("aws_iam_users")
    assert sum(value for _, value in users) == 13, "the page says thirteen"
    assert {labels["status"] for labels, value in users if value} >= {"compliant", "violation", "exempt", "unknown"}
    # One user cannot be read, as documented.
    assert "mallory" in follow("table", code=3)


@snippets.executes("report", "inventory", "moto")
def test_accounts_without_aws(follow, moto):
    follow.save("inventory.json")
    inventory = follow("inventory")
    assert "bob" in inventory and "bobby" not in inventory
    printed = follow("moto", {"http://127.0.0.1:5000": moto.url})
    assert "bob" in printed and "multiple_active_keys" in printed
    assert "bob" in follow("report", env=moto.env)


def test_every_command_of_the_page_is_run_or_there_is_a_reason():
    assert sorted(snippets.named("run", TRY)) == snippets.executed(sys.modules[__name__])
    assert {block.text for block in snippets.blocks(TRY) if block.language == "bash" and not block.name} == set(NOT_RUN)
