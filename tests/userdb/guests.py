"""Clients that send nonsense, too much or too often, or do not read; and those beside them that must not notice."""

import contextlib
import os
import socket
import threading

import userdb
import world
from userdb import NO_RECORD, PING, Client, message
from varlink import as_user, verdict
from waiting import until

PER_UID, TOTAL = 128, 4096
FIRST = 100000


def connected():
    """A client that was let in, or None."""
    client = Client()
    if client.is_served():
        return client
    client.close()
    return None


class Guests(userdb.Case):
    def test_what_is_no_call_ends_its_connection_only(self):
        depth = 100_000
        for garbage in [b"\0", b"\0\0\0\0", b"hello\0", os.urandom(5000) + b"\0", b"[]\0", b"\xff\xfe\0", PING[:-1] * 2 + b"\0",
                        b'{"method":' + b"[" * depth + b"]" * depth + b"}\0", b'{"a":' * depth + b"1" + b"}" * depth + b"\0",
                        message("GetUserRecord", {"userName": "a\0b"})]:
            with Client() as client:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.send(garbage)
                self.assertIsNone(client.receive(), garbage[:60])
            self.assert_served()

    def test_what_it_does_not_serve_is_told(self):
        with Client() as client:
            for method, error in [("io.systemd.UserDatabase.Nope", "MethodNotFound"), ("io.systemd.Machine.List", "MethodNotFound"),
                                  ("io.systemd.service.Ping", "MethodNotFound"), ("x", "MethodNotFound")]:
                self.assertEqual(client.call(method)["error"], f"org.varlink.service.{error}", method)
            info = client.call("org.varlink.service.GetInfo")["parameters"]
        self.assertEqual(info["interfaces"], ["io.systemd", "io.systemd.UserDatabase", "org.varlink.service"])

    def test_a_search_for_very_much_holds_up_nobody(self):
        leader = self.leader()
        userdb.write_record("web", leader.pid, f"UIDMAP=0:{FIRST}:65536\n")
        userdb.write_list("uids", "0001", f"{FIRST}:65536:0:web;")
        among = {"uidMin": FIRST, "uidMax": FIRST + 1000}
        self.assertEqual(userdb.search(**among, fuzzyNames=["vu-web-5ééé"] * 64), [NO_RECORD])
        self.assertEqual(userdb.search(**among, fuzzyNames=["aaaaaaaaaa"] * 60_000), [f"{userdb.INVALID} fuzzyNames"])
        with Client() as busy:
            busy.send(message("GetUserRecord", {**among, "fuzzyNames": ["x" * 200_000] * 64}, more=True))
            self.assert_served()
            self.assertEqual(verdict(busy.receive()), NO_RECORD)

    def test_half_a_message_waits_and_holds_up_nobody(self):
        with Client() as half:
            half.send(PING[:20])
            for _ in range(50):
                self.assert_served()
            half.send(PING[20:])
            self.assertEqual(verdict(half.receive()), NO_RECORD)

    def test_a_thousand_calls_in_one_write_are_answered_in_order(self):
        with Client() as client:
            calls = b"".join(message("GetUserRecord", {"uid": 5, "userName": "root", "bogus" if number % 3 else "uidMin": 0})
                             for number in range(1000))
            sender = threading.Thread(target=client.send, args=(calls,))
            sender.start()
            told = [verdict(client.receive()) == NO_RECORD for _ in range(1000)]
            sender.join()
        self.assertEqual(told, [number % 3 == 0 for number in range(1000)])

    def test_clients_that_never_read_hold_up_nobody(self):
        userdb.write_record("web", os.getpid(), "UIDMAP=0:100000:65536\n")
        for page in "0001", "0002":
            userdb.write_list("uids", page, "100000:65536:0:web;")
        before = self.provider.rss()
        call = message("GetUserRecord", {"uidMin": FIRST, "uidMax": FIRST + 1023}, more=True)
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                greedy = stack.enter_context(Client())
                greedy.socket.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        greedy.socket.send(call * 100)
            for _ in range(50):
                self.assert_served()
            self.assertLess(self.provider.rss() - before, 32 << 10)
        self.assert_served()

    def test_a_search_lets_others_have_their_turn_and_ends_with_its_client(self):
        before = self.provider.count_fds()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                client = stack.enter_context(Client())
                client.send(message("GetUserRecord", {"uidMin": FIRST, "uidMax": FIRST + 1023}, more=True) * 50)
            self.assert_served()
        until(lambda: self.provider.count_fds() <= before, "the end of the connections")

    def test_twenty_megabytes_are_refused_and_not_kept(self):
        before = self.provider.rss()
        with Client() as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(20):
                    client.send(b"x" * (1 << 20))
                client.send(b"\0")
            self.assertIsNone(client.receive())
        self.assert_served()
        self.assertLess(self.provider.rss() - before, 4 << 10)

    def test_ten_thousand_that_connect_and_vanish_leave_nothing(self):
        self.assert_served()
        fds, memory = self.provider.count_fds(), self.provider.rss()
        for number in range(10_000):
            client = Client()
            if number % 2:
                client.send(PING[:9])
            client.close()
        until(lambda: self.provider.count_fds() <= fds, "the end of the connections")
        self.assertLess(self.provider.rss() - memory, 2 << 10)

    def test_descriptors_that_a_client_sends_are_not_kept(self):
        self.assert_served()
        before = self.provider.count_fds()
        with Client() as client, open("/dev/null") as null:
            for _ in range(100):
                # From Linux 6.16 on the kernel refuses them, and before that the provider lets go of the connection.
                with contextlib.suppress(PermissionError):
                    socket.send_fds(client.socket, [PING], [null.fileno()] * 100)
                    self.assertIsNone(client.receive())
                    break
                self.assertTrue(client.is_served())
            self.assertLess(self.provider.count_fds(), before + 10)


