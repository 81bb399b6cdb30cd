"""A Linux machine for a test: systemd as process 1 of its own namespaces, on a throw-away layer above this one's files.

What runs in it sees this system's programs and its own processes, network and /etc; it can install, change and start
whatever the documentation says, and nothing of it outlives the test. The checkout and the test tools are there, read-only, at their own paths.

Needs root (or sudo without a password) and systemd.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile

from harness import PATIENCE, ROOT, TOOLS, clean_environment, wait_until


def as_root():
    """What to put before a command that root has to run."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    raise AssertionError("this test has to become root: run it as root, or where sudo asks for no password")


def need(command):
    """Path of a program of this system."""
    if found := shutil.which(command, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])):
        return found
    raise AssertionError(f"'{command}' is missing: run scripts/prerequisites")


# The layer is above all of this system's files, except for those that only make sense for its own process 1. Nothing that
# is enabled here starts there: its unit directories begin empty, and so does its list of what to start.
SETUP = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$BASE"
mkdir "$BASE/upper" "$BASE/work" "$BASE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work" "$BASE/root"
root=$BASE/root
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
for directory in run tmp var/log; do mount -t tmpfs tmpfs "$root/$directory"; done
# Either can be below a directory that is empty here, such as /tmp.
for directory in "$CHECKOUT" "$CACHE"; do
  mkdir -p "$root$directory"
  mount --bind "$directory" "$root$directory"
  mount -o remount,bind,ro "$root$directory"
done
rm -rf "$root/etc/systemd/system" "$root/etc/cron.d" "$root/etc/iam-key-exporter" "$root/usr/local/bin/iam-key-exporter"
mkdir -p "$root/etc/systemd/system/test.target.wants" "$root/etc/cron.d"
cat >"$root/etc/systemd/system/test.target" <<END
[Unit]
Description=Nothing but what the test starts
Wants=systemd-journald.service
END
# Separate control groups, below those of this system, so that its systemd manages only its own processes.
group=$(findmnt --first-only --noheadings --output=TARGET --types=cgroup2)/$(basename "$BASE")
mkdir "$group"
echo $$ >"$group/cgroup.procs"
umount --lazy "$root/proc"
# Not chroot, in which a process may have no user namespaces: systemd's PrivateUsers= makes one.
exec unshare --net --pid --ipc --uts --cgroup --fork --kill-child sh -e -c '
  ip link set lo up
  mount -t proc proc "$0/proc"
  # The kernel is the one of all: its settings stay as they are.
  mount --bind "$0/proc/sys" "$0/proc/sys"
  mount -o remount,bind,ro "$0/proc/sys"
  mount -t sysfs -o ro sysfs "$0/sys"
  mount -t cgroup2 cgroup2 "$0/sys/fs/cgroup"
  cd "$0"
  pivot_root . mnt
  cd /
  umount --lazy /mnt
  # As on a real machine; LoadCredential= relies on it.
  mount --make-rshared /
  exec /lib/systemd/systemd --system --unit=test.target --show-status=no --log-target=journal' "$root"
"""


class Machine:
    """`with Machine() as machine: machine.run("systemctl start ...")`."""

    def __init__(self):
        self.process = self.pid = None

    def __enter__(self):
        need("/lib/systemd/systemd")
        self.base = tempfile.mkdtemp(prefix="machine-")
        self.log = pathlib.Path(self.base + ".log")
        # The directory of all tools: links in the checkout lead to it.
        cache = pathlib.Path(TOOLS.bin("moto_server")).resolve().parents[3]
        variables = {"BASE": self.base, "CHECKOUT": str(ROOT), "CACHE": str(cache), "container": "lxc"}
        command = [*as_root(), "env", *(f"{name}={value}" for name, value in variables.items())]
        command += ["unshare", "--mount", "bash", "-c", SETUP]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(lambda: self.process.poll() is not None or self._init(), what="process 1 of the machine")
            assert self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]
            self.pid = self._init()
            wait_until(lambda: self.run("systemctl is-active test.target", check=False).stdout.strip() == "active")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _init(self):
        """The number, seen from here, of the machine's process 1."""
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            try:
                text, arguments = status.read_text(), (status.parent / "cmdline").read_bytes()
            except OSError:
                continue
            inner = next(line.split() for line in text.splitlines() if line.startswith("NSpid:"))
            if len(inner) == 3 and inner[2] == "1" and b"--unit=test.target" in arguments and self._descends(inner[1]):
                return inner[1]
        return None

    def _descends(self, pid):
        """Whether this machine's process is an ancestor: other tests may have machines, too."""
        while pid not in ("0", "1"):
            if pid == str(self.process.pid):
                return True
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
            pid = stat.rpartition(")")[2].split()[1]
        return False

    def __exit__(self, *_):
        if self.pid:
            subprocess.run([*as_root(), "kill", "-KILL", self.pid], check=False)
        elif self.process and self.process.poll() is None:
            subprocess.run([*as_root(), "kill", "-KILL", str(self.process.pid)], check=False)
        self.process.wait(PATIENCE)
        groups = f"find /sys/fs/cgroup -depth -type d -path '*/{pathlib.Path(self.base).name}*' -exec rmdir {{}} +"
        wait_until(lambda: subprocess.run([*as_root(), "sh", "-c", groups]).returncode == 0, what="the end of its control groups")
        shutil.rmtree(self.base, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    def run(self, script, check=True, environment=None):
        """Runs a shell script as the machine's root, in the checkout."""
        inside = ["nsenter", "--target", self.pid, "--mount", "--net", "--pid", "--ipc", "--uts", "--root", f"--wdns={ROOT}"]
        variables = {name: clean_environment()[name] for name in ("PATH",)} | {"HOME": "/root"} | (environment or {})
        command = [*as_root(), *inside, "env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        result = subprocess.run(
            [*command, "bash", "-e", "-o", "pipefail", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
        )
        if check:
            assert result.returncode == 0, f"{shlex.quote(script)}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def journal(self, unit):
        return self.run(f"journalctl --no-pager --output=cat --unit={unit}").stdout

    def show(self, unit, name):
        """A property of a unit."""
        return self.run(f"systemctl show --property={name} --value {unit}").stdout.strip()

    def get(self, port, path="/metrics"):
        """What a server of the machine answers."""
        return self.run(f"curl --silent --show-error --fail --max-time 10 http://127.0.0.1:{port}{path}").stdout
