"""What is done inside containers over Varlink: copies and their ends, ids, root directories, mounts, and who may."""

import array
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import time
import unittest

import fuse
import processes
import world
from users import unmapped, write_map
from varlink import DENIED, MACHINE, NO_SUCH_MACHINE, OK, SOCKET, Client, as_user, ask, call, listed, message
from waiting import AT_ONCE, DEADLINE, until

ROOTS = "/run/roots"
COPYING = "io.mymachines.Copying."
NOT_SUPPORTED = MACHINE + "NotSupported"


class Inside(world.Case):
    def setUp(self):
        super().setUp()
        self.start()
        os.mkdir("/run/host")

    def rooted(self, name, prepare=lambda root: None, body=lambda: None):
        """A machine whose root directory prepare() has filled."""
        root = f"{ROOTS}/{name}"
        os.makedirs(f"{root}/tmp")
        os.makedirs(f"{root}/hang")
        prepare(root)
        leader = self.leader(lambda: (body(), os.chroot(root), os.chdir("/")))
        self.register(name, leader)
        return leader

    @staticmethod
    def many(root, count=20000):
        """A tree that takes a moment to be copied."""
        for directory in range(count // 500):
            os.makedirs(f"{root}/many/{directory}")
            for number in range(500):
                pathlib.Path(f"{root}/many/{directory}/{number}").touch()

    def children(self):
        """The processes that copy: children of a child of the daemon's."""
        def of(pid):
            found = []
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    found += pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            return [child for child in found if is_ours(child)]

        def is_ours(pid):
            with contextlib.suppress(OSError):
                return pathlib.Path(f"/proc/{pid}/comm").read_text() == "machined\n"
            return False
        return [int(pid) for child in of(self.machined.pid) for pid in of(child)]

    def stopped(self, begin):
        """A copy that goes on and whose process is stopped: the client that begin(n) made for it, and the process. One that was
        done before it could be stopped is begun again."""
        for number in range(20):
            client = begin(number)
            is_over = False
            while not is_over:
                for child in self.children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGSTOP)
                        until(lambda: processes.state(child) in (None, "T", "Z"), "a process that is stopped")  # noqa: B023
                        if processes.state(child) == "T":
                            return client, child
                if select.select([client.socket], [], [], 0)[0]:
                    reply = client.receive()
                    self.assertNotIn("error", reply)
                    is_over = not reply.get("continues")
            client.close()
            for entry in os.listdir("/run/host"):
                shutil.rmtree(f"/run/host/{entry}", ignore_errors=True)
        raise AssertionError("each copy was done before it could be stopped")

    def copy_from(self, number, destination="many"):
        """A client that has called CopyFrom."""
        client = Client()
        self.addCleanup(client.close)
        client.send(message("CopyFrom", {"name": "web", "source": "/many", "destination": f"/run/host/{destination}{number}"}))
        return client

    def copying(self, name, source, destination, direction="out", **more):
        """A client of a copy that has begun."""
        client = Client()
        self.addCleanup(client.close)
        parameters = {"name": name, "direction": direction, "source": source, "destination": destination, **more}
        client.send(message(COPYING + "Copy", parameters, more=True))
        return client

    @staticmethod
    def ongoing():
        return call(COPYING + "List")["parameters"]["copies"]

    def assert_prompt(self):
        """Others are answered at once."""
        began = time.monotonic()
        listed()
        self.assertLess(time.monotonic() - began, AT_ONCE)


