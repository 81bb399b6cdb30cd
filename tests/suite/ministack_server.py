"""Starts ministack, with condition keys as AWS documents them. Runs in ministack's own virtual environment, not in the suite's.

Usage: ministack_server.py PORT
"""

import os
import sys

port = sys.argv[1]
os.environ.update(
    AUTH="true", BIND_HOST="127.0.0.1", GATEWAY_PORT=port, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", LOG_LEVEL="WARNING"
)

from ministack import app  # noqa: E402  (it reads the environment)
from ministack.core import iam_evaluator  # noqa: E402
from ministack.services import iam, organizations  # noqa: E402


def role_arn(session_arn):
    """`aws:PrincipalArn` of a role's session is the ARN of the role; ministack gives that of the session."""
    account, _, name = session_arn.split(":")[4], *session_arn.split(":")[5].split("/")[:2]
    role = iam._roles.get_scoped(account, None, name)
    return role["Arn"] if role else session_arn


def organization_of(account):
    """The organisation that lists an account; ministack knows it for the management account only."""
    for management, member in list(organizations._accounts._data):
        if member == account:
            return organizations._orgs.get_scoped(management, None, "self")["Id"]
    return None


def resolve(key, context, original=iam_evaluator._resolve_condition_key):
    match key.lower():
        case "aws:principalarn" if ":assumed-role/" in context.principal_arn:
            return role_arn(context.principal_arn)
        case "aws:principalorgid":
            return organization_of(context.principal_account)
        case "aws:resourceorgid":
            return organization_of(iam_evaluator._account_from_arn(context.resource_arn))
    return original(key, context)


iam_evaluator._resolve_condition_key = resolve

sys.argv[1:] = []
app.main()
