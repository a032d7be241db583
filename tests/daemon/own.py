"""A user's own daemon: `machined --user`, without root, without systemd, with and without the bus of a session."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import unittest

import processes
import records
import varlink
import world
from varlink import NO_SUCH_MACHINE, OK, as_user, verdict
from waiting import until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "dbus"))

import service  # noqa: E402
from service import MANAGER, NAME, path_of  # noqa: E402

# A bus lets in only users that there are: daemon.
OWN, OTHER = 1, world.NOBODY
RUNTIME = f"/run/user/{OWN}"
HOME = "/run/home"
SOCKET = f"{RUNTIME}/systemd/machine/io.systemd.Machine"
RECORDS = f"{RUNTIME}/systemd/machines"
BUS = shutil.which("dbus-daemon")


def drop():
    os.setgroups([])
    os.setresgid(OWN, OWN, OWN)
    os.setresuid(OWN, OWN, OWN)


def call(method, parameters=None, uid=OWN, more=False):
    """The replies to a call by a user; none if the connection was closed, or there was none."""
    def one():
        try:
            with varlink.Client(path=SOCKET) as client:
                return client.stream(method, parameters) if more else [client.call(method, parameters)]
        except (ConnectionError, PermissionError):
            return [None]
    return as_user(uid, one)


def ask(method, parameters=None, uid=OWN):
    return verdict(call(method, parameters, uid)[-1])


class Case(world.Case):
    """With a user who may have a daemon."""

    def setUp(self):
        super().setUp()
        for path, mode in (RUNTIME, 0o700), (HOME, 0o700):
            os.makedirs(path)
            os.chmod(path, mode)
            os.chown(path, OWN, OWN)

    def start_own(self, *arguments, group=None, **more):
        environment = {"XDG_RUNTIME_DIR": RUNTIME, "HOME": HOME, **more.pop("env", {})}
        enter = f'echo $$ >{group}/cgroup.procs; ' if group else ""
        become = f'{enter}exec setpriv --reuid {OWN} --regid {OWN} --clear-groups "$@"'
        return self.start("--user", *arguments, prefix=("sh", "-c", become, "sh"), env=environment, **more)

    def own_leader(self):
        return self.leader(drop)


@world.needs_root
class Own(Case):
    def register(self, name, leader, **more):
        registered = ask("Register", {"name": name, "class": "container", "leader": leader.pid, **more})
        self.assertEqual(registered, OK)

    def record(self, name):
        return records.record(name, RECORDS)

    def test_a_users_machine_comes_and_goes_without_root_bus_and_systemd(self):
        self.start_own()
        leader = self.own_leader()
        self.register("web", leader)
        self.assertEqual((self.record("web")["LEADER"], self.record("web")["UID"]), (str(leader.pid), str(OWN)))
        self.assertEqual([reply["parameters"]["name"] for reply in call("List", more=True)], ["web"])
        self.assertEqual(ask("Kill", {"name": "web", "whom": "leader", "signal": signal.SIGKILL}), OK)
        self.assertEqual(leader.reap(), -signal.SIGKILL)
        until(lambda: not self.record("web"), "the end of the record")
        self.assertEqual(verdict(call("List", more=True)[-1]), NO_SUCH_MACHINE)

    def test_nothing_of_the_systems_is_touched(self):
        before = sorted(os.listdir("/run"))
        self.start_own()
        self.register("web", self.own_leader())
        self.assertEqual(sorted(os.listdir("/run")), before)

    def test_the_sockets_are_the_users_alone_and_found_by_the_names_of_their_interfaces(self):
        self.start_own()
        self.assertEqual(stat.S_IMODE(os.stat(SOCKET).st_mode), 0o600)
        for link in (f"{RUNTIME}/systemd/machine/io.systemd.MachineImage",
                     f"{RUNTIME}/varlink/registry/io.systemd.Machine",
                     f"{RUNTIME}/varlink/registry/io.systemd.MachineImage"):
            self.assertEqual(os.readlink(link), SOCKET)

    def test_other_users_are_refused_and_so_is_root(self):
        self.start_own()
        self.register("web", self.own_leader())
        # As where somebody opened the way to others.
        for path, mode in (RUNTIME, 0o755), (SOCKET, 0o666):
            os.chmod(path, mode)
        trial = {"name": "theirs", "class": "container", "leader": os.getpid()}
        for uid in OTHER, 0:
            for method, parameters in ("List", {"name": "web"}), ("Register", trial), ("Terminate", {"name": "web"}):
                self.assertEqual(ask(method, parameters, uid), "closed", f"{method} as {uid}")
        self.assertEqual(ask("List", {"name": "web"}), OK)

    def test_the_host_is_no_machine_of_a_users_and_no_image(self):
        self.start_own()
        for method, more in ("List", {}), ("Terminate", {}), ("Open", {"mode": "tty"}), ("OpenRootDirectory", {}):
            self.assertEqual(ask(method, {"name": ".host", **more}), NO_SUCH_MACHINE, method)
        self.assertEqual(ask("io.systemd.MachineImage.List", {"name": ".host"}),
                         "io.systemd.MachineImage.NoSuchImage")

    def test_images_are_found_in_the_users_directories(self):
        places = {"runtime": f"{RUNTIME}/machines", "state": f"{HOME}/.local/state/machines",
                  "library": f"{HOME}/.local/lib/machines"}
        for name, path in places.items():
            os.makedirs(f"{path}/{name}/usr")
        subprocess.run(["chown", "-R", f"{OWN}:{OWN}", RUNTIME, HOME], check=True)
        os.makedirs("/run/machines/systems/usr")
        self.start_own()
        found = [reply["parameters"] for reply in call("io.systemd.MachineImage.List", more=True)]
        self.assertEqual({image["name"]: image["path"] for image in found},
                         {name: f"{path}/{name}" for name, path in places.items()})
        for name, path in places.items():
            self.assertEqual(ask("io.systemd.MachineImage.Clone", {"name": name, "newName": f"{name}-copy"}), OK, name)
            # A copy is where machines of the user's are kept.
            self.assertTrue(os.path.isdir(f"{places['state']}/{name}-copy/usr"), name)
            self.assertEqual(os.stat(f"{places['state']}/{name}-copy/usr").st_uid, OWN)
            self.assertEqual(ask("io.systemd.MachineImage.Update", {"name": name, "newName": f"{name}-new"}), OK, name)
            self.assertTrue(os.path.isdir(f"{path}/{name}-new/usr"), name)
            for gone in f"{name}-new", f"{name}-copy":
                self.assertEqual(ask("io.systemd.MachineImage.Remove", {"name": gone}), OK, gone)
            self.assertEqual(os.listdir(path), [])

    def test_machines_outlive_a_kill_of_the_daemon(self):
        self.start_own()
        leader = self.own_leader()
        self.register("web", leader)
        self.machined.kill()
        self.start_own()
        self.assertEqual(ask("List", {"name": "web"}), OK)
        leader.kill()
        until(lambda: not self.record("web"), "the end of the record")

    def test_another_daemon_of_the_same_user_gives_way(self):
        self.start_own()
        second = self.start_own(ready=False)
        self.assertEqual(second.process.wait(20), 1)
        self.assertIn("another machined keeps the registry", second.log())

    def test_without_a_runtime_directory_of_the_users_own_it_says_so(self):
        os.makedirs("/run/user/0")
        for directory, reason in ("", "$XDG_RUNTIME_DIR names no directory"), ("/run/user/0", "belongs to another user"):
            daemon = self.start_own(ready=False, env={"XDG_RUNTIME_DIR": directory})
            self.assertEqual(daemon.process.wait(20), 1)
            self.assertIn(reason, daemon.log())

    def test_addresses_that_may_not_be_looked_at_are_not_told(self):
        self.start_own()
        container = self.container("10.9.0.2/24")
        self.register("web", container)
        self.assertNotIn("ADDRESSES", self.record("web"))

    def rootless(self):
        """A process of the user's in a user and network namespace of its own, as containers without root are."""
        process = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "infinity"], user=OWN, group=OWN,
                                   extra_groups=[], cwd="/")
        self.addCleanup(lambda: (process.kill(), process.wait()))
        until(lambda: pathlib.Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "the container")
        return process

    def test_addresses_behind_a_veth_of_a_container_without_root_are_told_without_privileges(self):
        self.start_own()
        container = self.rootless()
        # As systemd-nsresourced and networkd make it.
        inside = ["nsenter", "--target", str(container.pid), "--net"]
        for command in (["ip", "link", "add", "host0", "type", "veth", "peer", "name", "inner0", "netns", str(container.pid)],
                        ["ip", "address", "add", "10.9.3.1/24", "dev", "host0"], ["ip", "link", "set", "host0", "up"],
                        [*inside, "ip", "address", "add", "10.9.3.2/24", "dev", "inner0"], [*inside, "ip", "link", "set", "inner0", "up"]):
            subprocess.run(command, check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "delete", "host0"], stderr=subprocess.DEVNULL, check=False)
        self.register("web", container, ifIndices=[socket.if_nametoindex("host0")])
        until(lambda: self.record("web").get("ADDRESSES", "").split() == ["10.9.3.2"], "the address")
        subprocess.run([*inside, "ip", "address", "add", "10.9.3.3/24", "dev", "inner0"], check=True)
        until(lambda: self.record("web")["ADDRESSES"].split() == ["10.9.3.2", "10.9.3.3"], "the other address")

    def test_a_container_without_root_whose_network_is_a_programs_has_no_addresses(self):
        # As pasta and slirp4netns make it: an interface that leads to a program, and to nobody from the host.
        self.start_own()
        container = self.rootless()
        inside = ["nsenter", "--target", str(container.pid), "--net"]
        subprocess.run([*inside, "ip", "tuntap", "add", "tap0", "mode", "tap"], check=True)
        subprocess.run([*inside, "ip", "address", "add", "10.0.2.100/24", "dev", "tap0"], check=True)
        subprocess.run([*inside, "ip", "link", "set", "tap0", "up"], check=True)
        self.register("web", container)
        self.assertNotIn("ADDRESSES", self.record("web"))

    def test_what_somebody_planted_among_the_records_does_not_keep_the_daemon_from_its_start(self):
        os.makedirs(RECORDS)
        os.mkfifo(f"{RECORDS}/fifo")
        os.symlink("/etc/shadow", f"{RECORDS}/link")
        os.symlink("loop", f"{RECORDS}/loop")
        os.mkdir(f"{RECORDS}/directory")
        pathlib.Path(f"{RECORDS}/init").write_text("# \nNAME=init\nLEADER=1\nCLASS=container\n")
        pathlib.Path(f"{RECORDS}/large").write_bytes(b"#" * (1 << 20))
        subprocess.run(["chown", "-hR", f"{OWN}:{OWN}", RUNTIME], check=True)
        self.start_own()
        self.register("web", self.own_leader())
        for name in "fifo", "link", "loop", "directory", "large":
            self.assertEqual(ask("List", {"name": name}), NO_SUCH_MACHINE, name)
        # What is the user's own record of a process that is not the user's: it may not be ended by that.
        ask("Kill", {"name": "init", "whom": "leader", "signal": signal.SIGKILL})
        self.assertTrue(processes.is_running(1))
        self.assertEqual(ask("List", {"name": "web"}), OK)

    @world.needs_cgroup
    def test_a_group_that_the_user_was_given_is_where_machines_get_theirs(self):
        group = f"{world.CGROUP}/delegated"
        os.makedirs(f"{group}/session")
        for path in (group, f"{group}/session"):
            os.chown(path, OWN, OWN)
            for file in "cgroup.procs", "cgroup.subtree_control":
                os.chown(f"{path}/{file}", OWN, OWN)
        self.start_own(group=f"{group}/session")
        leader = self.own_leader()
        pathlib.Path(f"{group}/session/cgroup.procs").write_text(str(leader.pid))
        self.register("web", leader, allocateUnit=True)
        place = pathlib.Path(f"/proc/{leader.pid}/cgroup").read_text().strip()
        self.assertTrue(place.endswith("/delegated/session/machines/web"), place)
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assertEqual(leader.reap(), -signal.SIGTERM)
        until(lambda: not os.path.exists(f"{group}/session/machines/web"), "the end of the group")

    @world.needs_cgroup
    def test_where_the_user_was_given_no_group_none_is_made_and_a_machine_needs_none(self):
        self.start_own()
        leader = self.own_leader()
        parameters = {"name": "web", "class": "container", "leader": leader.pid}
        self.assertIn("io.systemd.System", ask("Register", {**parameters, "allocateUnit": True}))
        self.assertIsNone(self.record("web"))
        self.assertEqual(ask("Register", parameters), OK)

    @unittest.skipUnless(BUS, "needs dbus-daemon")
    def test_the_name_is_on_the_session_bus_when_one_comes(self):
        socket = f"{RUNTIME}/bus"
        self.start_own()
        self.register("web", self.own_leader())
        bus = subprocess.Popen([BUS, "--session", f"--address=unix:path={socket}", "--nofork", "--nopidfile", "--nosyslog"],
                               user=OWN, group=OWN, extra_groups=[], stderr=subprocess.DEVNULL, cwd="/")
        self.addCleanup(lambda: (bus.kill(), bus.wait()))

        def machine():
            try:
                with contextlib.closing(service.Client(socket)) as client:
                    if client.bus("NameHasOwner", "s", NAME) != [True]:
                        return None
                    listed = client.manager("ListMachines", "")
                    client.manager("UnregisterMachine", "s", "web")
                    return [listed, client.manager("ListMachines", "")]
            except OSError:
                return None
        told = until(lambda: as_user(OWN, machine), "the name on the session bus", 30)
        self.assertEqual(told, [[[("web", "container", "", path_of("web"))]], [[]]])
        self.assertIsNone(self.record("web"))


if __name__ == "__main__":
    world.main()
