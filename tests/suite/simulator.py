"""AWS's decision about a request, evaluated by iam-simulate: see simulate.cjs."""

import json
import subprocess

from harness import ACCOUNT, ROOT, TOOLS

ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:user/administrator"
ALLOW_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def verdicts(requests):
    """`Allowed`, `ImplicitlyDenied` or `ExplicitlyDenied` for each request; simulate.cjs describes a request."""
    return [verdict["result"] for verdict in simulate(requests)]


def node(*arguments, text=""):
    command = [TOOLS.bin("node"), ROOT / "tests" / "suite" / "simulate.cjs", TOOLS.path("node"), *arguments]
    result = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def all_actions(service):
    """Every action of a service: `iam:AddClientIDToOpenIDConnectProvider`, ..."""
    return [f"{service}:{action}" for action in node(service)]


def simulate(requests):
    """As `verdicts`, with the condition keys that AWS does not have: {"result": ..., "ignored": [...]}."""
    answers = node(text=json.dumps(requests))
    assert len(answers) == len(requests)
    return answers


def document(path):
    """A policy of the repository. A duplicate key is an error."""

    def once(pairs):
        assert len(dict(pairs)) == len(pairs), f"{path}: a key twice: {pairs}"
        return dict(pairs)

    return json.loads((ROOT / path).read_text(encoding="utf-8"), object_pairs_hook=once)
