"""Kill, Terminate, the control groups of machines, and who may do what."""

import os
import select
import signal
import subprocess

import processes
import records
import world
from varlink import (DENIED, INVALID, NO_SUCH_MACHINE, OK, Client, as_user, ask, call, listed, message,
                     register, verdict)
from waiting import until

GROUPS = f"{world.CGROUP}/machines"


def ignore_term():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Self:
    """This very process, for `put`."""

    @property
    def pid(self):
        return os.getpid()


class Leader(world.Case):
    """Machines without a group of their own."""

    def setUp(self):
        super().setUp()
        self.start("--grace", "0.3")

    @staticmethod
    def pending(pid):
        """The signals that wait for a process that blocks them."""
        with open(f"/proc/{pid}/status") as file:
            mask = next(int(line.split()[1], 16) for line in file if line.startswith("ShdPnd:"))
        return {number for number in range(1, 65) if mask >> (number - 1) & 1}

    def blocking(self):
        return self.leader(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))

    def test_a_signal_of_any_number_reaches_the_leader_alone(self):
        leader, bystander = self.blocking(), self.blocking()
        self.register("web", leader)
        # 32 and 33 are the C library's, which does not block them; to the kernel they are signals.
        numbers = [number for number in range(1, 65) if number not in {signal.SIGKILL, signal.SIGSTOP, 32, 33}]
        for number in numbers:
            self.assertEqual(ask("Kill", {"name": "web", "whom": "leader", "signal": number}), OK, number)
            self.assertIn(number, self.pending(leader.pid))
        self.assertEqual(self.pending(bystander.pid), set())
        self.assertEqual(self.pending(os.getpid()), set())
        other = self.blocking()
        self.register("names", other)
        for name, number in [("TERM", 15), ("SIGUSR1", 10), ("RTMIN+4", 38), ("SIGRTMAX", 64)]:
            self.assertEqual(ask("Kill", {"name": "names", "signal": name}), OK, name)
            self.assertIn(number, self.pending(other.pid))
        for number in [signal.SIGKILL, signal.SIGSEGV]:
            victim = self.leader()
            self.register(f"victim{number}", victim)
            self.assertEqual(ask("Kill", {"name": f"victim{number}", "signal": number}), OK)
            self.assertEqual(victim.reap(), -number)
        for bad in [0, 65, -1, "NOPE", 2 ** 40, "", "RTMIN+31"]:
            self.assertEqual(ask("Kill", {"name": "web", "signal": bad}), f"{INVALID} signal", bad)

    def test_without_a_group_all_is_the_leader_alone(self):
        leader, bystander = self.leader(), self.leader()
        self.register("web", leader)
        self.assertEqual(ask("Kill", {"name": "web", "whom": "all", "signal": 9}), OK)
        self.assertEqual(leader.reap(), -9)
        self.assertTrue(processes.is_running(bystander.pid))

    def test_a_supervisor_that_is_known_by_its_pid_alone_gets_no_signal(self):
        """As in a record of a kernel before 6.9: it could be anybody by now."""
        self.register("web", self.leader())
        self.machined.kill()
        anybody = self.leader()
        path = f"{records.RECORDS}/web"
        with open(path) as file:
            lines = [line for line in file if not line.startswith("SUPERVISOR")]
        with open(path, "w") as file:
            file.write("".join(lines) + f"SUPERVISOR={anybody.pid}\n")
        self.start()
        self.assertEqual(listed()["web"]["supervisor"]["pid"], anybody.pid)
        self.assertEqual(ask("Kill", {"name": "web", "whom": "supervisor", "signal": signal.SIGKILL}), "io.systemd.System ESRCH")
        self.assertTrue(processes.is_running(anybody.pid))

    def test_the_supervisor_gets_its_signal_while_it_lives(self):
        leader = self.leader()

        def body():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 4})
            assert register("web", leader.pid) == OK

        supervisor = self.leader(body)
        self.assertEqual(listed()["web"]["supervisor"]["pid"], supervisor.pid)
        kill = {"name": "web", "whom": "supervisor", "signal": signal.SIGRTMIN + 4}
        # Before Linux 6.9 nothing tells it from who has its pid after it.
        is_told = processes.pidfd_id(supervisor.pid) != 0
        self.assertEqual(ask("Kill", kill), OK if is_told else "io.systemd.System ESRCH")
        self.assertEqual(self.pending(supervisor.pid), {signal.SIGRTMIN + 4} if is_told else set())
        self.assertEqual(self.pending(leader.pid), set())
        supervisor.kill()
        self.assertEqual(ask("Kill", kill), "io.systemd.System ESRCH")
        self.assertTrue(processes.is_running(leader.pid))

    def test_terminate_asks_and_then_kills_who_does_not_listen(self):
        # Time to look at the one that does not listen.
        self.restart("--grace", "4")
        polite, stubborn, bystander = self.leader(), self.leader(ignore_term), self.leader()
        self.register("polite", polite)
        self.register("stubborn", stubborn)
        self.assertEqual(ask("Terminate", {"name": "polite"}), OK)
        self.assertEqual(polite.reap(), -15)
        self.assertEqual(ask("Terminate", {"name": "stubborn"}), OK)
        self.assertEqual(list(listed()), ["stubborn"])
        self.assertEqual(stubborn.reap(), -9)
        until(lambda: not records.names(), "the end of the record")
        self.assertTrue(processes.is_running(bystander.pid))

    def test_the_host_is_not_killed_and_not_terminated(self):
        self.assertEqual(ask("Kill", {"name": ".host", "signal": 9}), "io.systemd.System EOPNOTSUPP")
        self.assertEqual(ask("Terminate", {"name": ".host"}), "io.systemd.System EOPNOTSUPP")
        self.assertEqual(ask("Unregister", {"name": ".host"}), OK)

    @world.needs_root
    def test_who_may_do_what_is_this_table(self):
        unknown, invalid = {"name": "nobody"}, {"name": "under_score"}
        root, his = self.leader(), self.leader()
        self.register("root", root)
        self.machined.kill()
        with open(f"{records.RECORDS}/his", "w") as file:
            file.write(f"# \nNAME=his\nUID={world.OWNER}\nLEADER={his.pid}\nCLASS=container\n")
        self.start("--grace", "0.3")
        trial = {"name": "trial", "class": "vm", "leader": self.leader().pid}
        rows = [
            # uid, method, parameters, verdict
            (world.NOBODY, "Register", trial, DENIED),
            (world.NOBODY, "Register", {**trial, "name": "root"}, DENIED),
            (world.NOBODY, "Register", {**trial, "leader": root.pid}, DENIED),
            (world.NOBODY, "Register", {**trial, "name": "under_score"}, f"{INVALID} name"),
            (world.OWNER, "Register", trial, DENIED),
            (world.NOBODY, "List", {"name": "root"}, OK),
            (world.NOBODY, "List", {"name": "root", "acquireMetadata": "graceful"}, DENIED),
            (world.NOBODY, "List", {"name": ".host", "acquireMetadata": "graceful"}, DENIED),
            (world.OWNER, "List", {"name": "his", "acquireMetadata": "graceful"}, DENIED),
            (world.OWNER, "List", {"name": "root", "acquireMetadata": "graceful"}, DENIED),
            (world.NOBODY, "io.systemd.service.Ping", {}, OK),
            (world.NOBODY, "io.systemd.service.GetLogLevel", {}, OK),
            (world.NOBODY, "io.systemd.service.SetLogLevel", {"level": 7}, DENIED),
            (world.NOBODY, "io.systemd.service.GetEnvironment", {}, DENIED),
        ]
        for method, more in [("Unregister", {}), ("Terminate", {}), ("Kill", {"signal": 64})]:
            rows += [
                (world.NOBODY, method, {**unknown, **more}, NO_SUCH_MACHINE),
                (world.NOBODY, method, {**invalid, **more}, f"{INVALID} name"),
                (world.NOBODY, method, more, NO_SUCH_MACHINE),
                (world.NOBODY, method, {"pid": {"pid": 0}, **more}, NO_SUCH_MACHINE),
                (world.NOBODY, method, {"name": "root", **more}, DENIED),
                (world.NOBODY, method, {"name": "his", **more}, DENIED),
                (world.NOBODY, method, {"name": ".host", **more}, DENIED),
                (world.OWNER, method, {"name": "root", **more}, DENIED),
                (world.NOBODY, method, {"name": "root", "allowInteractiveAuthentication": True, **more}, DENIED),
            ]
        for uid, method, parameters, expected in rows:
            told = as_user(uid, lambda: ask(method, parameters))
            self.assertEqual(told.removesuffix(" 7"), expected, f"uid {uid}: {method} {parameters}")
        self.assertEqual(sorted(listed()), ["his", "root"])
        self.assert_consistent()


