"""The module on machines that are made up. Changes /run: run in a mount namespace with a /run of its own (tests/c/run.sh)."""

import errno
import inspect
import ipaddress
import os
import pathlib
import select
import subprocess
import threading
import time
import unittest
import uuid

import libmachine
from libmachine import Change, Source

RECORDS = pathlib.Path("/run/systemd/machines")
ID = uuid.UUID("0123456789abcdef0123456789abcdef")


def write(name, leader, **values):
    RECORDS.mkdir(parents=True, exist_ok=True)
    values = {"NAME": name, "CLASS": "container", "LEADER": leader, **values}
    new = RECORDS / f".#{name}"
    new.write_text("".join(f'{key}="{value}"\n' for key, value in values.items()))
    new.rename(RECORDS / name)


class Python(unittest.TestCase):
    def setUp(self):
        if RECORDS.exists():
            for entry in RECORDS.iterdir():
                entry.unlink()
        self.leader = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(self.end_leader)

    def end_leader(self):
        self.leader.kill()
        self.leader.wait()

    def refused(self, number, call, *arguments):
        with self.assertRaises(OSError) as refused:
            call(*arguments)
        self.assertEqual(refused.exception.errno, number)

    def test_a_record_is_read_whole(self):
        write("web", self.leader.pid, SERVICE="by-hand", ROOT="/srv/web", UID=4711, ID=ID.hex, NETIF="7 9", REALTIME=5,
              MONOTONIC=6, ADDRESSES="10.0.0.2 fe80::1%5", ADDRESSES_FROM="given lease", UIDMAP="0:100000:65536", GIDMAP="0:200000:65536", CGROUPID=77)  # fmt: skip
        web = libmachine.open("outer/web")
        self.assertEqual((web.name, web.class_, web.service, web.root), ("web", "container", "by-hand", "/srv/web"))
        self.assertEqual((web.leader, web.owner, web.id, web.interfaces), (self.leader.pid, 4711, ID, [7, 9]))
        self.assertEqual((web.realtime, web.monotonic, web.control_group_id), (5, 6, 77))
        self.assertEqual((web.unit, web.subgroup, web.vsock_cid, web.supervisor, web.ssh_address), (None,) * 5)
        self.assertEqual(web.addresses(), [(ipaddress.ip_address("10.0.0.2"), 0, Source.GIVEN), (ipaddress.ip_address("fe80::1"), 5, Source.LEASE)])
        self.assertEqual((web.uid_ranges(), web.gid_ranges()), ([(0, 100000, 65536)], [(0, 200000, 65536)]))
        self.assertEqual((web.uid_to_host(33), web.uid_from_host(100033), web.gid_to_host(1)), (100033, 33, 200001))
        self.refused(errno.ENXIO, web.uid_to_host, 65536)
        # No groups are to be seen here.
        self.refused(errno.EUNATCH, web.processes)
        self.assertEqual(repr(web), "<Machine web>")

    def test_a_leader_is_opened_and_its_end_is_seen(self):
        write("web", self.leader.pid)
        web = libmachine.open("web")
        self.assertTrue(web.is_alive())
        pidfd = web.leader_pidfd()
        self.addCleanup(os.close, pidfd)
        self.assertEqual(select.select([pidfd], [], [], 0)[0], [])
        self.end_leader()
        self.assertEqual(select.select([pidfd], [], [], 10)[0], [pidfd])
        self.assertFalse(web.is_alive())
        self.refused(errno.ESRCH, web.leader_pidfd)

    def test_machines_are_listed_and_narrowed(self):
        write("web", self.leader.pid, UID=1)
        write("vm", self.leader.pid, CLASS="vm", VSOCK_CID=42, UID=2)
        write("dead", 2**22 - 1)
        (RECORDS / "damaged").write_text("NAME=other\n")
        names = lambda **which: sorted(machine.name for machine in libmachine.machines(**which))
        self.assertEqual(names(), ["vm", "web"])
        self.assertEqual(names(alive=False), ["dead", "vm", "web"])
        self.assertEqual((names(class_="vm"), names(owner=1)), (["vm"], ["web"]))
        self.assertEqual(libmachine.unreadable(), {"damaged": errno.EBADMSG})
        # A machine keeps the list that it is of.
        self.assertEqual([libmachine.machines(class_="vm")[0].vsock_cid, libmachine.by_vsock_cid(42).name], [42, "vm"])

    def test_who_is_in_no_machine_is_told_so(self):
        write("web", self.leader.pid)
        self.refused(errno.ENXIO, libmachine.open, "none")
        with self.assertRaisesRegex(OSError, "no machine is, or has, what was asked for"):
            libmachine.open("none")
        # What a record does not tell of an address, as one of an older version, is no error.
        write("old", self.leader.pid, ADDRESSES="10.0.0.9")
        self.assertEqual(libmachine.open("old").addresses(), [(ipaddress.ip_address("10.0.0.9"), 0, None)])
        self.refused(errno.EINVAL, libmachine.open, "no_name")
        self.refused(errno.ENXIO, libmachine.by_pid)
        self.refused(errno.ENXIO, libmachine.path_by_pid, os.getpid())
        self.refused(errno.ESRCH, libmachine.by_pid, 2**22 - 1)
        self.refused(errno.ENXIO, libmachine.by_uid, 100000)
        self.refused(errno.ENXIO, libmachine.by_address, "10.0.0.9")
        self.assertEqual((libmachine.machines_of_pid(), libmachine.paths([1, os.getpid()])), ([], [None, None]))

    def test_a_process_is_found_by_the_leader_index(self):
        write("web", self.leader.pid)
        index = pathlib.Path("/run/machined/leaders")
        index.mkdir(parents=True, exist_ok=True)
        link = index / str(self.leader.pid)
        link.symlink_to("web")
        self.addCleanup(link.unlink)
        self.assertEqual(libmachine.path_by_pid(self.leader.pid), "web")
        self.assertEqual(libmachine.by_pid(self.leader.pid, outermost=True).name, "web")
        self.assertEqual(libmachine.paths([self.leader.pid, 1]), ["web", None])
        self.assertEqual([machine.name for machine in libmachine.machines_of_pid(self.leader.pid)], ["web"])

    def test_what_c_would_cut_off_is_refused(self):
        write("web", self.leader.pid)
        for call in (lambda: libmachine.open("web\0x"), lambda: libmachine.wait("web\0x", 0)):
            self.assertRaises(ValueError, call)
        for call in (lambda: libmachine.by_uid(2**32), lambda: libmachine.by_pid(2**32), lambda: libmachine.by_vsock_cid(-1)):
            self.assertRaises(OverflowError, call)

    def test_a_monitor_tells_what_happens(self):
        write("old", self.leader.pid)
        with libmachine.Monitor(list=True, leaders=True) as monitor:
            told = [(event.change, event.name) for event in monitor]
            self.assertEqual(told, [(Change.PRESENT, "old"), (Change.LISTED, None)])
            write("web", self.leader.pid)
            self.assertEqual(select.select([monitor], [], [], 10)[0], [monitor])
            event = next(monitor)
            self.assertEqual((event.change, event.name, event.machine.class_), (Change.NEW, "web", "container"))
            self.assertRaises(StopIteration, next, monitor)
            # What it lent is over.
            self.assertRaises(ValueError, lambda: event.machine.name)
            self.end_leader()
            gone = set()
            while gone != {"old", "web"}:
                self.assertTrue(select.select([monitor], [], [], 10)[0])
                gone |= {event.name for event in monitor if event.change == Change.REMOVED}
        self.assertRaises(ValueError, monitor.fileno)

    def test_one_machine_is_waited_for(self):
        self.assertRaises(TimeoutError, libmachine.wait, "web", time.monotonic() + 0.01)
        threading.Timer(0.05, write, ["web", self.leader.pid]).start()
        self.assertEqual(libmachine.wait("web", time.monotonic() + 20).name, "web")
        self.assertRaises(TimeoutError, libmachine.wait_gone, "web", 0)
        threading.Timer(0.05, self.end_leader).start()
        libmachine.wait_gone("web", time.monotonic() + 20)

    def test_names_are_checked_and_suggested(self):
        self.assertIsNone(libmachine.check_name("web"))
        self.assertIn("-", libmachine.check_name("foo_bar") or "")
        self.assertEqual(libmachine.suggest_name("foo_bar"), "foo-bar")
        self.assertRegex(libmachine.version(), r"^\d+\.\d+\.\d+$")

    def test_everything_public_is_typed(self):
        for name in libmachine.__all__:
            thing = getattr(libmachine, name)
            if inspect.isfunction(thing):
                untyped = [key for key in inspect.signature(thing).parameters if key not in thing.__annotations__]
                self.assertEqual((untyped, "return" in thing.__annotations__), ([], True), name)
        self.assertTrue((pathlib.Path(libmachine.__file__).parent / "py.typed").exists())


if __name__ == "__main__":
    unittest.main()
