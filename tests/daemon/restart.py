"""The daemon is killed, started again, and finds what there is: nothing lost, nothing doubled, nobody dead."""

import contextlib
import fcntl
import os
import random
import signal
import socket
import subprocess
import threading
import time

import processes
import records
import world
from varlink import DENIED, NO_SUCH_MACHINE, OK, SOCKET, Client, as_user, ask, listed, register
from waiting import links, until

ROUNDS = 30

STOCK_257 = """# This is private data. Do not parse.
NAME={name}
SERVICE=systemd-nspawn
ROOT=/var/lib/machines/a\\ b
ID=0123456789abcdef0123456789abcdef
LEADER={pid}
LEADER_PIDFDID={id}
CLASS=container
REALTIME=1700000000000000
MONOTONIC=5000000
NETIF=1 3
"""
STOCK_262 = """# This is private data. Do not parse.
NAME={name}
UID=1000
SERVICE="a service"
ROOT="/var/tmp/ä b"
LEADER={pid}
LEADER_PIDFDID={id}
SUPERVISOR={pid}
SUPERVISOR_PIDFDID={id}
CLASS=vm
REALTIME=1700000000000000
MONOTONIC=6000000
NETIF=" 1 3"
VSOCK_CID=4294967295
SSH_ADDRESS=vsock/3
SOMETHING_NEW="kept as it is"
"""


class Registrar(threading.Thread):
    """Registers, unregisters and kills its own leaders until it is told to stop, and knows what must be true."""

    def __init__(self, number, seed):
        super().__init__(daemon=True)
        self.number = number
        self.random = random.Random(seed)
        # By name: the leader, and whether it must be registered; None is "asked, and never told".
        self.known = {}
        self.replies = 0
        self.wrong = []
        self.stopping = False

    def successor(self):
        """A new thread with the knowledge of this one."""
        heir = Registrar(self.number, self.random.random())
        heir.known, heir.replies, heir.wrong = self.known, self.replies, self.wrong
        return heir

    def run(self):
        while not self.stopping:
            try:
                with Client() as client:
                    self.work(client)
            except (ConnectionRefusedError, FileNotFoundError):
                time.sleep(0.002)  # No daemon now. Not a wait for anything: the loop has an end of its own.
            except Exception as error:
                # Nobody looks at how a thread ended.
                self.wrong.append(f"client {self.number}: {error!r}")
                return

    def work(self, client):
        while not self.stopping:
            name = f"m{self.number}-{self.random.randrange(4)}"
            leader, registered = self.known.get(name, (None, False))
            if leader and self.random.random() < 0.3:
                leader.kill()
                self.known.pop(name)
                continue
            if leader is None:
                leader = processes.Process()
                self.known[name] = leader, False
                registered = False
            method = "Unregister" if registered else "Register"
            parameters = {"name": name}
            if not registered:
                parameters |= {"class": "container", "leader": leader.pid}
            was, self.known[name] = self.known[name][1], (leader, None)
            told = client.ask(method, parameters)
            if told == "closed":
                return
            # After an unanswered call both answers are right.
            allowed = {OK} if was is not None else {OK, "io.systemd.Machine.MachineExists", NO_SUCH_MACHINE}
            if told not in allowed:
                self.wrong.append(f"{method} {name}: {told}")
            self.known[name] = leader, method == "Register"
            self.replies += 1


