"""The commands of `docker` that docs/docker.md uses, implemented with runc, for machines without Docker's daemon. It supports one image, and
refuses every option that it does not know. Networking is the machine's own, so published ports must be the container's.

    docker_stand_in.py IMAGE-AS-JSON docker's arguments...
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

STATE = pathlib.Path("/run/docker-stand-in")
RUNC = ["runc", "--root", str(STATE / "runc")]


def parse(arguments):
    parser = argparse.ArgumentParser(prog="docker", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", allow_abbrev=False)
    for flag in ("--detach", "--rm", "--read-only"):
        run.add_argument(flag, action="store_true")
    for flag in ("--publish", "--volume", "--env"):
        run.add_argument(flag, action="append", default=[])
    run.add_argument("--cap-drop", choices=["ALL"])
    run.add_argument("--security-opt", choices=["no-new-privileges"])
    run.add_argument("--restart", choices=["unless-stopped"])
    run.add_argument("--name", default=f"unnamed-{os.getpid()}")
    run.add_argument("--user")
    run.add_argument("image")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    execute = commands.add_parser("exec")
    execute.add_argument("name")
    execute.add_argument("arguments", nargs=argparse.REMAINDER)
    commands.add_parser("logs").add_argument("name")
    kill = commands.add_parser("kill")
    kill.add_argument("--signal", default="KILL")
    kill.add_argument("name")
    remove = commands.add_parser("rm")
    remove.add_argument("--force", action="store_true", required=True)
    remove.add_argument("name")
    return parser.parse_args(arguments)


def bundle(options, image):
    """The bundle of runc, in a directory."""
    if options.image != image["name"]:
        sys.exit(f"docker: there is no image {options.image}, only {image['name']}")
    for published in options.publish:
        outside, inside = published.split(":")
        if outside != inside:
            sys.exit(f"docker: cannot publish {published}")
    directory = STATE / options.name
    directory.mkdir(parents=True)
    subprocess.run(["runc", "spec", "--bundle", directory], check=True)
    spec = json.loads((directory / "config.json").read_text())
    config, process = image["config"], spec["process"]
    user, group = map(int, (options.user or config["User"]).split(":"))
    process |= {"terminal": False, "user": {"uid": user, "gid": group}, "cwd": "/"}
    process["args"] = config["Entrypoint"] + (options.arguments or config["Cmd"])
    given = [name if "=" in name else f"{name}={os.environ[name]}" for name in options.env if "=" in name or name in os.environ]
    process["env"] = config["Env"] + given
    process["capabilities"] = {} if options.cap_drop else process["capabilities"]
    process["noNewPrivileges"] = bool(options.security_opt)
    spec["root"] = {"path": image["root"], "readonly": options.read_only}
    volumes = [volume.split(":") for volume in options.volume]
    spec["mounts"] += [
        {"source": source, "destination": target, "type": "bind", "options": ["bind", *mode]} for source, target, *mode in volumes
    ]
    kept = [kind for kind in spec["linux"]["namespaces"] if kind["type"] != "network"]
    spec["linux"] = {name: value for name, value in spec["linux"].items() if name != "resources"} | {"namespaces": kept}
    (directory / "config.json").write_text(json.dumps(spec))
    return directory


def main():
    image, options = json.loads(pathlib.Path(sys.argv[1]).read_text()), parse(sys.argv[2:])
    if options.command == "run":
        directory = bundle(options, image)
        command = [*RUNC, "run", "--bundle", str(directory), options.name]
        if options.detach:
            with open(directory / "log", "wb") as log:
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            return 0
        code = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
        shutil.rmtree(directory)
        return code
    if options.command == "exec":
        return subprocess.run([*RUNC, "exec", options.name, *options.arguments]).returncode
    if options.command == "logs":
        print((STATE / options.name / "log").read_text(), end="")
        return 0
    if options.command == "kill":
        return subprocess.run([*RUNC, "kill", options.name, options.signal]).returncode
    shutil.rmtree(STATE / options.name)
    return subprocess.run([*RUNC, "delete", "--force", options.name]).returncode


if __name__ == "__main__":
    sys.exit(main())
