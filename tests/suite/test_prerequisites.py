"""tools/system-packages.txt lists the programs that scripts and tests call, and scripts/prerequisites demands them all at once."""

import ast
import os
import re
import shutil
import subprocess

import pytest

import snippets
from harness import ROOT, TOOLS, path_without

SCRIPT = ROOT / "scripts" / "prerequisites"
LIST = ROOT / "tools" / "system-packages.txt"

# Not Debian's: Rust and Go, whose versions matter, and the program under test.
OTHERS = {"cargo", "rustc", "rustup", "go", "gofmt", "node", "npm", "iam-key-exporter", "docker"}
# Called only where they exist: to become root, to install what is missing.
OPTIONAL = {"apt-get", "sudo"}
# Developers call these by hand, no test does.
BY_HAND = {"benches/check", "benches/peers/run", "benches/run", "benches/scrape", "benches/web/run"}

BUILTINS = set(
    "alias break builtin case cd command compgen complete continue declare do done echo elif else esac eval exec exit export false fi for"
    " function if in kill local mapfile printf pwd read readarray readonly return set shift shopt source test then time trap true type"
    " umask unset until wait while".split()
)


def listed():
    """Rows of the list: package, programs, step."""
    rows = [line.split() for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    return [(package, programs.split(","), step) for package, programs, step in rows]


# --- which programs are called ------------------------------------------------------------------------------------

# A word in the place of a command: at the start of a line, behind an operator, or behind a command that runs another.
ASSIGNMENTS = r"(?:\w+=(?:[^\s$()]|\$\w+|\$\{[^}]*\})*\s+)*"
COMMAND = re.compile(
    r"(?:^|[|;&(!`]|\{\s|\b(?:then|do|else|elif|if|while|until|exec|command -v|nice|xargs(?: -\S+)*|env(?: -\S+)*|sudo(?: -\S+)*|timeout \S+)\s)"
    rf"\s*{ASSIGNMENTS}(?=([a-z][\w.-]*)(?![\w.-]|\+?=))",
    re.MULTILINE,
)


def shell_commands(text):
    """Words in the place of a command. Some are no programs: functions, variables, words of a text."""
    text = re.sub(r"<<-?\s*(['\"]?)(\w+)\1([^\n]*)\n.*?^\s*\2$", r"\3", text, flags=re.M | re.S)
    text = re.sub(r"(^|\s)#.*$", r"\1", text, flags=re.M)
    text = text.replace("\\\n", " ")
    inner = re.findall(rf"\$\(\s*{ASSIGNMENTS}([a-z][\w.+-]*)", re.sub(r"(?<![\w\"])'[^']*'", "''", text))
    text = re.sub(r"'[^']*'", "''", text)
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    text = re.sub(r"\w+\+?=\([^)]*\)", "", text)
    text = re.sub(r"^\s*[^\s()][^()\n]*\)(?=\s|$)", "", text, flags=re.M)
    functions = set(re.findall(r"^\s*([\w-]+)\(\)", text, flags=re.M))
    return {word for word in [*inner, *COMMAND.findall(text)] if word not in functions | BUILTINS}


def literal(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def words(node):
    """The first word of a list of arguments, and the script behind `sh -c`."""
    elements = [each for each in node.elts if not isinstance(each, ast.Starred)]
    if elements and literal(elements[0]):
        yield literal(elements[0])
        if literal(elements[0]) in ("sh", "bash"):
            for element in elements[1:]:
                yield from shell_commands(literal(element) or "")
        if literal(elements[0]) in ("unshare", "env"):
            yield from (literal(each) for each in elements[1:] if literal(each) and re.fullmatch(r"[a-z]\w*", literal(each)))


def python_commands(text):
    """Programs that a Python file starts: the first words of argument lists, shell scripts, and lookups on the PATH."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and "command" in ast.unparse(node.targets[0]):
            found |= set(words(node.value))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).isupper() and "\nmount " in (literal(node.value) or ""):
            found |= shell_commands(literal(node.value))
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function, first = ast.unparse(node.func), node.args[0]
        if isinstance(first, ast.List):
            found |= set(words(first))
        if re.fullmatch(r"run|output|need|shutil\.which", function) and literal(first):
            found.add(literal(first))
        if function == "machine.run" and isinstance(first, (ast.Constant, ast.JoinedStr)):
            found |= shell_commands(literal(first) or "".join(literal(each) or "x" for each in first.values))
    return found


def sources():
    names = subprocess.check_output(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, text=True).split("\0")
    for name in filter(None, names):
        file = ROOT / name
        if name in BY_HAND or not file.is_file() or not re.match(r"(scripts|tools|alerts|tests|dashboards|benches|\.ci)/|Makefile", name):
            continue
        try:
            yield name, file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def called():
    """Programs by name, with the files that call them."""
    found = {}
    for name, text in sources():
        if name.endswith(".py") or re.match(r"#!.*python", text):
            commands = python_commands(text)
        elif re.match(r"#!.*\b(ba)?sh\b", text):
            commands = shell_commands(text)
        elif name.endswith(".rs"):
            commands = set(re.findall(r'Command::new\("([^"/]+)"\)', text))
        elif name == "Makefile":
            commands = shell_commands("\n".join(re.findall(r"^\t@?(.*)", text, re.MULTILINE)))
        else:
            continue
        for command in commands:
            found.setdefault(command, set()).add(name)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in snippets.blocks(page) if "<!-- run: " in page.read_text() else ():
            if block.kind == "run" and block.language == "bash":
                for command in shell_commands(block.text):
                    found.setdefault(command, set()).add(str(page.relative_to(ROOT)))
    return found


def is_program(word):
    if word.startswith("/"):
        return os.path.exists(word)
    ours = TOOLS.root / "bin" / word
    return not ours.exists() and shutil.which(word, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is not None


def test_every_program_that_is_called_is_in_the_list():
    known = {program for _, programs, _ in listed() for program in programs} | OTHERS | OPTIONAL
    missing = {word: sorted(files) for word, files in called().items() if word not in known and is_program(word)}
    assert missing == {}


def test_every_program_in_the_list_is_called():
    words = called()
    texts = "\n".join(text for name, text in sources() if not name.startswith("tools/system-packages"))
    unused = []
    for package, programs, _ in listed():
        for program in programs:
            # A file or module, and the linker that Rust calls, stand in no argument list.
            by_name = re.search(rf"(?<![\w-]){re.escape(program)}(?![\w-])", texts)
            if program not in words and not by_name and not re.search("[/:]", program) and program != "cc":
                unused.append(f"{package}: {program}")
    assert unused == []


@pytest.mark.parametrize(
    "text, commands",
    [
        ("a | b && c; d || e", {"a", "b", "c", "d", "e"}),
        ("x=$(pip list)\necho \"$(jq .)\"", {"pip", "jq"}),
        ("X=1 curl a # wget b\nif ! grep -q 'sed x' y; then awk 1; fi", {"curl", "grep", "awk"}),
        ("cat <<END\nwget\nEND\ntee f", {"cat", "tee"}),
        ("f() { ls; }\nf | nice make", {"ls", "nice", "make"}),
        ("case x in\n  facts | scrape) tar c ;;\nesac", {"tar"}),
        ("find . -print0 | xargs -0 sha256sum", {"find", "xargs", "sha256sum"}),
    ],
)
def test_commands_are_found_in_shell(text, commands):
    assert shell_commands(text) == commands


def test_commands_are_found_in_python():
    text = 'run("jq", x)\nsubprocess.run([*as_root(), "runc", "a"])\ncommand = ["git", "x"]\nneed("nginx")\nrun("sh", x)\nx = ["no"]'
    assert python_commands(text) == {"jq", "runc", "git", "nginx", "sh"}


# --- scripts/prerequisites ----------------------------------------------------------------------------------------


def checkout(directory, packages):
    """What the script reads, with another list of packages, and caches that hold everything."""
    (directory / "scripts").mkdir(parents=True)
    (directory / "tools").mkdir()
    shutil.copy2(SCRIPT, directory / "scripts")
    shutil.copy2(ROOT / "rust-toolchain.toml", directory)
    (directory / "tools" / "system-packages.txt").write_text(packages)
    tools = directory / "scripts" / "tools"
    tools.write_text('#!/bin/sh\n[ "$1" != --check ] || { [ -z "$PROBLEM" ] || echo "$PROBLEM"; }\n')
    tools.chmod(0o755)
    return directory


def path_with(directory, **scripts):
    """A $PATH without package managers, rustup and sudo, and with these commands."""
    directory.mkdir()
    for name, text in scripts.items():
        file = directory / name
        file.write_text("#!/bin/sh\n" + text)
        file.chmod(0o755)
    return path_without(directory, "apt-get", "rustup", "sudo", *scripts)


RUST = {"cargo": "exit 0\n", "rustc": "echo rustc $(sed -n 's/^channel = \"\\(.*\\)\"$/\\1/p' rust-toolchain.toml) x\n", "unshare": "exit 0\n"}


def prerequisites(checkout, path, *arguments, **environment):
    environment = {"PATH": path, "HOME": str(checkout)} | environment
    return subprocess.run([checkout / "scripts" / "prerequisites", *arguments], capture_output=True, text=True, env=environment, timeout=60)


PACKAGES = "# a comment\nbash bash rust\none-package no-such-program suite\ntwo-package sh,/no/such/file,sed deploy\nthree python3:no_such_module rust\n"


def test_everything_missing_is_reported_at_once_with_the_install_command(tmp_path):
    place = checkout(tmp_path / "checkout", PACKAGES)
    path = path_with(tmp_path / "path", **RUST | {"cargo": '[ "$1" != clippy ]\n'})
    result = prerequisites(place, path, PROBLEM="Go is missing")
    assert result.returncode == 1
    assert "apt-get install --no-install-recommends one-package two-package three\n" in result.stderr
    assert "'cargo clippy' is missing: rustup component add clippy" in result.stderr
    assert "Go is missing" in result.stderr
    assert prerequisites(place, path, "--packages").stdout.split() == ["one-package", "two-package", "three"]


def test_there_is_no_output_if_nothing_is_missing(tmp_path):
    result = prerequisites(checkout(tmp_path / "checkout", "bash bash rust\n"), path_with(tmp_path / "path", **RUST))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_fast_part_needs_rust_only(tmp_path):
    place = checkout(tmp_path / "checkout", PACKAGES)
    result = prerequisites(place, path_with(tmp_path / "path", **RUST), "--fast", PROBLEM="Go is missing")
    assert result.returncode == 1
    assert "system packages are missing: three\n" in result.stderr
    assert "Go is missing" not in result.stderr


def test_another_version_of_rust_is_refused(tmp_path):
    path = path_with(tmp_path / "path", **RUST | {"rustc": "echo rustc 1.2.3 x\n"})
    result = prerequisites(checkout(tmp_path / "checkout", ""), path)
    assert result.returncode == 1
    assert re.search(r"Rust 1\.2\.3 is installed, rust-toolchain\.toml asks for [\d.]+: rustup toolchain install", result.stderr)


def test_without_cargo_it_says_how_to_get_it(tmp_path):
    (tmp_path / "path").mkdir()
    path = path_without(tmp_path / "path", "apt-get", "rustup", "sudo", "cargo")
    result = prerequisites(checkout(tmp_path / "checkout", ""), path)
    assert result.returncode == 1
    assert "cargo is missing: install Rust" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_root_on_debian_installs_what_is_missing_once(tmp_path):
    place = checkout(tmp_path / "checkout", PACKAGES)
    apt = 'echo "$*" >>"$HOME/calls"\n[ "$2" != install ] || { printf "#!/bin/sh\\n" >"$HOME/../path/no-such-program"; chmod +x "$HOME/../path/no-such-program"; }\n'
    path = path_with(tmp_path / "path", **RUST)
    (tmp_path / "path" / "apt-get").write_text("#!/bin/sh\n" + apt)
    (tmp_path / "path" / "apt-get").chmod(0o755)
    result = prerequisites(place, path)
    calls = (place / "calls").read_text().splitlines()
    assert calls == ["-qq update", "-qq install --yes --no-install-recommends one-package two-package three"]
    # What an installation did not bring is still missing.
    assert result.returncode == 1
    assert "apt-get install --no-install-recommends two-package three\n" in result.stderr
    (place / "calls").unlink()
    assert prerequisites(place, path, "--check").returncode == 1
    assert not (place / "calls").exists()


def test_a_registry_that_cannot_be_reached_is_named(tmp_path):
    """The real clients, with an address that refuses connections, and empty caches."""
    place = tmp_path / "checkout"
    for part in ("scripts", "tools"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("rust-toolchain.toml", "Cargo.toml", "Cargo.lock"):
        shutil.copy2(ROOT / name, place)
    (place / "src").mkdir()
    (place / "src" / "lib.rs").touch()
    home = tmp_path / "cargo"
    home.mkdir()
    nowhere = "http://127.0.0.1:9/"
    (home / "config.toml").write_text(f'[source.crates-io]\nreplace-with = "none"\n[source.none]\nregistry = "sparse+{nowhere}"\n')
    environment = os.environ | {
        "CARGO_HOME": str(home),
        "IAM_KEY_EXPORTER_CACHE": str(tmp_path / "cache"),
        "GOPROXY": nowhere,
        "GOFLAGS": "",
        "PIP_INDEX_URL": nowhere,
        "PIP_FIND_LINKS": "",
        "PIP_NO_CACHE_DIR": "1",
    }
    result = subprocess.run([place / "scripts" / "prerequisites", "--check"], capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 1
    for registry in ("the registry of Rust crates", "the registry of Python packages", "the proxy of Go modules"):
        assert f"{registry} cannot be reached" in result.stderr, result.stderr
