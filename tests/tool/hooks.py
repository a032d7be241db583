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

    def test_virtual_machines_of_incus_are_followed(self):
        """With a made-up `incus`, which says what Incus's documents of its REST API and of its events have."""
        self.start()
        before, after, between, box = (self.leader() for _ in range(4))
        place = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, place)
        instances = [{"name": name, "type": kind, "status": status} for name, kind, status in
                     [("before", "virtual-machine", "Running"), ("off", "virtual-machine", "Stopped"), ("box", "container", "Running"),
                      ("after", "virtual-machine", "Stopped"), ("between", "virtual-machine", "Stopped")]]
        replies = {"/1.0/instances?recursion=1&project=lab": instances}
        for instance, leader in zip(instances, (before, None, box, after, between)):
            path = f"/1.0/instances/{instance['name']}"
            replies[f"{path}?project=lab"] = instance
            replies[f"{path}/state?project=lab"] = {"status": instance["status"], "pid": leader.pid if leader else 0}

        def reply():
            (place / "new").write_text(json.dumps(replies))
            (place / "new").rename(place / "replies")

        reply()
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
        follow = subprocess.Popen([HOOKS / "incus-follow", "lab"], env={"PATH": f"{place}:{os.environ['PATH']}"},
                                  stderr=subprocess.PIPE, text=True)
        self.addCleanup(follow.stderr.close)
        self.addCleanup(follow.wait)
        self.addCleanup(follow.kill)
        until(lambda: records.names() == ["before"], "the one that runs already")
        # One that is started before the monitor listens, which tells nothing of it.
        instances[-1]["status"] = "Running"
        reply()
        until(lambda: records.names() == ["before", "between"], "the one that nobody tells of")
        with open(place / "events", "w") as events:
            for action, name in ("instance-started", "box"), ("instance-stopped", "off"), ("instance-started", "after"):
                event = {"type": "lifecycle", "project": "lab", "location": "none", "metadata": {
                    "action": action, "source": f"/1.0/instances/{name}?project=lab", "name": name, "project": "lab"}}
                events.write(json.dumps(event) + "\n")
                events.flush()
            until(lambda: records.names() == ["after", "before", "between"], "the one that was started")
        # Who supervises it is to start it again. Nothing was wrong before.
        self.assertEqual(follow.wait(20), 1)
        self.assertEqual(follow.stderr.read(), "incus-follow: Incus tells no more\n")
        record = records.record("after")
        self.assertEqual((int(record["LEADER"]), record["CLASS"], record["SERVICE"]), (after.pid, "vm", "incus"))
        self.assertIn("monitor --project lab --type lifecycle --format json", (place / "asked").read_text().splitlines())
        after.kill()
        until(lambda: records.names() == ["before", "between"], "the end of one")

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