@world.needs_root
class Limits(userdb.Case):
    def test_two_users_cannot_lock_out_root_or_a_third(self):
        """Nobody, as whom the provider runs, is a user like any other."""
        release, go = os.pipe()
        reader, writer = os.pipe()
        crowd = (world.OWNER, 65534)
        for uid in crowd:
            child = os.fork()
            if child == 0:
                try:
                    os.close(go)
                    os.setgroups([])
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                    clients = [connected() for _ in range(PER_UID + 10)]
                    os.write(writer, bytes([sum(client is not None for client in clients)]))
                    os.read(release, 1)
                finally:
                    os._exit(0)
            self.assertEqual(os.read(reader, 1)[0], PER_UID, f"let in of uid {uid}")
        self.assertTrue(as_user(world.NOBODY, lambda: connected() is not None), "a third")
        root = [connected() for _ in range(PER_UID * 2)]
        self.assertTrue(all(root), "root")
        for client in root:
            client.close()
        os.close(go)
        for _ in crowd:
            os.wait()
        until(lambda: as_user(world.OWNER, lambda: connected() is not None), "a free place")
        for fd in release, reader, writer:
            os.close(fd)

    def test_a_lack_of_descriptors_passes_and_root_gets_in(self):
        self.provider.kill()
        self.provide(prefix=["prlimit", "--nofile=20:20"])
        release, go = os.pipe()
        reader, writer = os.pipe()

        def crowd():
            with contextlib.ExitStack() as stack:
                for _ in range(30):
                    stack.enter_context(Client())
                os.write(writer, b"x")
                os.read(release, 1)
            return True

        thread = threading.Thread(target=as_user, args=(world.OWNER, crowd))
        thread.start()
        os.read(reader, 1)
        self.assert_served()
        os.write(go, b"x")
        thread.join()
        until(lambda: as_user(world.OWNER, lambda: connected() is not None), "a free place")
        for fd in release, go, reader, writer:
            os.close(fd)


if __name__ == "__main__":
    world.main()
