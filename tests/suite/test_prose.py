"""Prose that users read does not contain banned terms."""

import json
import re
import subprocess

import pytest
import yaml

import rustsource
from harness import ROOT, exporter_binary

# Terms that are not used, and why. The replacements are in docs/glossary.md.
BANNED = {
    # A sentence about a program has a thing as its subject: the user, the report, the request.
    r"whoever|whomever|whom|nobody|somebody|everybody|anybody": "name the thing or the role",
    # One word per concept: evaluate, verdict.
    r"judg(?:e|es|ed|ing|ement|ements)": "evaluate, verdict",
    # "breach" suggests an intrusion; a rule is violated.
    r"breach(?:es|ed)?": "violation",
    # One word per concept: inventory. Metric and alert names that contain the word are not words of their own.
    r"facts": "inventory, data",
    # One word per concept: observation.
    r"readings|(?:a|an|the|one|each|every|earlier|later|last|latest|live|older|newer) reading(?! (?:the|a|an|of)\b)": "observation",
    # Programs do not talk: they report, export, log, receive or return.
    r"news|told|tells?|said|says?|speaks?|hears?|heard": "report, return, log, event",
    # One word per concept: check. People open, find or compare something.
    r"looks?|looked": "check, see, find",
    # Archaic or figurative.
    r"anew|goes on|go on|room": "again, continue, space",
}
PATTERN = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)

# Where a term is right: file to the terms that it may use.
ALLOWED = {
    # It lists the terms that are not used.
    "docs/glossary.md": {"facts", "reading", "news", "look", "judge", "judgement", "breach", "room"},
}


def banned(text, place=""):
    """The banned terms in a text, each with its surroundings. Code and comments in Markdown are not prose."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    text = re.sub(r"`[^`]*`", "``", text)
    found = [match for match in PATTERN.finditer(text) if match[0].lower() not in ALLOWED.get(place, ())]
    return [(match[0], " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())) for match in found]


def tracked(*patterns):
    """Files that git tracks, or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def in_files(*patterns, part=lambda text: text):
    """Banned terms in a part of files: file to terms."""
    names = tracked(*patterns)
    assert names, patterns
    found = {name: banned(part((ROOT / name).read_text(encoding="utf-8")), name) for name in names}
    return {name: terms for name, terms in found.items() if terms}


@pytest.mark.parametrize(
    "text, terms",
    [
        ("Whoever owns the key, and whomever", ["Whoever", "whomever"]),
        ("judged, in breach, by the last reading", ["judged", "breach", "last reading"]),
        ("the facts of `facts`\n```text\nnews\n```\n", ["facts"]),
        # Names and other uses of the same letters.
        ("IamKeyExporterFactsStale, iam_key_exporter_account_facts_timestamp_seconds, lookup, in fact", []),
        ("reading the credential report, the reading of files, breakage, threshold", []),
    ],
)
def test_banned_terms_are_found(text, terms):
    assert [term for term, _ in banned(text)] == terms


def test_every_allowed_term_is_needed():
    for name, terms in ALLOWED.items():
        text = (ROOT / name).read_text(encoding="utf-8").lower()
        assert [term for term in terms if not re.search(rf"\b{term}\b", text)] == [], name


# --- documents ----------------------------------------------------------------------------------------------------


def test_pages():
    assert in_files("*.md") == {}


def test_glossary_has_the_terms():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for term in ("inventory", "observation", "collector", "check", "recheck", "rule", "finding", "snapshot"):
        assert re.search(rf"^\| {term} \|", text, flags=re.M), term


# --- alerts, dashboards, chart, deployment --------------------------------------------------------------------------


def test_alerts_and_alertmanager():
    assert in_files("alerts") == {}


def test_annotations_of_alerts():
    """As the alerts show them, with line breaks folded."""
    for group in yaml.safe_load((ROOT / "alerts" / "rules" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            assert banned(" ".join(rule["annotations"].values())) == [], rule["alert"]


def texts(node):
    """Titles, descriptions and contents of a dashboard."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("title", "description", "content", "label") and isinstance(value, str):
                yield value
            else:
                yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)


@pytest.mark.parametrize("name", tracked("dashboards/*.json"))
def test_dashboards(name):
    found = list(texts(json.loads((ROOT / name).read_text(encoding="utf-8"))))
    assert len(found) > 20
    assert [terms for text in found if (terms := banned(text))] == []


def comments(text):
    return "\n".join(re.findall(r"#.*$", text, flags=re.M))


def test_chart():
    chart = "helm/iam-key-exporter"
    assert in_files(f"{chart}/values.yaml", f"{chart}/ci", part=comments) == {}
    assert in_files(f"{chart}/values.schema.json", f"{chart}/Chart.yaml", f"{chart}/README.md.gotmpl", f"{chart}/templates") == {}


def test_deployment_files_and_templates_of_issues():
    assert in_files("deploy", "compose.yaml", "Dockerfile", ".github") == {}


# --- the program --------------------------------------------------------------------------------------------------


def help_of(*command):
    result = subprocess.run([exporter_binary(), *command, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_help():
    commands = re.findall(r"^  ([a-z-]+) {2,}", help_of(), flags=re.M)
    assert {"serve", "check", "verify-config"} <= set(commands)
    texts = {command: help_of(*([command] if command else [])) for command in ["", *commands] if command != "help"}
    assert {command: terms for command, text in texts.items() if (terms := banned(text))} == {}


def test_log_messages_and_error_messages():
    logged, errors = rustsource.log_messages(), rustsource.error_messages()
    assert len(logged) > 15 and len(errors) > 5
    assert [(file, terms) for file, text in [*logged, *errors] if (terms := banned(text))] == []
