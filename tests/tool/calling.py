"""What calls the daemon: it does what is said, and says why it does not."""

import os
import signal
import socket
import subprocess
import tempfile

import processes
import records
import tool
import varlink
import world
from tool import run, table
from waiting import until


class Calling(tool.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def assert_done(self, *arguments):
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def assert_fails(self, code, words, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(words, done.stderr)
        self.assertNotIn("No such device", done.stderr)

    def test_a_machine_is_registered_with_all_there_is_to_say(self):
        leader = self.leader()
        self.assert_done("register", "web", "--leader", str(leader.pid), "--service", "mine", "--root", "/srv/web",
                         "--id", "0123456789abcdef0123456789abcdef", "--interface", "lo",
                         "--vsock-cid", "77", "--ssh-address", "10.0.0.1", "--ssh-key", "/key", "--control-address", "/run/x")
        machine = table("status", "web")[0]
        expected = {"class": "container", "service": "mine", "root": "/srv/web", "leader": leader.pid, "interfaces": ["lo"],
                    "supervisor": None, "vsock_cid": 77, "ssh_address": "10.0.0.1", "ssh_key": "/key",
                    "control_address": "/run/x", "id": "0123456789abcdef0123456789abcdef"}
        self.assertEqual({key: machine[key] for key in expected}, expected)

    def test_a_wrong_name_is_told_the_rule_and_a_right_one(self):
        leader = str(self.leader().pid)
        self.assert_fails(1, "'_' is not allowed (try 'foo-bar')", "register", "foo_bar", "--leader", leader)
        self.assertEqual(records.names(), [])

    def test_what_cannot_be_registered_is_told_why(self):
        leader = str(self.leader().pid)
        self.assert_done("register", "web", "--leader", leader)
        self.assert_fails(1, "there is a machine 'web' already", "register", "web", "--leader", str(self.leader().pid))
        self.assert_fails(1, "there is no network interface 'nope'", "register", "x", "--leader", leader, "--interface", "nope")
        self.assert_fails(1, "there has to be such a process", "register", "x", "--leader", "4194304")
        self.assertEqual(records.names(), ["web"])

    def test_a_copy_that_cannot_be_is_told_why(self):
        self.register("web", self.leader())
        self.assert_fails(2, "there is no machine 'nope'", "copy", "/etc/passwd", "nope:/x")
        with tempfile.TemporaryDirectory() as directory:
            self.assert_fails(1, "one of the two has to be in a machine", "copy", "/etc/passwd", f"{directory}/x")
            self.assert_fails(1, "machined does not take this destination", "copy", "/etc/passwd", f"web:{directory[1:]}/x")
            self.assertEqual(os.listdir(directory), [])

    def test_images_are_told(self):
        # Not the host's.
        os.makedirs("/var/lib/machines", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib/machines"], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", "/var/lib/machines"], check=True)
        os.makedirs("/var/lib/machines/tree/etc")
        os.makedirs("/var/lib/machines/.hidden")
        with open("/var/lib/machines/disk.raw", "w") as file:
            file.truncate(1 << 20)
        found = {row["name"]: row for row in table("images")}
        self.assertEqual(sorted(found), ["disk", "tree"])
        self.assertEqual((found["disk"]["type"], found["disk"]["path"]), ("raw", "/var/lib/machines/disk.raw"))
        self.assertEqual((found["tree"]["read_only"], found["tree"]["usage"]), ("no", None))
        self.assertEqual([row["name"] for row in table("images", "tree", ".hidden")], ["tree", ".hidden"])
        self.assert_fails(2, "there is no image 'nope'", "images", "nope")

    def test_a_machine_is_unregistered_and_runs_on(self):
        leader = self.leader()
        self.register("web", leader)
        self.assert_done("unregister", "web")
        self.assertEqual(records.names(), [])
        self.assertTrue(processes.is_running(leader.pid))
        self.assert_fails(2, "there is no machine 'web'", "unregister", "web")

    def test_machines_are_terminated_and_each_that_is_not_there_is_told(self):
        leaders = [self.leader(), self.leader()]
        self.register("a", leaders[0])
        self.register("b", leaders[1])
        self.assert_fails(2, "there is no machine 'none'", "terminate", "a", "none", "b")
        for leader in leaders:
            until(lambda: not processes.is_running(leader.pid))

    def test_signals_go_to_whom_they_are_meant_for(self):
        leader = self.leader()
        self.register("web", leader)
        self.assert_done("kill", "web", "--signal", "STOP", "--whom", "leader")
        until(lambda: processes.state(leader.pid) == "T")
        self.assert_done("kill", "web", "-s", "SIGCONT", "--whom", "leader")
        until(lambda: processes.state(leader.pid) != "T")
        self.assert_fails(1, "there is no signal 'HOP'", "kill", "web", "--signal", "HOP")

    def test_a_daemon_that_is_not_there_is_told(self):
        self.machined.stop()
        self.assert_fails(1, "machined cannot be reached", "terminate", "web")
        self.assert_fails(1, "mymachines doctor", "terminate", "web")

    @world.needs_root
    def test_who_may_not_is_told_who_may(self):
        self.register("web", self.leader())
        done = varlink.as_user(world.NOBODY, lambda: (lambda d: [d.returncode, d.stderr])(run("terminate", "web")))
        self.assertEqual(done[0], 1)
        self.assertIn("does not permit it", done[1])
        self.assertEqual(records.names(), ["web"])


class Foreign(tool.Case):
    """Whoever else may listen."""

    def test_a_listener_whose_queue_is_full_holds_nobody_up(self):
        os.makedirs("/run/systemd/machine")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("/run/systemd/machine/io.systemd.Machine")
            listener.listen(0)
            waiting = []
            self.addCleanup(lambda: [one.close() for one in waiting])
            for _ in range(2):
                one = socket.socket(socket.AF_UNIX)
                one.setblocking(False)
                waiting.append(one)
                try:
                    one.connect("/run/systemd/machine/io.systemd.Machine")
                except BlockingIOError:
                    break
            done = run("terminate", "web")
            self.assertEqual(done.returncode, 1)
            self.assertIn("takes no connections", done.stderr)


world.main()
