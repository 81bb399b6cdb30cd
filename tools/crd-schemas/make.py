"""make.py DIRECTORY CRD.yaml...: strict JSON schemas of custom resources, for kubeconform.

Written as GROUP/KIND_VERSION.json. A cluster drops fields that a CRD does not know without a word; these schemas refuse
them, so that a misspelt field is found before it is silently ignored.
"""

import json
import pathlib
import sys

import yaml


def close(schema):
    """Refuses unknown properties in `schema` and below, in place, except where the CRD leaves an object open."""
    if isinstance(schema, list):
        for item in schema:
            close(item)
        return
    if not isinstance(schema, dict):
        return
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in schema and not is_open:
        schema["additionalProperties"] = False
    for keyword, value in schema.items():
        if keyword == "properties":
            # The keys are names that users write, `properties` perhaps among them: go on below each.
            for item in value.values():
                close(item)
        elif keyword not in ("default", "enum", "example"):
            close(value)


def schemas(crd):
    """The schemas of a CRD: (group, kind, version, schema) of each version."""
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    for version in crd["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        close(schema)
        schema["properties"]["apiVersion"] = {"const": f"{group}/{version['name']}"}
        schema["properties"]["kind"] = {"const": kind}
        schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"})
        # The CRD says no more of metadata than that it is an object; the API server knows its fields.
        schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
        yield group, kind.lower(), version["name"], schema


def main():
    target, count = pathlib.Path(sys.argv[1]), 0
    for name in sys.argv[2:]:
        with open(name, encoding="utf-8") as file:
            documents = [document for document in yaml.safe_load_all(file) if document]
        for document in documents:
            if document["kind"] != "CustomResourceDefinition":
                sys.exit(f"{name}: a {document['kind']}, not a CustomResourceDefinition")
            for group, kind, version, schema in schemas(document):
                path = target / group / f"{kind}_{version}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(schema), encoding="utf-8")
                count += 1
    if count == 0:
        sys.exit("no CRD in: " + " ".join(sys.argv[2:]))


if __name__ == "__main__":
    main()
