"""CloudFormation templates and Terraform modules, without AWS: moto deploys the templates, OpenTofu plans the modules with stubs."""

import json
import os
import re
import shutil
import subprocess

import yaml

from harness import ROOT, TOOLS, clean_environment

AWS = ROOT / "deploy" / "aws"

# --- CloudFormation ---------------------------------------------------------------------------------------------------


class _Template(yaml.SafeLoader):
    """CloudFormation's short forms, expanded: `!Ref X` is {"Ref": "X"}."""


def _long_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    else:
        value = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node, deep=True)
    return {suffix if suffix == "Ref" else f"Fn::{suffix}": value}


_Template.add_multi_constructor("!", _long_form)


def template(path):
    return yaml.load(path.read_text(encoding="utf-8"), _Template)


def lint(path):
    """What cfn-lint finds: nothing."""
    command = [TOOLS.bin("cfn-lint"), "--include-checks=I", "--", path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return result.stdout or ("" if result.returncode == 0 else result.stderr)


def deploy(cloudformation, path, stack="exporter", **parameters):
    """Creates the stack; returns its outputs."""
    cloudformation.create_stack(
        StackName=stack,
        TemplateBody=path.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    (created,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    assert created["StackStatus"] == "CREATE_COMPLETE", created
    return {output["OutputKey"]: output["OutputValue"] for output in created.get("Outputs", ())}


def role_of(iam, arn):
    """A role, with its inline policies in `Inline`, of which it has no others."""
    name = arn.rpartition("/")[2]
    role = iam.get_role(RoleName=name)["Role"]
    assert role["Arn"] == arn
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    role["Inline"] = {each: iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in names}
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    return role


def refuses(parameter, value):
    """Evaluates AllowedValues and AllowedPattern like CloudFormation (moto ignores them)."""
    if "AllowedValues" in parameter:
        return value not in parameter["AllowedValues"]
    return not re.fullmatch(parameter["AllowedPattern"], value)


def _evaluate(expression, parameters):
    """The functions that the templates' rules use."""
    if not isinstance(expression, dict):
        return expression
    ((function, argument),) = expression.items()
    if function == "Ref":
        return parameters[argument]
    values = [_evaluate(each, parameters) for each in argument]
    functions = {"Fn::Equals": lambda a, b: a == b, "Fn::Not": lambda a: not a, "Fn::Or": lambda *each: any(each)}
    return functions[function](*values)


def broken_rules(path, **given):
    """Descriptions of the assertions that do not hold for these parameters."""
    parameters = {name: parameter.get("Default", "") for name, parameter in template(path)["Parameters"].items()} | given
    return [
        assertion["AssertDescription"]
        for rule in template(path).get("Rules", {}).values()
        if _evaluate(rule.get("RuleCondition", True), parameters)
        for assertion in rule["Assertions"]
        if not _evaluate(assertion["Assert"], parameters)
    ]


# --- Terraform --------------------------------------------------------------------------------------------------------

# Modules in place of the resources of the AWS provider, which is not available: their variables are the resources' arguments.
STUBS = {
    "aws_iam_role": """
variable "name" { type = string }
variable "path" {
  type    = string
  default = "/"
}
variable "description" { type = string }
variable "assume_role_policy" { type = string }
variable "permissions_boundary" { type = string }
variable "tags" { type = map(string) }
output "id" { value = var.name }
output "arn" { value = "arn:aws:iam::123456789012:role${var.path}${var.name}" }
output "all" { value = { description = var.description, trust = var.assume_role_policy, boundary = var.permissions_boundary, tags = var.tags } }
""",
    "aws_iam_role_policy": """
variable "name" { type = string }
variable "role" { type = string }
variable "policy" { type = string }
output "all" { value = { role = var.role, policy = var.policy } }
""",
    "aws_iam_instance_profile": """
variable "name" { type = string }
variable "role" { type = string }
output "all" { value = { name = var.name, role = var.role } }
""",
}


def tofu(directory, *arguments):
    env = clean_environment() | {"TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    command = [TOOLS.bin("tofu"), f"-chdir={directory}", *arguments]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)


def resources(module):
    """Types of the resources of a module."""
    text = "".join(source.read_text(encoding="utf-8") for source in sorted(module.glob("*.tf")))
    assert re.findall(r'\bsource\s+= "(.+)"', text) == ["hashicorp/aws"]
    assert not re.findall(r"^(?:data|provider|module) ", text, flags=re.M)
    return sorted(re.findall(r'^resource "(\w+)"', text, flags=re.M))


def stubbed(module, directory):
    """A copy of a module at its place beside the policies, with stubs for the AWS provider's resources; returns its path."""
    for folder in ("policies", "trust"):
        shutil.copytree(AWS / folder, directory / folder)
    copy = directory / module.relative_to(AWS)
    copy.mkdir(parents=True)
    stubs = "../" * len(module.relative_to(AWS).parts)
    used = resources(module)
    for source in module.glob("*.tf"):
        text = source.read_text(encoding="utf-8")
        for resource in used:
            text = re.sub(rf'^resource "{resource}" "(\w+)" {{$', rf'module "{resource}_\1" {{\n  source = "{stubs}{resource}"', text, flags=re.M)
            text = re.sub(rf"\b{resource}\.(\w+)\.", rf"module.{resource}_\1.", text)
        if source.name != "versions.tf":
            (copy / source.name).write_text(text, encoding="utf-8")
    seen = ", ".join(f"{resource} = module.{resource}_this" for resource in used)
    (copy / "seen.tf").write_text(f'output "seen" {{ value = {{ {seen} }} }}\n', encoding="utf-8")
    for name in used:
        (directory / name).mkdir()
        (directory / name / "main.tf").write_text(STUBS[name], encoding="utf-8")
    return copy


def initialised(module, directory):
    """`stubbed`, ready for `plan`."""
    copy = stubbed(module, directory)
    result = tofu(copy, "init", "-no-color")
    assert result.returncode == 0, result.stdout + result.stderr
    return copy


def plan(module, variables):
    """Plans a module with these variables; returns the outputs, or the error message."""
    file = module / "test.tfvars.json"
    file.write_text(json.dumps(variables))
    result = tofu(module, "plan", "-no-color", "-input=false", "-refresh=false", "-out=plan", f"-var-file={file}")
    if result.returncode:
        return result.stderr
    shown = tofu(module, "show", "-json", "plan")
    assert shown.returncode == 0, shown.stderr
    return {name: output["value"] for name, output in json.loads(shown.stdout)["planned_values"]["outputs"].items()}


def documents(policies):
    """JSON texts by name, parsed."""
    return {name: json.loads(text) for name, text in policies.items()}
