"""Containers of systemd-nspawn to look at: small ones of a few programs, and one that boots a whole Debian."""

import contextlib
import os
import pathlib
import shutil
import subprocess

from scene import DEADLINE, ENVIRONMENT, PATIENCE, end, out, record, run, until

TEMPLATE = pathlib.Path("/usr/share/machine-template")
IMAGES = pathlib.Path("/var/lib/machines")
SCRATCH = pathlib.Path("/var/tmp/system-test")
# The Debian root that this host was made of, shown in from outside: an overlay cannot lie on one.
ROOT = pathlib.Path("/lab-root")


def image(name):
    """A file tree for a container of that name."""
    directory = IMAGES / name
    if not directory.exists():
        shutil.copytree(TEMPLATE, directory, symlinks=True)
    return directory


def remove_image(name):
    shutil.rmtree(IMAGES / name, ignore_errors=True)


class Container:
    """A small container of systemd-nspawn, started like by hand, that sleeps."""

    def __init__(self, name, *options, payload=("sleep", "infinity"), prefix=(), init=("--as-pid2",), registers=True):
        self.name = name
        self.directory = image(name)
        words = [*prefix, "systemd-nspawn", "--quiet", "--console=pipe", f"--directory={IMAGES / name}",
                 f"--machine={name}", *options, *init, *payload]
        self.log = SCRATCH / f"{name}.log"
        SCRATCH.mkdir(exist_ok=True)
        with self.log.open("w") as log:
            self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=ENVIRONMENT, start_new_session=True)
        if registers:
            # The record is there before the scope is.
            until(lambda: self.told() or "State=running" in run("machinectl", "show", name).stdout, f"{name} is registered")
            assert self.process.poll() is None, f"{name} ended: {self.log.read_text()}"

    def told(self):
        return self.process.poll() is not None and "ended"

    @property
    def leader(self):
        return int(record(self.name)["LEADER"])

    def end(self):
        if self.process.poll() is None:
            for how in ("terminate",), ("--signal=SIGKILL", "kill"):
                run("machinectl", *how, self.name)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(DEADLINE / 4)
                    break
        end(self.process)
        until(lambda: not record(self.name), f"{self.name} is gone")
        # Where it was killed, it left this behind, and the next one would refuse to start.
        runtime = pathlib.Path("/run/systemd/nspawn")
        for left in (runtime / "unix-export" / self.name, runtime / self.name / "unix-export"):
            run("umount", "--quiet", left)
            with contextlib.suppress(OSError):
                left.rmdir()
        remove_image(self.name)

    def network(self, inside, outside):
        """Gives the two ends of the container's veth these addresses."""
        link = pathlib.Path(f"/sys/class/net/ve-{self.name}")
        until(link.exists, f"the link of {self.name}")
        enter = ["nsenter", f"--target={self.leader}", "--net"]
        for prefix, device, addresses in (([], link.name, outside), (enter, "host0", inside)):
            out(*prefix, "ip", "link", "set", device, "addrgenmode", "none", "up")
            for address in addresses:
                out(*prefix, "ip", "address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))


class Debian:
    """A container that boots a real systemd, by systemd-nspawn@.service."""

    def __init__(self, name="real"):
        self.name, self.unit = name, f"systemd-nspawn@{name}.service"
        self.upper, self.work = SCRATCH / f"{name}.upper", SCRATCH / f"{name}.work"
        self.directory = IMAGES / name
        for directory in (self.upper, self.work, self.directory):
            directory.mkdir(parents=True, exist_ok=True)
        out("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={ROOT},upperdir={self.upper},workdir={self.work}", self.directory)
        (self.directory / "etc/machine-id").write_text(f"{os.urandom(16).hex()}\n")
        (self.directory / "etc/hostname").write_text(f"{name}\n")
        # systemd-nspawn makes its own, and may not give these away where its service's devices are restricted.
        for node in (self.directory / "dev").iterdir():
            if node.is_char_device():
                node.unlink()
        # What nobody asks of this one, and takes its time.
        for unit in ("systemd-resolved.service", "systemd-userdbd.socket", "systemd-userdbd.service", "e2scrub_reap.service"):
            os.symlink("/dev/null", self.directory / "etc/systemd/system" / unit)
        try:
            out("systemctl", "start", self.unit, deadline=3 * PATIENCE)
            self.wait_until_up()
        except BaseException:
            # The next one who asks begins anew.
            self.end()
            raise

    def wait_until_up(self):
        until(lambda: run("systemctl", "--machine", self.name, "is-system-running").stdout.strip() in ("running", "degraded"),
              f"{self.name} is up", 3 * PATIENCE)

    @property
    def leader(self):
        return int(record(self.name)["LEADER"])

    def end(self):
        run("systemctl", "stop", self.unit, deadline=PATIENCE)
        until(lambda: not record(self.name), f"{self.name} is gone")
        run("systemctl", "reset-failed", self.unit)
        out("umount", self.directory)
        for directory in (self.upper, self.work, self.directory):
            shutil.rmtree(directory, ignore_errors=True)


class Shared:
    """Machines that many tests only look at, started when the first one asks."""

    def __init__(self):
        self.running = {}

    def of(self, name, start):
        if name not in self.running:
            self.running[name] = start()
        return self.running[name]

    @property
    def web(self):
        """A small container with users and a network of its own."""
        def start():
            web = Container("web", "--network-veth", "--private-users=pick")
            web.network(["10.99.1.2/24", "fd99:1::2/64"], ["10.99.1.1/24", "fd99:1::1/64"])
            # A daemon that is told of addresses, and not asked, may need a moment.
            for address in "10.99.1.2", "fd99:1::2":
                until(lambda a=address: a in run("getent", "ahosts", "web").stdout, f"{address} is known")
            return web
        return self.of("web", start)

    def start_web(self):
        self.web  # pylint: disable=pointless-statement

    @property
    def real(self):
        """A container that boots a real systemd."""
        return self.of("real", Debian)

    def forget(self, name):
        """It has ended by itself: the next who asks gets a new one."""
        self.running.pop(name).end()

    def end(self):
        while self.running:
            self.running.popitem()[1].end()


shared = Shared()
