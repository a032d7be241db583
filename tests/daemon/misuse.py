"""Clients that send nonsense, too much, or too often, and do not read; and those beside them that must not notice."""

import array
import contextlib
import os
import resource
import signal
import socket
import threading
import time

import records
import world
from varlink import INVALID, OK, Client, as_user, ask, asked, listed, message, register, verdict
from waiting import AT_ONCE, until

PING = message("io.systemd.service.Ping")
PER_UID, TOTAL = 128, 4096


def connected():
    """A client that was let in, or None."""
    client = Client()
    if client.call("io.systemd.service.Ping") == {}:
        return client
    client.close()
    return None


class Misuse(world.Case):
    def setUp(self):
        super().setUp()
        self.start()

    def assert_served(self):
        """Somebody else gets an answer before long."""
        with Client(deadline=AT_ONCE) as client:
            self.assertEqual(client.call("io.systemd.service.Ping"), {})

    def test_what_is_no_call_ends_its_connection_only(self):
        depth = 100_000
        for garbage in [b"\0", b"\0\0\0\0", b"hello\0", os.urandom(5000) + b"\0", b"GET / HTTP/1.1\r\n\r\n\0", b"[]\0",
                        b'{"method":"io.systemd.service.Ping"}{"method":"io.systemd.service.Ping"}\0', b"\xff\xfe\0",
                        b'{"method":' + b"[" * depth + b"]" * depth + b"}\0",
                        b'{"a":' * depth + b"1" + b"}" * depth + b"\0",
                        b'{"method":"x.y","parameters":{"a":' + b"[" * depth + b"\0"]:
            with Client() as client:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.send(garbage)
                self.assertIsNone(client.receive(), garbage[:60])
            self.assert_served()

    def test_half_a_message_waits_and_holds_up_nobody(self):
        with Client() as half:
            half.send(PING[:20])
            for _ in range(50):
                self.assert_served()
            half.send(PING[20:])
            self.assertEqual(half.receive(), {})
        with Client() as half:
            half.send(PING + PING[:20])
            half.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(half.receive(), {})
            self.assertIsNone(half.receive())

    def test_twenty_megabytes_are_refused_and_not_kept(self):
        before = self.machined.rss()
        for uid in (0, world.NOBODY) if world.IS_ROOT else (0,):
            def flood():
                with Client() as client:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        for _ in range(20):
                            client.send(b"x" * (1 << 20))
                        client.send(b"\0")
                    return client.receive()

            self.assertIsNone(as_user(uid, flood))
            self.assert_served()
        self.assertLess(self.machined.rss() - before, 4 << 10)

    def test_a_thousand_calls_in_one_write_are_answered_in_order(self):
        calls = [message("org.varlink.service.GetInterfaceDescription", {"interface": f"no.{number}"})
                 for number in range(1000)]
        with Client() as client:
            sender = threading.Thread(target=client.send, args=(b"".join(calls),))
            sender.start()
            told = [client.receive()["parameters"]["interface"] for _ in calls]
            sender.join()
        self.assertEqual(told, [f"no.{number}" for number in range(1000)])

    def test_calls_in_one_write_are_carried_out_in_order(self):
        leader = self.leader()
        machine = {"name": "web", "class": "container", "leader": leader.pid}
        calls = (message("Register", machine) + message("Unregister", {"name": "web"})) * 200
        with Client() as client:
            client.send(calls + message("Register", machine, oneway=True) + message("List", {"name": "web"}))
            self.assertEqual({verdict(client.receive()) for _ in range(400)}, {OK})
            self.assertEqual(client.receive()["parameters"]["name"], "web")
        self.assert_consistent()

    def test_clients_that_never_read_hold_up_nobody(self):
        for number in range(300):
            self.register(f"m{number}", self.leader(), service="x" * 1000)
        before = self.machined.rss()
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                greedy = stack.enter_context(Client())
                greedy.socket.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        greedy.socket.send(message("List", more=True) * 100)
            for _ in range(50):
                self.assert_served()
            self.assertEqual(len(listed()), 300)
            self.assertLess(self.machined.rss() - before, 32 << 10)
        self.assert_served()

    def test_a_stream_is_dropped_when_its_reader_goes(self):
        for number in range(300):
            self.register(f"m{number}", self.leader(), service="x" * 1000)
        self.assert_served()
        before = self.machined.count_fds()
        for _ in range(100):
            with Client() as client:
                client.send(message("List", more=True))
                client.receive()
        until(lambda: self.machined.count_fds() <= before, "the end of the connections")
        self.assert_served()

    @world.needs_root
    def test_one_user_cannot_take_all_places(self):
        reader, writer = os.pipe()

        def crowd():
            clients = [connected() for _ in range(PER_UID + 1)]
            admitted = sum(client is not None for client in clients)
            os.write(writer, b"x")
            # The others try meanwhile.
            os.read(release, 1)
            return admitted

        release, go = os.pipe()
        told = []
        thread = threading.Thread(target=lambda: told.append(as_user(world.NOBODY, crowd)))
        thread.start()
        os.read(reader, 1)
        root = [connected() for _ in range(PER_UID * 2)]
        self.assertTrue(all(root))
        self.assertTrue(as_user(world.OWNER, lambda: connected() is not None))
        self.assertFalse(as_user(world.NOBODY, lambda: connected() is not None))
        os.write(go, b"x")
        thread.join()
        self.assertEqual(told, [PER_UID])
        for client in root:
            client.close()
        until(lambda: as_user(world.NOBODY, lambda: connected() is not None), "a free place")
        for fd in (reader, writer, release, go):
            os.close(fd)

    @world.needs_root
    def test_all_users_together_leave_room_for_root(self):
        release, go = os.pipe()
        told = []

        children, reports = [], os.pipe()
        for uid in range(20000, 20000 + TOTAL // PER_UID + 1):
            child = os.fork()
            if child == 0:
                try:
                    os.close(go)
                    os.setgroups([])
                    os.setresuid(uid, uid, uid)
                    clients = [connected() for _ in range(PER_UID)]
                    os.write(reports[1], str(sum(client is not None for client in clients)).encode())
                    os.read(release, 1)
                finally:
                    os._exit(0)
            children.append(child)
            told.append(int(os.read(reports[0], 100)))
        limit = min(TOTAL, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 4 * 3 // 2)
        # The last ones got places of those who had more; nobody was turned away for the others' sake.
        self.assertGreaterEqual(sum(told), limit)
        self.assertTrue(all(told))
        # Each has two descriptors.
        self.assertLess(self.machined.count_fds(), 2 * limit + 100)
        with Client(deadline=AT_ONCE) as client:
            self.assertEqual(client.call("io.systemd.service.Ping"), {})
            self.assertEqual(client.ask("Register", {"name": "web", "class": "vm", "leader": self.leader().pid}), OK)
        os.close(go)
        for child in children:
            os.waitpid(child, 0)
        for fd in (release, *reports):
            os.close(fd)
        until(lambda: self.machined.count_fds() < 40, "the end of the connections")
        self.assert_consistent()

    def test_descriptors_that_a_client_sends_are_not_kept(self):
        self.assert_served()
        before = self.machined.count_fds()
        with Client() as client, open("/dev/null") as null:
            fds = array.array("i", [null.fileno()] * 200)
            for _ in range(100):
                # From Linux 6.16 on the kernel refuses them, and before that the daemon lets go of the connection.
                with contextlib.suppress(PermissionError):
                    client.socket.sendmsg([PING], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
                    self.assertIsNone(client.receive())
                    break
                self.assertEqual(client.call("io.systemd.service.Ping"), {})
            # The connection and its peer's pidfd are there, and no more to speak of.
            self.assertLess(self.machined.count_fds(), before + 10)
        until(lambda: self.machined.count_fds() <= before, "the end of the connection")

    def test_ten_thousand_that_connect_and_vanish_leave_nothing(self):
        self.assert_served()
        fds, memory = self.machined.count_fds(), self.machined.rss()
        for number in range(10_000):
            client = Client()
            if number % 3 == 1:
                client.send(PING[:9])
            elif number % 3 == 2:
                client.send(message("List", more=True))
            client.close()
        until(lambda: self.machined.count_fds() <= fds, "the end of the connections")
        self.assertLess(self.machined.rss() - memory, 2 << 10)

    def test_who_registers_without_a_free_descriptor_is_told_so(self):
        leader = self.leader()
        hard = resource.prlimit(self.machined.pid, resource.RLIMIT_NOFILE)[1]
        with Client() as client:
            self.assertEqual(until(asked(client, "List", {"name": ".host"}), "the answer"), OK)
            held = self.machined.count_fds()
            resource.prlimit(self.machined.pid, resource.RLIMIT_NOFILE, (held, hard))
            wanted = {"name": "web", "class": "container", "leader": leader.pid}
            told = until(asked(client, "Register", wanted), "the answer")
            resource.prlimit(self.machined.pid, resource.RLIMIT_NOFILE, (hard, hard))
            self.assertEqual(told, "io.systemd.System EMFILE")
            self.assertEqual(until(asked(client, "Register", wanted), "the answer"), OK)

    def test_a_lack_of_descriptors_passes(self):
        machines = [self.leader() for _ in range(20)]
        for number, leader in enumerate(machines):
            self.register(f"m{number}", leader)
        held = self.machined.count_fds()

        def limit(soft):
            resource.prlimit(self.machined.pid, resource.RLIMIT_NOFILE, (soft, hard))

        hard = resource.prlimit(self.machined.pid, resource.RLIMIT_NOFILE)[1]
        limit(held + 3)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client()) for _ in range(20)]
            for client in clients:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.send(message("Register", {"name": "more", "class": "vm", "leader": os.getpid()}))
            # Machines end all the same.
            machines[0].kill()
            until(lambda: "m0" not in records.names(), "the end of the record")
        limit(hard)
        until(lambda: self.machined.count_fds() <= held, "the end of the connections")
        # What they asked for may be done now, since it came.
        self.assertEqual(register("another", self.leader().pid), OK)
        self.assert_consistent()


class Parameters(world.Case):
    def setUp(self):
        super().setUp()
        self.start()
        self.live = self.leader()

    def attempt(self, **parameters):
        given = {"name": "web", "class": "container", "leader": self.live.pid, **parameters}
        return ask("Register", {key: value for key, value in given.items() if value is not ...})

    def test_absurd_parameters_are_named_and_change_nothing(self):
        names = ["", ".", "..", ".host", "a/b", "../x", "unit:x", ".#x", "x" * 65, "ä", "a b", "-a", "a-", "a..b",
                 "a.", "a_b", "a\nb", "a\u0001", "x" * 100_000, 5, None, ["a"], {}]
        absurd = {
            "name": names,
            "class": ["host", "", "Container", 1, None],
            "leader": [0, 1, -1, 2 ** 31, 2 ** 63, 2 ** 70, 1.5, "", "x", "-5", [1], {"pid": 1}, True],
            "leaderProcessId": [5, {}, {"pid": 0}, {"pid": 1}, {"pid": self.live.pid, "pidfdId": 1},
                                {"pid": self.live.pid, "bootId": "0" * 32}, {"pid": self.live.pid, "more": 1}],
            "id": ["x", "0" * 31, "0" * 33, 5],
            "rootDirectory": ["", "relative", "/a/../b", "/a//b", "/./a", "/" + "x" * 256, "/x" * 4096],
            "ifIndices": [[0], [-1], [2 ** 31], ["1"], [None], 5, [1.5], [[1]], list(range(1, 2000))],
            "vSockCid": [0, 1, 2, 2 ** 32 - 1, 2 ** 32, -3, "x"],
            "sshAddress": ["a\nb", "a\tb", "\u001b[2J"],
            "sshPrivateKeyPath": ["", "relative"],
            "controlAddress": ["", "relative", "@x", "/a/../b"],
            "allocateUnit": ["yes", 1],
            "allowInteractiveAuthentication": ["yes", 1],
            "bogus": [1],
        }
        for field, values in absurd.items():
            for value in values:
                told = self.attempt(**{field: value})
                self.assertEqual(told, f"{INVALID} {field}", f"{field} = {str(value)[:60]}")
        self.assertEqual(self.attempt(leader=..., leaderProcessId={"pid": self.live.pid, "pidfdId": 0}), OK)
        self.assertEqual(list(listed()), ["web"])
        self.assert_consistent()

    def test_a_hundred_thousand_interfaces_are_refused(self):
        self.assertIn(self.attempt(ifIndices=[1] * 100_000), {f"{INVALID} ifIndices", "closed"})
        self.assertEqual(self.attempt(ifIndices=[2 ** 31 - 1] * 1024), OK)
        self.assert_consistent()

    def test_a_record_that_would_be_too_large_is_refused_and_changes_nothing(self):
        for text in ["x" * (1 << 20), "\n" * 66_000, "ä" * 33_000]:
            self.assertEqual(self.attempt(service=text), "io.systemd.System EFBIG")
            self.assertEqual(records.names(), [])
            self.assertEqual(listed(), {})
        self.assertEqual(self.attempt(service="x" * 60_000), OK)
        self.restart()
        self.assertEqual(listed()["web"]["service"], "x" * 60_000)

    def test_any_text_survives_the_record_and_a_restart(self):
        texts = ["ä ö €  𝄞", "one\ntwo\n\nthree", "LEADER=1\nNAME=evil", "\t\r\u0001\u007f", "\"it\" 'is'",
                 "\\n \\", "$HOME `id` $(id)", "# no comment", "; neither", " blanks around ", "=", "a=b",
                 "\u2028\ufeff\u0085", "x" * 5000]
        for text in texts:
            path = "/" + text[:200].replace("/", "_") + "/x"
            ssh = "".join(letter for letter in text if ord(letter) >= 32 and not 0x7f <= ord(letter) < 0xa0) or "x"
            self.assertEqual(self.attempt(service=text, rootDirectory=path, sshAddress=ssh, sshPrivateKeyPath=path,
                                          controlAddress=path), OK, text)
            before = listed()["web"]
            self.assertEqual(before["service"], text)
            self.assertEqual(before["rootDirectory"], path)
            self.assertEqual(before["sshAddress"], ssh)
            self.restart()
            self.assertEqual(listed(), {"web": before}, text)
            self.assertEqual(ask("Unregister", {"name": "web"}), OK)

    def test_a_nul_in_a_string_ends_the_connection(self):
        for field in ["name", "service", "rootDirectory", "sshAddress"]:
            self.assertEqual(self.attempt(**{field: "/a\0b"}), "closed")
        self.assertEqual(listed(), {})

    def chain(self, length):
        """Processes, each the parent of the next."""
        reader, writer = os.pipe()
        if (first := os.fork()) == 0:
            for _ in range(length):
                os.write(writer, b"%d\n" % os.getpid())
                if os.fork():
                    os.execvp("sleep", ["sleep", "60"])
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            pids = [int(pipe.readline()) for _ in range(length)]
        def end():
            for pid in pids:
                # Gone already is fine.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(first, 0)
        self.addCleanup(end)
        return pids

    def test_parents_are_not_followed_for_ever(self):
        pids = self.chain(600)
        self.assertEqual(register("deep", pids[0]), OK)
        self.assertEqual(ask("List", {"pid": {"pid": pids[200]}}), OK)
        # Its machine would be found by 600 steps; each takes some time, of which others have nothing.
        self.assertEqual(ask("List", {"pid": {"pid": pids[-1]}}), "io.systemd.Machine.NoSuchMachine")

    def test_lookups_of_absurd_processes_find_nobody(self):
        self.assertEqual(self.attempt(), OK)
        for pid in [-1, 2 ** 31, 2 ** 40, 2 ** 70, None, "x", 1.5, [], {}]:
            self.assertEqual(ask("List", {"pid": {"pid": pid}}), f"{INVALID} pid", pid)
            self.assertEqual(ask("List", {"pid": pid}) if pid is not None else f"{INVALID} pid", f"{INVALID} pid", pid)
        for pid in [1, 2 ** 31 - 1, os.getpid()]:
            self.assertEqual(ask("List", {"pid": {"pid": pid}}), "io.systemd.Machine.NoSuchMachine", pid)
        self.assertEqual(ask("List", {"pid": {"pid": str(self.live.pid)}}), OK)


if __name__ == "__main__":
    world.main()
