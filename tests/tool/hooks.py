"""`register --from`: what container managers' hooks call. It never fails, and takes two seconds at most."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import processes
import records
import tool
from tool import run
from waiting import until

HOOKS = pathlib.Path(__file__).resolve().parent.parent.parent / "hooks"


class Hooks(tool.Case):
    def lxc(self, leader, name="web"):
        return run("register", "--from", "lxc", env={
            "LXC_NAME": name, "LXC_PID": str(leader.pid), "LXC_HOOK_TYPE": "start-host", "LXC_HOOK_SECTION": "lxc",
            "LXC_HOOK_VERSION": "1", "LXC_CONFIG_FILE": f"/var/lib/lxc/{name}/config",
            "LXC_ROOTFS_PATH": f"dir:/var/lib/lxc/{name}/rootfs"})

    def oci(self, leader, annotation="web"):
        return run("register", "--from", "oci", text=json.dumps({
            "ociVersion": "1.0.0", "id": "8f3c0f5a9d1e77b2", "pid": leader.pid, "status": "running", "bundle": "/nonexistent",
            "annotations": {"io.mymachines.register": annotation, "io.container.manager": "libpod"}}))

    def test_lxc_registers(self):
        self.start()
        leader = self.leader()
        done = self.lxc(leader)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        record = records.record("web")
        self.assertEqual((int(record["LEADER"]), record["SERVICE"], record["ROOT"]),
                         (leader.pid, "lxc", "/var/lib/lxc/web/rootfs"))

    def test_podman_registers(self):
        self.start()
        leader = self.leader()
        self.assertEqual(self.oci(leader).returncode, 0)
        self.assertEqual((int(records.record("web")["LEADER"]), records.record("web")["SERVICE"]), (leader.pid, "podman"))

    def test_a_name_that_is_none_becomes_one_and_that_is_said(self):
        self.start()
        done = self.lxc(self.leader(), "my_container")
        self.assertEqual(done.returncode, 0)
        self.assertIn("registered as 'my-container'", done.stderr)
        self.assertEqual(records.names(), ["my-container"])

    def test_it_succeeds_whatever_goes_wrong(self):
        leader = self.leader()
        self.assertEqual(self.lxc(leader).returncode, 0, "no daemon")
        self.start()
        self.assertEqual(run("register", "--from", "lxc").returncode, 0, "no environment")
        for text in "", "{", "[]", "{}", json.dumps({"id": "x", "pid": -1}):
            self.assertEqual(run("register", "--from", "oci", text=text).returncode, 0, text)
        self.register("web", leader)
        done = self.lxc(self.leader())
        self.assertEqual(done.returncode, 0, "the name is taken")
        self.assertIn("there is a machine 'web' already", done.stderr)

    def in_time(self, work):
        """It takes two seconds at most, and as long again for a machine that is busy with something else, once in a while."""
        took = []
        while len(took) < 3 and (not took or took[-1] >= 4):
            began = time.monotonic()
            work()
            took.append(time.monotonic() - began)
        self.assertLess(took[-1], 4, took)

    def test_a_frozen_daemon_costs_two_seconds(self):
        self.start()
        self.machined.process.send_signal(signal.SIGSTOP)
        until(lambda: processes.state(self.machined.pid) == "T")
        leader = self.leader()
        done = []
        self.in_time(lambda: done.append(self.lxc(leader)))
        self.assertEqual(done[0].returncode, 0)
        self.assertIn("not registered", done[0].stderr)

    def test_a_state_that_never_ends_costs_two_seconds(self):
        self.start()
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        done = []
        self.in_time(lambda: done.append(run("register", "--from", "oci", stdin=reader)))
        os.close(reader)
        self.assertEqual(done[0].returncode, 0)
        self.assertIn("took more than 2 s", done[0].stderr)

    @tool.world.needs_root
    def test_a_users_container_is_registered_with_the_users_own_daemon(self):
        uid, runtime = 1, "/run/user/1"
        for path in runtime, "/run/home":
            os.makedirs(path)
            os.chown(path, uid, uid)
        become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
        self.start("--user", prefix=become, env={"XDG_RUNTIME_DIR": runtime, "HOME": "/run/home"})

        def registered(name, *way):
            leader = subprocess.Popen([*become, "sleep", "infinity"])
            self.addCleanup(lambda: (leader.kill(), leader.wait()))
            until(lambda: os.stat(f"/proc/{leader.pid}").st_uid == uid, "the leader")
            state = {"id": "8f3c0f5a9d1e77b2", "pid": leader.pid, "annotations": {"io.mymachines.register": name}}
            done = subprocess.run([*become, *way, tool.MYMACHINES, "register", "--from", "oci"], input=json.dumps(state), text=True,
                                  capture_output=True, timeout=20, env={"PATH": os.environ["PATH"]}, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), way)
            self.assertTrue(os.path.exists(f"{runtime}/systemd/machines/{name}"), way)

        # By the environment, by the uid, and as a hook of rootless Podman, which is root of a user namespace.
        registered("one", "env", f"XDG_RUNTIME_DIR={runtime}")
        registered("two", "env")
        registered("three", "unshare", "--user", "--map-root-user")
        # That of the system is asked, too, where it is there; what it says does not matter then.
        self.start()
        registered("four", "env")
        self.assertFalse(os.path.exists("/run/systemd/machines/four"))

    def incus(self, instances, project="lab"):
        """A made-up `incus`, which says what Incus's documents of its REST API and of its events have. `instances` is a list of names,
        types, statuses and processes. Returns the directory that it is in; what its monitor prints is written to `events` there."""
        place = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, place)
        (place / "tmp").mkdir()
        self.instances(place, instances, project)
        os.mkfifo(place / "events")
        (place / "mymachines").symlink_to(tool.MYMACHINES)
        incus = place / "incus"
        incus.write_text(f"""#!/bin/sh
