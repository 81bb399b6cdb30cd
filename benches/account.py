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


def users(count):
    """Name, path, number of keys."""
    for number in range(count):
        keys = {0: 2, 1: 0}.get(number % 250, 1)
        yield f"user-{number:05}", f"/division/team-{number % 40}/", keys


def inventory(count):
    key = {"status": "active", "created": MADE.isoformat(), "last_used": USED.isoformat()}
    return {
        "version": 1,
        "account": {"id": "123456789012", "name": "benchmark"},
        "root": {"active_access_keys": 0},
        "users": [{"name": name, "path": path, "access_keys": [key] * keys} for name, path, keys in users(count)],
    }


def serve_moto(count, port):
    """Writes the users directly into moto's memory, because creating 5,000 users with boto3 takes minutes."""
    from moto.iam.models import iam_backends
    from moto.server import main

    iam = iam_backends["123456789012"]["aws"]
    for name, path, keys in users(count):
        iam.create_user("us-east-1", name, path=path)
        for _ in range(keys):
            key = iam.create_access_key(name)
            key.create_date = MADE
            key.last_used = USED
    # A report already exists, as usual on AWS.
    iam.generate_report()
    main(["-H", "127.0.0.1", "-p", str(port)])


def run():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--form", choices=["inventory", "moto"], required=True)
    parser.add_argument("--port", type=int, help="of the moto server")
    arguments = parser.parse_args()
    if arguments.form == "inventory":
        json.dump(inventory(arguments.users), sys.stdout)
    elif arguments.port is None:
        parser.error("--form moto needs --port")
    else:
        serve_moto(arguments.users, arguments.port)


if __name__ == "__main__":
    run()