class Copies(Inside):
    def test_a_copy_says_how_far_it_is_of_how_much(self):
        self.rooted("web")
        os.mkdir("/run/host/tree")
        for number in range(10):
            pathlib.Path(f"/run/host/tree/{number}").write_bytes(b"x" * 1000)
        os.link("/run/host/tree/0", "/run/host/tree/same")
        with Client() as client:
            told = client.stream(COPYING + "Copy", {"name": "web", "direction": "into", "source": "/run/host/tree", "destination": "/tmp/tree"})
        last = told[-1]["parameters"]
        self.assertEqual({key: last[key] for key in last if key != "id"},
                         {"bytes": 11000, "files": 11, "totalBytes": 11000, "totalFiles": 11, "done": True})
        self.assertFalse(any(reply["parameters"]["done"] for reply in told[:-1]))
        copy = pathlib.Path(f"{ROOTS}/web/tmp/tree")
        self.assertEqual((copy / "0").stat().st_ino, (copy / "same").stat().st_ino)
        self.assertEqual(self.ongoing(), [])

    def test_a_failure_names_the_file(self):
        self.rooted("web")
        os.makedirs("/run/host/tree/a/b")
        os.makedirs(f"{ROOTS}/web/tmp/tree/a")
        pathlib.Path(f"{ROOTS}/web/tmp/tree/a/b").write_text("a file")
        with Client() as client:
            reply = client.stream(COPYING + "Copy", {"name": "web", "direction": "into", "source": "/run/host/tree", "destination": "/tmp/tree"})[-1]
        self.assertEqual(reply["error"], COPYING + "Failed")
        self.assertEqual(reply["parameters"], {"path": "tree/a/b", "errno": 20, "errnoName": "ENOTDIR"})

    def test_a_copy_without_a_client_goes_on_until_it_is_cancelled(self):
        self.rooted("web", self.many)
        client, child = self.stopped(self.copy_from)
        client.close()
        copies = self.ongoing()
        self.assertEqual([(copy["machine"], copy["direction"], copy["source"]) for copy in copies], [("web", "out", "/many")])
        self.assertRegex(copies[0]["destination"], "^/run/host/many[0-9]+$")
        self.assertTrue(processes.is_running(child))
        self.assertEqual(ask(COPYING + "Cancel", {"id": copies[0]["id"] + 1}), COPYING + "NoSuchCopy")
        self.assertEqual(ask(COPYING + "Cancel", {"id": copies[0]["id"]}), OK)
        until(lambda: not self.ongoing(), "the end of the copy")
        until(lambda: processes.is_gone(child), "the end of its process")

    def test_whoever_waits_for_a_copy_hears_of_its_end_and_why(self):
        leader = self.rooted("web", self.many)
        for destination, end, told in (
            ("one", lambda: ask(COPYING + "Cancel", {"id": self.ongoing()[0]["id"]}), "ECANCELED"),
            ("two", leader.kill, "ESHUTDOWN"),
        ):
            client, child = self.stopped(lambda number, where=destination: self.copy_from(number, where))
            end()
            self.assertEqual(client.receive()["parameters"]["errnoName"], told)
            until(lambda child=child: processes.is_gone(child), "the end of its process")
        until(lambda: not listed(), "the end of the machine")

    def test_a_copy_of_ours_ends_with_its_connection(self):
        self.rooted("web", self.many)
        client, child = self.stopped(lambda number: self.copying("web", "/many", f"/run/host/many{number}"))
        client.close()
        until(lambda: processes.is_gone(child), "the end of its process")
        self.assertEqual(self.ongoing(), [])

    def test_not_everybody_may_copy_or_see_or_end_copies(self):
        self.rooted("web", self.many)
        client, child = self.stopped(lambda number: self.copying("web", "/many", f"/run/host/many{number}"))
        number = self.ongoing()[0]["id"]
        for method, parameters in (
            ("CopyTo", {"name": "web", "source": "/etc/passwd"}), ("CopyFrom", {"name": "web", "source": "/etc/passwd"}),
            (COPYING + "List", {}), (COPYING + "Cancel", {"id": number}),
        ):
            self.assertEqual(as_user(1000, lambda m=method, p=parameters: ask(m, p)), DENIED, method)
        self.assertEqual(len(self.ongoing()), 1)
        client.close()

    def test_what_is_no_copy_is_refused(self):
        self.rooted("web")
        self.assertEqual(ask("CopyTo", {"name": "nobody", "source": "/etc/passwd"}), NO_SUCH_MACHINE)
        self.assertEqual(ask("CopyTo", {"name": ".host", "source": "/etc/passwd"}), NOT_SUPPORTED)
        for path in "", "etc", "/a/../b", "/a//b", "/./a":
            self.assertEqual(ask("CopyTo", {"name": "web", "source": path}), "org.varlink.service.InvalidParameter source")
            self.assertEqual(ask("CopyFrom", {"name": "web", "source": "/a", "destination": path}),
                             "org.varlink.service.InvalidParameter destination")
        self.assertEqual(ask("CopyTo", {"name": "web", "source": "/"}), "io.systemd.System EADDRNOTAVAIL")
        reply = call(COPYING + "Copy", {"name": "web", "direction": "up", "source": "/a"}, more=True)
        self.assertEqual(reply["parameters"], {"parameter": "direction"})


