"""A large account for the benchmarks.

    account.py --users 5000 --form inventory > inventory.json     for --input.inventory
    account.py --users 5000 --form moto --port 5000                a moto server that has these users, until it is ended

Every user has one active key, but every 250th has two and the one after that none: as many keys as users, so that N users
give 4 N series.
"""

import argparse
import datetime
import json
import sys

# Young and in use, so that only the users with two keys violate anything.
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
MADE = NOW - datetime.timedelta(days=45)
USED = NOW - datetime.timedelta(days=2)
# The first account; further ones have the next numbers.
ACCOUNT = 123456789012


def users(count):
    """Name, path, number of keys."""
    for number in range(count):
        keys = {0: 2, 1: 0}.get(number % 250, 1)
        yield f"user-{number:05}", f"/division/team-{number % 40}/", keys


def inventory(count):
    key = {"status": "active", "created": MADE.isoformat(), "last_used": USED.isoformat()}
    return {
        "version": 1,
        "account": {"id": str(ACCOUNT), "name": "benchmark"},
        "root": {"active_access_keys": 0},
        "users": [{"name": name, "path": path, "access_keys": [key] * keys} for name, path, keys in users(count)],
    }


class CountingApplication:
    """Counts requests; `/bench/requests` has the number."""

    def __init__(self, application):
        self.application, self.requests = application, 0

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/bench/requests":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"requests": self.requests}).encode()]
        self.requests += 1
        return self.application(environ, start_response)


def serve_moto(count, accounts, port):
    """Writes the users directly into moto's memory, because creating 5,000 users with boto3 takes minutes."""
    from moto.iam.models import iam_backends
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    for number in range(accounts):
        iam = iam_backends[str(ACCOUNT + number)]["aws"]
        for name, path, keys in users(count):
            iam.create_user("us-east-1", name, path=path)
            for _ in range(keys):
                key = iam.create_access_key(name)
                key.create_date = MADE
                key.last_used = USED
        # A report already exists, as usual on AWS.
        iam.generate_report()
    server = make_server("127.0.0.1", port, CountingApplication(DomainDispatcherApplication(create_backend_app)), threaded=True)
    print(f"port {server.port}", flush=True)
    server.serve_forever()


def run():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--accounts", type=int, default=1, help="of the moto server, with as many users each")
    parser.add_argument("--form", choices=["inventory", "moto"], required=True)
    parser.add_argument("--port", type=int, help="of the moto server; 0 for any, which it prints")
    arguments = parser.parse_args()
    if arguments.form == "inventory":
        json.dump(inventory(arguments.users), sys.stdout)
    elif arguments.port is None:
        parser.error("--form moto needs --port")
    else:
        serve_moto(arguments.users, arguments.accounts, arguments.port)


if __name__ == "__main__":
    run()