echo "$*" >>{place}/asked
case $1 in
  query) jq --exit-status --arg path "$2" '.[$path]' {place}/replies || {{ echo 'Error: not found' >&2; exit 1; }} ;;
  monitor) exec cat {place}/events ;;
esac
""")
        incus.chmod(0o755)
        return place

    def instances(self, place, instances, project="lab"):
        """What Incus has from now on."""
        full = [{"name": name, "type": kind, "status": status, "state": {"status": status, "pid": leader.pid if leader else 0}}
                for name, kind, status, leader in instances]
        replies = {f"/1.0/instances/{instance['name']}?recursion=1&project={project}": instance for instance in full}
        # A list with recursion has no states, unless they are asked for.
        replies[f"/1.0/instances?recursion=1&project={project}"] = [
            {key: value for key, value in instance.items() if key != "state"} for instance in full]
        replies["/1.0"] = {}
        (place / "new").write_text(json.dumps(replies))
        (place / "new").rename(place / "replies")

    def follow(self, place, project="lab"):
        said = open(place / "said", "w+")
        self.addCleanup(said.close)
        follow = subprocess.Popen([HOOKS / "incus-follow", project], stderr=said, env={
            "PATH": f"{place}:{os.environ['PATH']}", "TMPDIR": str(place / "tmp")})
        self.addCleanup(follow.wait)
        self.addCleanup(follow.kill)
        return follow

    def event(self, events, action, name, project="lab"):
        events.write(json.dumps({"type": "lifecycle", "project": project, "location": "none", "metadata": {
            "action": action, "source": f"/1.0/instances/{name}?project={project}", "name": name, "project": project}}) + "\n\n")
        events.flush()

    def listens(self, events):
        """The monitor's first event: its own start."""
        events.write(json.dumps({"type": "logging", "location": "none", "metadata": {
            "context": {}, "level": "debug", "message": "Event listener server handler started"}}) + "\n\n")
        events.flush()

    def test_virtual_machines_of_incus_are_followed(self):
        self.start()
        before, after, box = self.leader(), self.leader(), self.leader()
        first = [("before", "virtual-machine", "Running", before), ("off", "virtual-machine", "Stopped", None),
                 ("box", "container", "Running", box)]
        place = self.incus(first)
        follow = self.follow(place)
        with open(place / "events", "w") as events:
            self.listens(events)
            until(lambda: records.names() == ["before"], "the one that runs already")
            self.instances(place, [*first, ("after", "virtual-machine", "Running", after)])
            for action, name in ("instance-started", "box"), ("instance-stopped", "off"), ("instance-started", "after"):
                self.event(events, action, name)
            until(lambda: records.names() == ["after", "before"], "the one that was started")
            # Restarted, it has another process, and Incus does not say that it was started.
            after.kill()
            until(lambda: records.names() == ["before"], "the end of one")
            again = self.leader()
            self.instances(place, [("after", "virtual-machine", "Running", again)])
            self.event(events, "instance-restarted", "after")
            until(lambda: records.names() == ["after", "before"], "the one that was started again")
        self.assertEqual(follow.wait(20), 0)
        record = records.record("after")
        self.assertEqual((int(record["LEADER"]), record["CLASS"], record["SERVICE"]), (again.pid, "vm", "incus"))
        self.assertIn("monitor --project lab --type lifecycle --type logging --format json", (place / "asked").read_text().splitlines())
        self.assertEqual((place / "said").read_text(), "")
        self.assertEqual(list((place / "tmp").iterdir()), [])

    def test_a_virtual_machine_of_incus_that_starts_before_the_monitor_listens_is_registered(self):
        self.start()
        self.assert_none_is_missed(self.listens)

    def test_the_start_of_the_monitor_need_not_be_told(self):
        """It is told by the daemon in the log, and may be told too early for the monitor: some other request is, then."""
        self.start()

        def listens(events):
            place = pathlib.Path(events.name).parent
            until(lambda: "query /1.0" in (place / "asked").read_text().splitlines(), "a request")
            events.write("{}\n")
            events.flush()

        self.assert_none_is_missed(listens)

    def assert_none_is_missed(self, listens):
        between = self.leader()
        place = self.incus([])
        self.follow(place)
        # The monitor runs, and is not connected yet: it will tell nothing of what starts now.
        with open(place / "events", "w") as events:
            self.instances(place, [("between", "virtual-machine", "Running", between)])
            listens(events)
            until(lambda: records.names() == ["between"], "the one that was started between")

    def test_what_incus_tells_twice_is_registered_once_and_errors_are_told(self):
        self.start()
        leader = self.leader()
        project = "a%26b"
        place = self.incus([("web", "virtual-machine", "Running", leader), ("taken", "virtual-machine", "Running", self.leader())],
                           project)
        self.register("taken", self.leader())
        follow = self.follow(place, "a&b")
        with open(place / "events", "w") as events:
            self.listens(events)
            until(lambda: "web" in records.names(), "the first time")
            for _ in range(3):
                self.event(events, "instance-started", "web", project)
            for nonsense in "nonsense", "[]", '{"type": "lifecycle", "metadata": 1}', '{"type": "lifecycle"':
                events.write(nonsense + "\n")
            self.event(events, "instance-started", "nowhere", project)
        self.assertEqual(follow.wait(20), 0)
        until(lambda: "not found" in (place / "said").read_text(), "the last event")
        said = (place / "said").read_text()
        self.assertEqual((said.count("jq: error"), said.count("Error: not found"), said.count("machine 'taken'"),
                          said.count("machine 'web'")), (4, 1, 1, 0), said)
        self.assertIn("monitor --project a&b --type", (place / "asked").read_text())

    def test_the_monitor_of_incus_ends_with_its_follower(self):
        self.start()
        place = self.incus([])
        follow = self.follow(place)
        with open(place / "events", "w") as events:
            self.listens(events)
            until(lambda: not list((place / "tmp").iterdir()), "the start")
            follow.terminate()
            self.assertEqual(follow.wait(20), -signal.SIGTERM)
            with self.assertRaises(BrokenPipeError):
                os.write(events.fileno(), b"\n")

    def test_standard_error_that_nobody_reads_costs_two_seconds(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        self.addCleanup(os.close, writer)
        status = []

        def hook():
            child = subprocess.Popen([tool.MYMACHINES, "register", "--from", "lxc"], stderr=writer, env={})
            status.append(child.wait(20))

        self.in_time(hook)
        self.assertEqual(set(status), {0})


tool.world.main()
