"""Whose a process is: the daemon by its table, and libmachine by the files, have to say the same of leaders and of those that
descend from them, in every way that there is without systemd to register a machine. tests/c/ours.sh has those with it."""

import os
import signal
import subprocess

import processes
import tool
import world
from varlink import NO_SUCH_MACHINE, OK, ask, call, verdict
from waiting import until


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def with_descendants():
    """What a leader does to have a child, which has one, too."""
    if os.fork() == 0:
        os.fork()
        signal.pause()


def by_daemon(pid):
    reply = call("List", {"pid": {"pid": pid}})
    if verdict(reply) == NO_SUCH_MACHINE:
        return None
    return reply["parameters"]["name"]


def by_library(pid):
    """All machines that the process is in, the outermost first."""
    done = tool.run("whois", "--no-legend", "--format", "csv", "--pid", str(pid))
    return done.stdout.split(",")[2] if done.returncode != 2 else None


class Whose(tool.Case):
    def setUp(self):
        super().setUp()
        self.start()
        self.addCleanup(self.end_families)
        self.families = []

    def end_families(self):
        for pid in self.families:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def family(self):
        """A leader, its child, and the child's child."""
        leader = self.leader(with_descendants)
        child = until(lambda: children(leader.pid), "a child")[0]
        grandchild = until(lambda: children(child), "a child's child")[0]
        self.families += [child, grandchild]
        return leader, child, grandchild

    def assert_whose(self, expected):
        for state in "as it is", "after a restart":
            for pid, path in expected.items():
                with self.subTest(state, whose=path):
                    self.assertEqual((by_daemon(pid), by_library(pid)), (path and path.rpartition("/")[2], path))
            self.restart()
            until(lambda: verdict(call("List", {"name": ".host"})) == OK)

    def test_of_a_machine_without_unit_and_group(self):
        leader, child, grandchild = self.family()
        stranger = self.leader()
        self.register("web", leader)
        self.assert_whose({leader.pid: "web", child: "web", grandchild: "web", stranger.pid: None, os.getpid(): None, 1: None})

    def test_of_one_such_within_another(self):
        leader, child, grandchild = self.family()
        self.register("outer", leader)
        self.assertEqual(tool.run("register", "inner", "--leader", str(child)).returncode, 0)
        self.assert_whose({leader.pid: "outer", child: "outer/inner", grandchild: "outer/inner"})

    @world.needs_cgroup
    def test_of_a_machine_with_a_group_of_its_own(self):
        leader, child, _ = self.family()
        self.register("web", leader, allocateUnit=True)
        late = subprocess.Popen(["sh", "-c", 'echo $$ >"$0" && exec sleep infinity', self.group_of(leader.pid)])
        self.addCleanup(late.wait)
        self.addCleanup(late.kill)
        until(lambda: by_daemon(late.pid))
        # Who was there before it had the group stays where it was.
        self.assert_whose({leader.pid: "web", late.pid: "web", child: None})

    @staticmethod
    def group_of(pid):
        with open(f"/proc/{pid}/cgroup") as file:
            return world.CGROUP + file.read().rstrip("\n").rpartition("::")[2] + "/cgroup.procs"

    @world.needs_cgroup
    def test_of_one_without_a_group_within_one_that_has_one(self):
        leader = self.leader()
        self.register("outer", leader, allocateUnit=True)
        group = self.group_of(leader.pid)

        def body():
            with open(group, "w") as file:
                file.write(str(os.getpid()))
            if os.fork() == 0:
                signal.pause()

        inner = self.leader(body)
        child = until(lambda: children(inner.pid), "a child")[0]
        self.families.append(child)
        self.register("inner", inner)
        self.assert_whose({leader.pid: "outer", inner.pid: "outer/inner", child: "outer/inner"})

    @world.needs_cgroup
    def test_of_one_with_a_group_within_one_that_has_none(self):
        leader, child, grandchild = self.family()
        self.register("outer", leader)
        self.assertEqual(ask("Register", {"name": "inner", "class": "container", "leader": child, "allocateUnit": True}), OK)
        # It was there before there was that group.
        self.assert_whose({leader.pid: "outer", child: "outer/inner", grandchild: "outer"})

    def test_nobody_is_in_a_machine_that_is_no_more(self):
        leader, child, grandchild = self.family()
        self.register("web", leader)
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assert_whose({leader.pid: None, child: None, grandchild: None})
        self.register("web", leader)
        leader.kill()
        until(lambda: verdict(call("List", {"name": "web"})) == NO_SUCH_MACHINE)
        self.assert_whose({child: None, grandchild: None})

    def test_of_a_machine_whose_links_an_earlier_version_did_not_write(self):
        leader, child, _ = self.family()
        self.register("web", leader)
        self.assertEqual(self.machined.stop(), 0)
        os.unlink(f"/run/machined/leaders/{leader.pid}")
        os.unlink("/run/machined/in-order")
        # As it said so before there were links of leaders whose group others have, too.
        os.symlink("1 records in 6 parts", "/run/machined/in-order")
        # It says that it is ready when lookups find all there is.
        self.start()
        self.assert_whose({leader.pid: "web", child: "web"})

    def test_who_lost_the_parent_between_belongs_to_nobody(self):
        leader, child, grandchild = self.family()
        self.register("web", leader)
        os.kill(child, signal.SIGKILL)
        until(lambda: not processes.is_running(child))
        self.assertEqual((by_daemon(grandchild), by_library(grandchild)), (None, None))


world.main()