@world.needs_cgroup
class Group(world.Case):
    """Machines with a group of their own."""

    def setUp(self):
        super().setUp()
        self.start("--grace", "0.3")
        self.addCleanup(self.sweep)

    @staticmethod
    def sweep():
        subprocess.run(["find", GROUPS, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"],
                       stderr=subprocess.DEVNULL, check=False)

    def put(self, process, group):
        os.makedirs(f"{GROUPS}/{group}", exist_ok=True)
        with open(f"{GROUPS}/{group}/cgroup.procs", "w") as procs:
            procs.write(str(process.pid))

    @staticmethod
    def group_of(pid):
        with open(f"/proc/{pid}/cgroup") as file:
            return next(line.strip().removeprefix("0::") for line in file if line.startswith("0::"))

    def gone(self, name):
        until(lambda: not os.path.exists(f"{GROUPS}/{name}"), f"the end of the group of {name}")

    def test_a_leader_is_moved_into_a_group_that_the_record_names(self):
        leader = self.leader()
        self.register("web", leader, allocateUnit=True)
        self.assertEqual(self.group_of(leader.pid), "/machines/web")
        record = records.record("web")
        self.assertEqual(record["CGROUP"], "/machines/web")
        self.assertEqual(record["CGROUPID"], str(os.stat(f"{GROUPS}/web").st_ino))
        self.assertNotIn("SCOPE", record)
        self.assertEqual(list(records.group_index().values()), ["web"])
        other = self.leader()
        self.put(other, "web/inner/most")
        found = call("List", {"pid": {"pid": other.pid}})
        self.assertEqual(found["parameters"]["name"], "web")
        self.restart("--grace", "0.3")
        self.assertEqual(call("List", {"pid": {"pid": other.pid}})["parameters"]["name"], "web")
        self.assert_consistent()

    def test_kill_reaches_the_whole_tree(self):
        leader, inner, outside = self.leader(), self.leader(), self.leader()
        self.register("web", leader, allocateUnit=True)
        self.put(inner, "web/a/b")
        blocked = self.leader(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {64}))
        self.put(blocked, "web/a")
        self.assertEqual(ask("Kill", {"name": "web", "whom": "leader", "signal": 18}), OK)
        self.assertEqual(ask("Kill", {"name": "web", "whom": "all", "signal": 64}), OK)
        # Ends those that do not block it.
        self.assertEqual(leader.reap(), -64)
        self.assertEqual(inner.reap(), -64)
        self.assertIn(64, Leader.pending(blocked.pid))
        blocked.reap()
        self.gone("web")
        self.assertTrue(processes.is_running(outside.pid))

    def test_kill_reaches_those_that_fork_in_the_meantime(self):
        def forks():
            # A chain of children, each the parent of the next: there is always one that was not there before.
            if os.fork() == 0:
                while True:
                    if os.fork():
                        os._exit(0)

        for turn, number in enumerate([signal.SIGKILL, signal.SIGUSR1]):
            name = f"web{turn}"
            leader = self.leader(ignore_term)
            self.register(name, leader, allocateUnit=True)
            chain = self.leader(lambda: (self.put(Self(), name), forks()))
            self.assertEqual(ask("Kill", {"name": name, "signal": number}), OK)
            self.assertEqual(leader.reap(), -number)
            chain.reap()
            self.gone(name)

    def test_a_number_that_came_to_mean_another_process_gets_no_signal(self):
        """A process ends after its group was read, and before it is told: who has its number then is somebody else."""
        leader, victim = self.leader(), None
        self.register("web", leader, allocateUnit=True)
        for _ in range(1000):
            victim = self.leader()
            self.put(victim, "web")
        self.addCleanup(self.machined.process.send_signal, signal.SIGCONT)

        def is_caught():
            """The daemon is stopped when it has told the first one, and not yet the last one."""
            for process in leader, victim:
                process.tell(signal.SIGSTOP)
                until(lambda: processes.state(process.pid) == "T", "a stopped process")  # noqa: B023
            with Client() as client:
                client.send(message("Kill", {"name": "web", "whom": "all", "signal": int(signal.SIGCONT)}))
                os.waitid(os.P_PID, leader.pid, os.WCONTINUED)
                self.machined.process.send_signal(signal.SIGSTOP)
                until(lambda: processes.state(self.machined.pid) == "T", "a stopped daemon")
                is_in_time = processes.state(victim.pid) == "T"
                if is_in_time:
                    pid = victim.pid
                    victim.kill()
                    processes.fork_as(pid)
                    victim.pid = pid
                    victim.tell(signal.SIGSTOP)
                    until(lambda: processes.state(pid) == "T", "a stopped process")
                self.machined.process.send_signal(signal.SIGCONT)
                self.assertEqual(verdict(client.receive()), OK)
            return is_in_time

        until(is_caught, "a daemon that is stopped in time")
        self.assertEqual(processes.state(victim.pid), "T", "it was told to go on")

    def test_ten_thousand_groups_hold_up_nobody(self):
        leader = self.leader()
        self.register("web", leader, allocateUnit=True)
        for number in range(10000):
            os.mkdir(f"{GROUPS}/web/{number}")

        def is_passed():
            with Client() as slow, Client() as other:
                slow.send(message("Kill", {"name": "web", "whom": "all", "signal": 18}))
                self.assertEqual(verdict(other.call("List", {"name": ".host"})), OK)
                is_first = not select.select([slow.socket], [], [], 0)[0]
                self.assertEqual(verdict(slow.receive()), OK)
                return is_first

        until(is_passed, "an answer before that of the slow one")
        leader.kill()
        self.gone("web")

    def test_groups_nested_deeper_than_a_path_is_long_are_signalled_and_removed(self):
        leader, inner = self.leader(), self.leader()
        self.register("web", leader, allocateUnit=True)
        directory = os.open(f"{GROUPS}/web", os.O_RDONLY)
        for _ in range(2500):
            os.mkdir("x", dir_fd=directory)
            above, directory = directory, os.open("x", os.O_RDONLY, dir_fd=directory)
            os.close(above)
        procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=directory)
        os.write(procs, b"%d" % inner.pid)
        os.close(procs)
        os.close(directory)
        self.assertEqual(ask("Kill", {"name": "web", "whom": "all", "signal": 10}), OK)
        self.assertEqual([leader.reap(), inner.reap()], [-10, -10])
        self.gone("web")

    def test_terminate_ends_the_tree_and_removes_the_group(self):
        leader, polite, stubborn = self.leader(), self.leader(), self.leader(ignore_term)
        self.register("web", leader, allocateUnit=True)
        self.put(polite, "web/a")
        self.put(stubborn, "web/a/b")
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assertEqual([leader.reap(), polite.reap(), stubborn.reap()], [-15, -15, -9])
        self.gone("web")
        self.assert_consistent()

    def test_the_rest_of_a_group_ends_with_the_leader(self):
        leader, polite, stubborn = self.leader(), self.leader(), self.leader(ignore_term)
        self.register("web", leader, allocateUnit=True)
        self.put(polite, "web")
        self.put(stubborn, "web/a")
        leader.kill()
        self.assertEqual([polite.reap(), stubborn.reap()], [-15, -9])
        self.gone("web")
        self.assert_consistent()

    def test_the_end_of_a_machine_is_not_the_end_of_its_successor(self):
        for end in ["kill", "terminate"]:
            leader = self.leader()
            self.register("web", leader, allocateUnit=True)
            heir = self.leader()
            new = {"name": "web", "class": "container", "leader": heir.pid, "allocateUnit": True}
            with Client() as client:
                if end == "terminate":
                    self.assertEqual(client.ask("Terminate", {"name": "web"}), OK)
                    leader.reap()
                    client.send(message("Register", new))
                else:
                    # It hears of the end and of the heir in one turn.
                    self.machined.process.send_signal(signal.SIGSTOP)
                    leader.kill()
                    client.send(message("Register", new))
                    self.machined.process.send_signal(signal.SIGCONT)
                self.assertEqual(verdict(client.receive()), OK, end)
            # Longer than the grace: time for what must not happen. The end of another machine shows that it is over.
            for number in range(2):
                clock = self.leader(ignore_term)
                self.register(f"clock{number}", clock)
                ask("Terminate", {"name": f"clock{number}"})
                clock.reap()
            self.assertTrue(processes.is_running(heir.pid), f"killed by the {end} of another")
            self.assertEqual(self.group_of(heir.pid), "/machines/web")
            self.assertEqual(list(listed()), ["web"])
            heir.kill()
            self.gone("web")

    def test_a_group_with_somebody_in_it_is_not_taken(self):
        squatter, leader = self.leader(), self.leader()
        self.put(squatter, "web/inner")
        self.register("web", leader, allocateUnit=True)
        self.assertEqual(self.group_of(leader.pid), "/machines/web~2")
        self.assertEqual(records.record("web")["CGROUP"], "/machines/web~2")
        self.assertEqual(ask("Kill", {"name": "web", "signal": int(signal.SIGKILL)}), OK)
        leader.reap()
        self.gone("web~2")
        self.assertTrue(processes.is_running(squatter.pid))
        squatter.kill()

    def test_a_name_is_free_at_once_whatever_the_dead_left_behind(self):
        # Time to take the name before the rest is killed.
        self.restart("--grace", "4")
        leader, rest, heir = self.leader(), self.leader(ignore_term), self.leader()
        self.register("web", leader, allocateUnit=True)
        self.put(rest, "web")
        leader.kill()
        self.register("web", heir, allocateUnit=True)
        self.assertEqual(self.group_of(heir.pid), "/machines/web~2")
        rest.reap()
        self.assertTrue(processes.is_running(heir.pid))
        heir.kill()
        self.gone("web~2")

    def test_a_registration_that_fails_late_puts_the_leader_back(self):
        leader = self.leader()
        self.put(leader, "../home")
        self.addCleanup(lambda: os.rmdir(f"{world.CGROUP}/home"))
        # On a host with both hierarchies, another place in systemd's must not be taken for that in the unified one.
        old = "/sys/fs/cgroup/systemd/daemon-tests"
        if os.path.isdir(os.path.dirname(old)):
            os.makedirs(old, exist_ok=True)
            self.addCleanup(lambda: os.rmdir(old))
            with open(f"{old}/cgroup.procs", "w") as procs:
                procs.write(str(leader.pid))
        self.addCleanup(leader.kill)
        for home in ["/home", "/"]:
            if home == "/":
                with open(f"{world.CGROUP}/cgroup.procs", "w") as procs:
                    procs.write(str(leader.pid))
            # The record would not fit.
            told = register("web", leader.pid, allocateUnit=True, service="x" * 70000)
            self.assertEqual(told, "io.systemd.System EFBIG")
            self.assertEqual(self.group_of(leader.pid), home)
            self.assertFalse(os.path.exists(f"{GROUPS}/web"))
            self.assertEqual(records.names(), [])
            self.assertEqual(listed(), {})

    def test_what_was_unregistered_goes_on(self):
        leader, rest = self.leader(), self.leader()
        self.register("web", leader, allocateUnit=True)
        self.put(rest, "web")
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        leader.kill()
        self.assertEqual(register("next", self.leader().pid), OK)
        self.assertTrue(processes.is_running(rest.pid))
        rest.kill()


if __name__ == "__main__":
    world.main()