@unittest.skipUnless(fuse.is_there(), "needs FUSE, and to be root")
class Hangs(Inside):
    """A file system in a container that takes requests and never answers them: who waits for it cannot even be killed."""

    def setUp(self):
        super().setUp()
        self.mounts = []
        self.addCleanup(lambda: [mount.end() for mount in self.mounts])

    def hangs(self, name):
        return self.rooted(name, lambda root: self.mounts.append(fuse.Hanging(f"{root}/hang")))

    def stuck(self):
        """Those that wait for an answer of the file system, or behind one that does."""
        found = []
        for pid in self.children():
            with contextlib.suppress(OSError):
                waits = pathlib.Path(f"/proc/{pid}/wchan").read_text()
                if waits == "request_wait_answer" or processes.state(pid) == "D":
                    found.append(pid)
        return found

    def test_the_next_daemon_starts_at_once_while_a_copy_hangs(self):
        self.hangs("hangs")
        self.rooted("good")
        for number, way in enumerate(("stop", "kill")):
            client = Client()
            self.addCleanup(client.close)
            client.send(message("CopyFrom", {"name": "hangs", "source": f"/hang/{number}", "destination": f"/run/host/{number}"}))
            until(self.stuck, "a copy that hangs")
            self.assert_prompt()
            began = time.monotonic()
            getattr(self.machined, way)()
            self.start()
            self.assertLess(time.monotonic() - began, AT_ONCE)
            self.assertEqual(set(listed()), {"good", "hangs"})
            self.assertEqual(ask("CopyTo", {"name": "good", "source": "/etc/passwd", "destination": f"/tmp/{number}"}), OK)

    def test_64_copies_go_on_at_a_time_and_a_machine_that_hangs_gets_no_more(self):
        self.hangs("hangs")
        self.rooted("good")
        clients = [self.copying("hangs", "/hang/x", f"/run/host/{number}", direction="out") for number in range(64)]
        until(lambda: len(self.ongoing()) == 64, "64 copies")
        self.assertEqual(ask("CopyTo", {"name": "good", "source": "/etc/passwd"}), MACHINE + "TooManyOperations")
        self.assert_prompt()
        for client in clients:
            client.close()
        until(lambda: not self.ongoing(), "the end of all")
        copy = {"name": "hangs", "source": "/etc/passwd", "destination": "/tmp/x"}
        # Whether they can be ended at all shows within a second.
        until(lambda: ask("CopyTo", copy) == "io.systemd.System ETIMEDOUT", "that they are left behind")
        self.mounts.pop().end()
        until(lambda: ask("CopyTo", {"name": "good", "source": "/etc/passwd", "destination": "/tmp/x"}) == OK, "room again")


class Ids(Inside):
    def mapped(self, name, *lines):
        leader = self.leader(unmapped)
        write_map(leader, lines)
        self.register(name, leader)

    @world.needs_root
    def test_ids_are_mapped_from_and_to_machines(self):
        self.mapped("web", (0, 100000, 65536))
        self.mapped("db", (0, 200000, 65536))
        answer = lambda method, **parameters: (lambda reply: reply.get("error") or reply["parameters"])(call(method, parameters))
        self.assertEqual(answer("MapFrom", name="web", uid=5), {"uid": 100005})
        self.assertEqual(answer("MapFrom", name="db", uid=0, gid=7), {"uid": 200000, "gid": 200007})
        self.assertEqual(answer("MapFrom", name="web", uid=65536), MACHINE + "NoSuchUser")
        self.assertEqual(answer("MapFrom", name="web", gid=65536), MACHINE + "NoSuchGroup")
        self.assertEqual(answer("MapFrom", name="nobody", uid=0), NO_SUCH_MACHINE)
        self.assertEqual(answer("MapFrom", name=".host", uid=0), NOT_SUPPORTED)
        self.assertEqual(answer("MapTo", uid=100005), {"uid": 5, "machineName": "web"})
        self.assertEqual(answer("MapTo", uid=200001, gid=200002), {"uid": 1, "gid": 2, "machineName": "db"})
        self.assertEqual(answer("MapTo", uid=100001, gid=200002), NO_SUCH_MACHINE)
        self.assertEqual(answer("MapTo", uid=5), MACHINE + "UserInHostRange")
        self.assertEqual(answer("MapTo", gid=5), MACHINE + "GroupInHostRange")
        self.assertEqual(answer("MapTo", uid=300000), MACHINE + "NoSuchUser")
        self.assertEqual(answer("MapTo"), NO_SUCH_MACHINE)
        self.assertEqual(as_user(1000, lambda: answer("MapTo", uid=100005)), {"uid": 5, "machineName": "web"})