def looks_at_images(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        return "--image-worker" in file.read()
    return False


class Killed(world.Case):
    def test_thirty_kills_in_the_middle_of_work_lose_and_double_nothing(self):
        seed = int.from_bytes(os.urandom(4), "big")
        print(f"# seed {seed}")
        dice = random.Random(seed)
        registrars = [Registrar(number, dice.random()) for number in range(4)]
        self.addCleanup(lambda: [leader.kill() for one in registrars for leader, _ in one.known.values()])
        boxes = [self.container(f"10.1.0.{number % 3}/32") for number in range(6)]
        self.start()
        for number, box in enumerate(boxes):
            self.register(f"box{number}", box)
        replies = 0
        for turn in range(ROUNDS):
            # New threads, old knowledge.
            registrars = [one if not one.ident else one.successor() for one in registrars]
            for one in registrars:
                one.start()
            goal = replies + dice.randrange(5, 60)
            until(lambda: sum(one.replies for one in registrars) >= goal, "some replies")
            # At no particular moment.
            time.sleep(dice.random() / 500)
            self.machined.kill()
            for one in registrars:
                one.stopping = True
            for one in registrars:
                one.join()
            replies = sum(one.replies for one in registrars)
            left = None
            if turn % 3 == 0:
                # Dies while nobody watches.
                left = dice.choice(boxes)
                left.kill()
                boxes.remove(left)
                boxes.append(self.container(f"10.1.0.{turn % 3}/32"))
            self.start()
            if left:
                self.register(f"new{turn}", boxes[-1])
            self.compare(registrars)
            self.assertEqual([wrong for one in registrars for wrong in one.wrong], [])
        print(f"# {replies} replies in {ROUNDS} rounds")

    def compare(self, registrars):
        there = set(listed())
        for one in registrars:
            for name, (leader, registered) in one.known.items():
                if registered is not None:
                    self.assertEqual(name in there, registered, f"{name}, leader {leader.pid}")
            mine = {name for name in there if name.startswith(f"m{one.number}-")}
            self.assertLessEqual(mine, set(one.known), "a dead one is listed")
        self.assert_consistent()

    def test_a_full_disk_at_the_start_loses_no_machine(self):
        self.start()
        box = self.container("10.1.0.1/32")
        self.register("web", box)
        self.register("db", self.leader())
        self.machined.kill()
        # It has changed since.
        box.add("10.1.0.2/32")
        self.fill()
        self.start()
        self.assertEqual(sorted(listed()), ["db", "web"])
        self.assertEqual(records.names(), ["db", "web"])
        self.free()
        self.assert_addresses("web", "10.1.0.1", "10.1.0.2")
        until(lambda: records.index() == {"10.1.0.1": "web", "10.1.0.2": "web"}, "the index")
        self.assert_consistent()

    def test_too_few_descriptors_at_the_start_lose_no_machine(self):
        self.start()
        leaders = [self.leader() for _ in range(100)]
        for number, leader in enumerate(leaders):
            self.register(f"m{number}", leader)
        before = records.names()
        self.machined.kill()
        # Whatever becomes of the start: the machines live, and so must their records.
        few = world.Daemon(prefix=["prlimit", "--nofile=60:60"], ready=False)
        self.addCleanup(few.close)
        until(lambda: few.process.poll() is not None or "Serving" in few.log(), "an end or a beginning")
        self.assertEqual(records.names(), before)
        few.close()
        self.start()
        self.assertEqual(len(listed()), 100)
        self.assert_consistent()

    def test_the_rest_of_a_group_ends_whose_leader_died_while_nobody_watched(self):
        if not world.CGROUP:
            self.skipTest("needs a control group")
        self.start("--grace", "1")
        leader, rest = self.leader(), self.leader()
        self.register("web", leader, allocateUnit=True)
        group = f"{world.CGROUP}/machines/web"
        with open(f"{group}/cgroup.procs", "w") as procs:
            procs.write(str(rest.pid))
        self.machined.kill()
        leader.kill()
        self.start("--grace", "1")
        rest.reap()
        until(lambda: not os.path.exists(group), "the end of the group")
        # It is listed as closing until nothing of it is left.
        until(lambda: "web" not in listed(), "the end of the machine")
        self.assert_consistent()


@world.needs_cgroup
class Service(world.Case):
    """A daemon in the control group of its service."""

    def test_what_an_earlier_run_left_ends_and_a_wrapper_of_this_one_does_not(self):
        group = f"{world.CGROUP}/machined.service"
        os.makedirs(group, exist_ok=True)
        def is_gone():
            # Until its processes are.
            with contextlib.suppress(OSError):
                os.rmdir(group)
            return not os.path.exists(group)
        self.addCleanup(lambda: until(is_gone, "the end of the group"))

        def enter(pid=0):
            with open(f"{group}/cgroup.procs", "w") as procs:
                procs.write(str(pid))

        left = self.leader()
        enter(left.pid)
        wrapper = self.start(prefix=["sh", "-c", 'sleep infinity & "$@"; exit 7', "sh"], preexec_fn=enter)
        self.assertEqual(left.reap(), -15)
        with open(f"{group}/cgroup.procs") as procs:
            pids = [int(pid) for pid in procs]
        # Who looks at images comes a second after the start, and goes again.
        pids = [pid for pid in pids if not looks_at_images(pid)]
        self.addCleanup(lambda: [os.kill(pid, signal.SIGKILL) for pid in pids if processes.is_running(pid)])
        # The shell, its child, the daemon, what closes descriptors for that, which is two processes, and who goes into
        # machines.
        self.assertEqual(len(pids), 6)
        self.assertIn(wrapper.pid, pids)


class Found(world.Case):
    """What stands in the directories when the daemon starts."""

    def prepare(self):
        os.makedirs(records.RECORDS)
        os.makedirs(records.INDEX)

    def write(self, name, text):
        with open(f"{records.RECORDS}/{name}", "w") as file:
            file.write(text)

    def stock(self, name, text, pid):
        self.write(name, text.format(name=name, pid=pid, id=processes.pidfd_id(pid)))

    def test_records_of_the_original_are_taken_in_and_completed(self):
        self.prepare()
        box, vm = self.container("10.1.0.1/32", "fd00::1/128"), self.leader()
        self.stock("old", STOCK_257, box.pid)
        self.stock("new", STOCK_262, vm.pid)
        self.start()
        machines = listed()
        self.assertEqual(machines["old"]["rootDirectory"], "/var/lib/machines/a b")
        self.assertEqual(machines["old"]["id"], "0123456789abcdef0123456789abcdef")
        self.assertEqual(machines["old"]["timestamp"], {"realtime": 1700000000000000, "monotonic": 5000000})
        self.assertEqual(machines["new"]["UID"], 1000)
        self.assertEqual(machines["new"]["service"], "a service")
        self.assertEqual(machines["new"]["rootDirectory"], "/var/tmp/ä b")
        self.assertNotIn("vSockCid", machines["new"])
        record = records.record("old")
        self.assertEqual(record["ADDRESSES"], "10.1.0.1 fd00::1")
        self.assertEqual(record["NETIF"], " 1 3")
        self.assertIn("UIDMAP", record)
        self.assertEqual(records.record("new")["SOMETHING_NEW"], "kept as it is")
        self.assert_consistent()

    def test_of_two_records_with_one_leader_the_older_one_stays(self):
        self.prepare()
        leader = self.leader()
        self.stock("old", STOCK_257, leader.pid)
        self.stock("new", STOCK_262, leader.pid)
        self.start()
        self.assertEqual(list(listed()), ["old"])
        self.assert_consistent()

    def test_what_is_no_record_neither_stops_the_start_nor_the_others(self):
        self.prepare()
        leader, cut, taken = self.leader(), self.leader(), self.leader()
        self.stock("good", STOCK_257, leader.pid)
        self.write("cut", STOCK_257.format(name="cut", pid=cut.pid, id=processes.pidfd_id(cut.pid))[:-4])
        self.write("empty", "")
        self.write("nonsense", "\0\xff\n" * 100)
        self.write("huge", "X=1\n" * (1 << 18))
        self.write("other", STOCK_257.format(name="another", pid=taken.pid, id=processes.pidfd_id(taken.pid)))
        self.write("classless", "NAME=classless\nLEADER=5\n")
        self.write("minus", STOCK_257.format(name="minus", pid=-1, id=1))
        self.write("under_score", STOCK_257.format(name="under_score", pid=taken.pid, id=1))
        self.write("x" * 65, "NAME=x\n")
        self.write(".hidden", "NAME=x\n")
        self.write(".#good", "half")
        with open(os.fsencode(f"{records.RECORDS}/") + b"\xff\xfe", "w"):
            pass
        os.mkfifo(f"{records.RECORDS}/fifo")
        os.mkdir(f"{records.RECORDS}/directory")
        os.symlink("/etc/passwd", f"{records.RECORDS}/link")
        os.symlink("good", f"{records.RECORDS}/unit:gone.scope")
        os.symlink("nobody", f"{records.INDEX}/10.9.9.9")
        os.symlink("good", f"{records.INDEX}/.#10.9.9.9")
        self.start()
        self.assertEqual(list(listed()), ["good"])
        left = records.names()
        self.assertNotIn(".#good", left)
        self.assertNotIn("unit:gone.scope", left)
        self.assertEqual(records.index(), {})
        # A name with a damaged record is nobody's.
        for name in ["cut", "fifo", "link", "nonsense"]:
            self.assertEqual(register(name, self.leader().pid), OK, name)
        self.assertEqual(os.path.isfile("/etc/passwd"), True)
        self.restart()
        self.assertEqual(set(listed()), {"good", "cut", "fifo", "link", "nonsense"})

    def test_a_number_that_came_to_mean_another_process_is_not_the_leader(self):
        self.prepare()
        leader = self.leader()
        self.write("web", STOCK_257.format(name="web", pid=leader.pid, id=processes.pidfd_id(leader.pid) + 1))
        self.write("old", STOCK_257.format(name="old", pid=leader.pid, id=0) + "LEADER_STARTTIME=1\n")
        self.start()
        self.assertEqual(listed(), {})
        self.assert_consistent()

    def test_a_leader_in_another_process_namespace_is_not_taken_for_one_of_ours(self):
        self.prepare()
        leader = self.leader()
        self.write("web", STOCK_257.format(name="web", pid=leader.pid, id=processes.pidfd_id(leader.pid) + 1)
                   + "PIDNS=1\n")
        self.start()
        self.assertEqual(listed(), {})
        self.assertEqual(register("mine", leader.pid), OK)

    @world.needs_root
    def test_the_owner_of_a_record_may_end_his_machine_and_others_may_not(self):
        self.prepare()
        methods = [("Unregister", {}), ("Kill", {"signal": 9}), ("Terminate", {})]
        for method, parameters in methods:
            leader = self.leader()
            self.stock("his", STOCK_262, leader.pid)
            self.start()

            def attempt():
                return ask(method, {"name": "his", **parameters})

            self.assertEqual(as_user(world.NOBODY, attempt), DENIED, method)
            self.assertTrue(processes.is_running(leader.pid))
            self.assertEqual(as_user(world.OWNER, attempt), OK, method)
            until(lambda: listed() == {}, f"the end by {method}")
            if method == "Unregister":
                self.assertTrue(processes.is_running(leader.pid))
            else:
                leader.reap()
            self.machined.kill()


class Socket(world.Case):
    def test_a_second_daemon_refuses_to_start_and_changes_nothing(self):
        first = self.start()
        box = self.container("10.1.0.1/32")
        self.register("web", box)
        # What only the running daemon may touch.
        with open(f"{records.RECORDS}/.#web", "w") as file:
            file.write("half")
        os.symlink("web", f"{records.INDEX}/10.5.5.5")
        before = [(entry, os.lstat(f"{where}/{entry}")) for where in (records.RECORDS, records.INDEX)
                  for entry in sorted(os.listdir(where))]
        inode = os.stat(SOCKET).st_ino
        second = world.Daemon(ready=False)
        self.addCleanup(second.close)
        self.assertEqual(second.process.wait(20), 1)
        self.assertTrue(second.log())
        after = [(entry, os.lstat(f"{where}/{entry}")) for where in (records.RECORDS, records.INDEX)
                 for entry in sorted(os.listdir(where))]
        self.assertEqual(after, before)
        self.assertEqual(os.stat(SOCKET).st_ino, inode)
        os.unlink(f"{records.RECORDS}/.#web")
        os.unlink(f"{records.INDEX}/10.5.5.5")
        self.machined = first
        self.assert_consistent()

    def test_a_lock_that_is_given_up_soon_is_waited_for(self):
        """What a killed daemon had just forked holds it for a moment."""
        self.start()
        self.register("web", self.leader())
        self.machined.kill()
        lock = os.open(records.INDEX, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            daemon = self.start(ready=False)
            # It has opened what it locks next.
            until(lambda: records.INDEX in links(daemon.pid), "the next daemon")
        finally:
            os.close(lock)
        self.assertEqual(until(daemon.told, "READY=1"), "READY=1")
        self.assertEqual(list(listed()), ["web"])

    def test_sigterm_is_an_orderly_end_and_the_next_start_takes_over(self):
        self.start()
        self.register("web", self.leader())
        for number in (signal.SIGTERM, signal.SIGINT):
            with Client() as idle, Client() as half:
                half.send(b'{"method":')
                self.machined.process.send_signal(number)
                self.assertEqual(self.machined.process.wait(20), 0)
                self.assertIsNone(idle.receive())
            self.assertRaises(OSError, Client)
            self.assertEqual(records.names(), ["web"])
            self.start()
            self.assertEqual(list(listed()), ["web"])
        self.assertEqual(os.stat(SOCKET).st_mode & 0o7777, 0o666)
        # As systemd writes it, from Symlinks=.
        self.assertEqual(os.readlink(f"{SOCKET}Image"), SOCKET)

    def test_a_stale_socket_is_replaced(self):
        os.makedirs(os.path.dirname(SOCKET))
        for path in (SOCKET, f"{SOCKET}Image"):
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(path)
                stale.listen()
        self.start()
        self.assertEqual(listed(), {})

    def test_what_is_no_socket_is_not_removed(self):
        os.makedirs(os.path.dirname(SOCKET))
        for path in (SOCKET, f"{SOCKET}Image"):
            with open(path, "w") as file:
                file.write("precious")
            daemon = world.Daemon(ready=False)
            self.addCleanup(daemon.close)
            self.assertEqual(daemon.process.wait(20), 1)
            self.assertIn("no socket", daemon.log())
            with open(path) as file:
                self.assertEqual(file.read(), "precious")
            os.unlink(path)
        self.start()


if __name__ == "__main__":
    world.main()
