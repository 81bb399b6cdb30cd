"""make.py DIRECTORY: Kubernetes' JSON schemas, laid out for `kubeconform -strict -schema-location DIRECTORY`.

The schemas of every supported Kubernetes version come from the PyPI package kubernetes-validate. Two things keep
kubeconform from reading them as they are: they carry `$id`s on the web, and refer to each other by absolute paths there.
Both become relative, so that nothing is looked up on a network.
"""

import importlib.util
import json
import pathlib
import sys


def localise(node):
    """Makes every reference below `node` one to a file beside it, in place."""
    if isinstance(node, list):
        for item in node:
            localise(item)
    elif isinstance(node, dict):
        # A property may be called `$id` or `$ref` too: only strings are keywords.
        if isinstance(node.get("$id"), str):
            del node["$id"]
        if isinstance(node.get("$ref"), str):
            node["$ref"] = node["$ref"].removeprefix("/api/")
        for value in node.values():
            localise(value)


def main():
    target = pathlib.Path(sys.argv[1])
    package = pathlib.Path(importlib.util.find_spec("kubernetes_validate").origin).parent
    sources = sorted((package / "kubernetes-json-schema").glob("v*-local-strict"))
    if not sources:
        sys.exit(f"{package}: no schemas here")
    for source in sources:
        directory = target / source.name.replace("-local-", "-standalone-")
        directory.mkdir(parents=True, exist_ok=True)
        for file in source.glob("*.json"):
            schema = json.loads(file.read_text(encoding="utf-8"))
            localise(schema)
            (directory / file.name).write_text(json.dumps(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
