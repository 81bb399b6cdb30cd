"""ministack: an AWS that enforces identity policies, trust policies and external IDs."""

import pathlib

from harness import DUMMY_AWS, TOOLS, Server, free_port, request

SERVER = pathlib.Path(__file__).with_name("ministack_server.py")


class Ministack(Server):
    """A ministack server. An access key that is an account's ID belongs to the root user of that account, which nothing denies."""

    def __init__(self, **options):
        port = free_port()
        # -P: this directory is not searched for modules, so that `import ministack` there is not this file.
        super().__init__([TOOLS.bin("ministack-python"), "-P", SERVER, port], port, name="ministack", **options)

    def wait_ready(self):
        self.wait_url(self.url + "/_ministack/health")

    def reset(self):
        """Deletes all data in every account."""
        answer = request(self.url + "/_ministack/reset", method="POST", data=b"")
        if answer.status != 200:
            raise AssertionError(f"ministack: {answer.status} {answer.body}")

    def env(self, credentials):
        """For programs: the credentials are those of AWS's answers, or the ID of an account (its root user)."""
        if isinstance(credentials, str):
            credentials = {"AccessKeyId": credentials, "SecretAccessKey": "test"}
        session = {"AWS_SESSION_TOKEN": credentials["SessionToken"]} if "SessionToken" in credentials else {}
        keys = {"AWS_ACCESS_KEY_ID": credentials["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"]}
        return DUMMY_AWS | {"AWS_ENDPOINT_URL": self.url} | keys | session

    def client(self, service, credentials, region="us-east-1"):
        """A boto3 client; for the credentials see `env`."""
        import boto3  # here: most tests need no AWS, and it takes half a second

        environment = self.env(credentials)
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=environment.get("AWS_SESSION_TOKEN"),
        )

    def user(self, account, name, *keys, **options):
        """Creates a user of an account with access keys of the given statuses ("Active", "Inactive"); returns the keys."""
        iam = self.client("iam", account)
        iam.create_user(UserName=name, **options)
        created = []
        for status in keys:
            key = iam.create_access_key(UserName=name)["AccessKey"]
            if status != "Active":
                iam.update_access_key(UserName=name, AccessKeyId=key["AccessKeyId"], Status=status)
            created.append(key)
        return created

    def assume(self, credentials, arn, **options):
        """Credentials of a role."""
        return self.client("sts", credentials).assume_role(RoleArn=arn, RoleSessionName="test", **options)["Credentials"]
