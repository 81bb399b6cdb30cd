"""The workflows of CI and releases: well-formed, least privileges, pinned actions, and bots that see every pin."""

import json
import re
import subprocess

import pytest
import yaml

from harness import ROOT, TOOLS

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# The oldest supported versions: raising them would test something else.
FROZEN = {"/tools/prometheus-2.42", "/tools/alertmanager-0.25"}

pytestmark = pytest.mark.static


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=300, **options)


def load(file):
    return yaml.safe_load(file.read_text())


def actionlint(*files):
    return run(TOOLS.bin("actionlint"), "-shellcheck", TOOLS.bin("shellcheck"), "-no-color", *files, cwd=ROOT)


def zizmor(path):
    return run(TOOLS.bin("zizmor"), "--offline", "--persona=pedantic", "--no-progress", "--color=never", path)


def test_actionlint_is_content():
    result = actionlint(*WORKFLOWS)
    assert result.returncode == 0, result.stdout + result.stderr


def test_zizmor_is_content():
    result = zizmor(ROOT / ".github")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "right, wrong, check, word",
    [
        ("needs: version", "needs: versionn", actionlint, "does not exist in this workflow"),
        (r'tags=\(--tag "\$IMAGE:\$VERSION"\)', "tags=(--tag $IMAGE:$VERSION)", actionlint, "SC2206"),
        (r'"\$GITHUB_REF_NAME"', "${{ github.ref_name }}", zizmor, "template-injection"),
        ("persist-credentials: false", "fetch-depth: 1", zizmor, "artipacked"),
        (r"cosign-installer@[0-9a-f]{40}", "cosign-installer@v4", zizmor, "unpinned-uses"),
    ],
)
def test_a_mistake_in_the_release_is_found(tmp_path, right, wrong, check, word):
    """The two checks above can fail: each mistake, put into the real workflow, is named."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert re.search(right, text)
    file = tmp_path / ".github" / "workflows" / "release.yml"
    file.parent.mkdir(parents=True)
    file.write_text(re.sub(right, wrong, text))
    result = check(file)
    assert result.returncode != 0
    assert word in result.stdout + result.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_to_a_commit_and_say_which_version_it_is(file):
    used = re.findall(r"uses: *(\S+)(.*)", file.read_text())
    assert used
    for action, comment in used:
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action}{comment}"


def test_one_version_of_an_action_everywhere():
    versions = {}
    for file in WORKFLOWS:
        for action, pin in re.findall(r"uses: *([\w./-]+)@(\S+)", file.read_text()):
            versions.setdefault(action, set()).add(pin)
    assert {action: pins for action, pins in versions.items() if len(pins) > 1} == {}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_nothing_is_permitted_but_what_a_job_asks_for(file):
    workflow = load(file)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job.get("permissions"), f"{name} does not declare its permissions"
        assert job.get("timeout-minutes") or "uses" in job, f"{name} may hang for six hours"


def test_ci_runs_the_one_test_command():
    (job,) = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"].values()
    assert "make test" in [step.get("run") for step in job["steps"]]


def test_a_release_is_tested_and_fits_its_tag_before_anything_is_published():
    jobs = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]

    def before(name):
        needs = jobs[name].get("needs", [])
        needs = [needs] if isinstance(needs, str) else needs
        return set(needs).union(*map(before, needs)) if needs else set()

    publishing = [name for name, job in jobs.items() if "write" in job["permissions"].values()]
    assert sorted(publishing) == ["build", "chart", "image", "release"]
    for name in publishing:
        assert {"version", "test"} <= before(name), name


def test_the_release_builds_what_the_dockerfile_describes():
    """Build arguments exist, and the program is taken from where the image has it."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    steps = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["build"]["steps"]
    builds = [step["with"] for step in steps if "build-args" in step.get("with", {})]
    assert len(builds) == 2
    assert builds[0]["build-args"] == builds[1]["build-args"], "the image and the archive would differ"
    for argument in builds[0]["build-args"].splitlines():
        assert re.search(rf"^ARG {argument.partition('=')[0]}\b", dockerfile, re.MULTILINE), argument
    commands = "\n".join(step.get("run", "") for step in steps)
    (program,) = re.findall(r"scripts/dist archive image(/\S+)", commands)
    assert f'ENTRYPOINT ["{program}"]' in dockerfile


def test_the_release_attests_the_bill_of_materials_of_everything_that_contains_the_program():
    """Of the image by its digest, and of the archives; the file is one that scripts/dist makes."""
    jobs = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    attested = {name: step["with"] for name, job in jobs.items() for step in job.get("steps", []) if "sbom-path" in step.get("with", {})}
    assert sorted(attested) == ["image", "release"]
    assert attested["image"]["subject-digest"] == "${{ steps.tag.outputs.digest }}"
    assert attested["release"]["subject-path"] == "dist/iam-key-exporter-*-linux-*.tar.gz"
    for each in attested.values():
        file = each["sbom-path"].replace("${{ needs.version.outputs.version }}", "$version").replace("iam-key-exporter", "$name")
        assert f"={file.replace('dist/', '$dist/')}" in (ROOT / "scripts" / "dist").read_text()
    assert "scripts/dist sbom" in "".join(step.get("run", "") for step in jobs["sbom"]["steps"])
    assert "sbom" in jobs["image"]["needs"]


def test_vulnerabilities_and_the_reproducible_build_are_checked_without_a_change():
    workflow = load(ROOT / ".github" / "workflows" / "weekly.yml")
    assert workflow[True]["schedule"]  # the key `on`, as YAML reads it
    commands = {name: "".join(step.get("run", "") for step in job["steps"]) for name, job in workflow["jobs"].items()}
    # scripts/deny succeeds where the database cannot be fetched; here that is a failure.
    assert re.search(r"scripts/deny \| tee (\S+)\ngrep --quiet '\^advisories ok' \1", commands["advisories"])
    assert "make reproducible" in commands["reproducible"]


def bot_directories(ecosystem):
    found = set()
    for update in load(ROOT / ".github" / "dependabot.yml")["updates"]:
        if update["package-ecosystem"] == ecosystem:
            found |= set(update.get("directories", [update.get("directory")]))
    return found


@pytest.mark.parametrize(
    "ecosystem, manifest, frozen",
    [
        ("gomod", "go.mod", FROZEN),
        ("cargo", "Cargo.toml", set()),
        ("npm", "package.json", set()),
        ("pip", "requirements.in", set()),
        ("docker", "Dockerfile", set()),
    ],
)
def test_the_update_bot_sees_every_pin(ecosystem, manifest, frozen):
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", manifest, f"**/{manifest}", cwd=ROOT)
    pinned = {("/" + name).removesuffix("/" + manifest) or "/" for name in files.stdout.split()}
    assert pinned - frozen <= bot_directories(ecosystem)
    assert frozen <= pinned
    assert frozen.isdisjoint(bot_directories(ecosystem))


def test_the_lock_of_node_packages_names_no_host():
    lock = json.loads((ROOT / "tools" / "node" / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert package["integrity"].startswith("sha512-"), name