class Doors(Inside):
    @staticmethod
    def descriptors(method, **parameters):
        """What a method answers, and the descriptors that come with it."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(SOCKET)
            client.sendall(json.dumps({"method": MACHINE + method, "parameters": parameters}).encode() + b"\0")
            data, ancillary, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(64))
            fds = array.array("i")
            for _, _, content in ancillary:
                fds.frombytes(content)
        reply = json.loads(data.rstrip(b"\0"))
        return reply.get("error") or reply["parameters"], list(fds)

    def test_the_root_directory_is_the_containers(self):
        self.rooted("web", lambda root: os.mkdir(f"{root}/only-here"))
        told, fds = self.descriptors("OpenRootDirectory", name="web")
        self.assertEqual((told, len(fds)), ({"fileDescriptor": 0}, 1))
        self.assertIn("only-here", os.listdir(fds[0]))
        told, host = self.descriptors("OpenRootDirectory", name=".host")
        self.assertEqual(os.fstat(host[0]).st_ino, os.stat("/").st_ino)
        for fd in (*fds, *host):
            os.close(fd)
        self.assertEqual(self.descriptors("OpenRootDirectory", name="nobody"), (NO_SUCH_MACHINE, []))
        self.assertEqual(as_user(1000, lambda: ask("OpenRootDirectory", {"name": "web"})), DENIED)

    @world.needs_root
    def test_a_mount_of_the_hosts_appears_in_the_container_alone(self):
        os.makedirs("/run/host/shown")
        pathlib.Path("/run/host/shown/text").write_text("the host's")
        leader = self.rooted("web", body=lambda: processes.checked(processes.LIBC.unshare(0x00020000)))
        bind = {"name": "web", "source": "/run/host/shown", "destination": "/tmp/a/b", "mkdir": True, "readOnly": True}
        self.assertEqual(ask("BindMount", bind), OK)
        inside = f"/proc/{leader.pid}/root/tmp/a/b"
        self.assertEqual(pathlib.Path(inside, "text").read_text(), "the host's")
        with self.assertRaises(OSError):
            pathlib.Path(inside, "text").write_text("changed")
        self.assertEqual(os.listdir(f"{ROOTS}/web/tmp/a/b"), [])
        self.assertEqual(ask("BindMount", {**bind, "name": ".host"}), NOT_SUPPORTED)
        self.assertEqual(ask("BindMount", {**bind, "source": "/run/host/none"}), "io.systemd.System ENOENT")
        self.assertEqual(ask("BindMount", {**bind, "destination": "a"}), "org.varlink.service.InvalidParameter destination")
        self.assertEqual(as_user(1000, lambda: ask("BindMount", bind)), DENIED)
        self.rooted("shares")
        self.assertEqual(ask("BindMount", {**bind, "name": "shares"}), "io.systemd.System EINVAL")

    def test_not_everybody_may_open_terminals(self):
        self.rooted("web")
        for name in "web", ".host":
            for mode in "tty", "login", "shell":
                self.assertEqual(as_user(1000, lambda n=name, m=mode: ask("Open", {"name": n, "mode": m})), DENIED, (name, mode))
        self.assertEqual(ask("Open", {"name": "nobody", "mode": "tty"}), NO_SUCH_MACHINE)
        self.assertEqual(ask("Open", {"name": "web", "mode": "window"}), "org.varlink.service.InvalidParameter mode")

    @world.needs_root
    def test_systemd_39102_a_user_who_registered_a_machine_has_no_shell_in_the_hosts_user_namespace_and_nobody_has(self):
        self.rooted("plain")
        users = self.leader(unmapped)
        write_map(users, [(0, 100000, 65536)])
        self.register("users", users)
        self.machined.stop()
        for name in "plain", "users":
            record = pathlib.Path(f"/run/systemd/machines/{name}")
            lines = record.read_text().splitlines()
            lines = [line for line in lines if not line.startswith("UID=")] + ["UID=1000"]
            record.write_text("\n".join(lines) + "\n")
        self.start()
        open_as = lambda uid, name, mode: as_user(uid, lambda: ask("Open", {"name": name, "mode": mode}))
        for mode in "tty", "login", "shell":
            # Whose machine it is may; this one fails later, as it has no root directory of its own to find a ptmx in.
            self.assertNotEqual(open_as(1000, "users", mode), DENIED, mode)
            self.assertEqual(open_as(1001, "users", mode), DENIED, mode)
            for uid in 1000, 0:
                self.assertEqual(open_as(uid, "plain", mode), DENIED, mode)


if __name__ == "__main__":
    world.main()
