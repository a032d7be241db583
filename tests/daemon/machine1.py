"""org.freedesktop.machine1 on a bus of its own, without systemd: a bus that is late, lost or stuck, and hostile clients."""

import contextlib
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

import processes
import records
import varlink
import world
from varlink import DENIED, OK, as_user, ask, has_pidfd, listed, register
from waiting import AT_ONCE, listens, until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "dbus"))

import service  # noqa: E402
import wire  # noqa: E402
from service import MACHINE, MACHINES, MANAGER, NAME, ROOT, Client, path_of  # noqa: E402
from wire import NO_REPLY, REPLY_SERIAL, Variant  # noqa: E402

SOCKET = "/run/dbus/system_bus_socket"
BUS = shutil.which("dbus-daemon")
# nobody and daemon: a bus lets in only users that there are.
SOMEBODY, OWNER = 65534, 1
# How many calls make a flood.
CALLS = 50000
CONFIGURATION = """<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
    <allow receive_type="signal"/>{denied}
  </policy>
  {limits}
</busconfig>
"""


def raw():
    return Client(SOCKET)


@unittest.skipUnless(BUS, "needs dbus-daemon")
class WithBus(world.Case):
    def setUp(self):
        super().setUp()
        self.bus = None

    def start_bus(self, tells_of_readers=True, **limits):
        os.makedirs("/run/dbus", exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)
        lines = "".join(f'<limit name="{name}">{value}</limit>' for name, value in limits.items())
        denied = "" if tells_of_readers else '<deny send_interface="org.freedesktop.DBus.Debug.Stats"/>'
        text = CONFIGURATION.format(socket=SOCKET, limits=lines, denied=denied)
        pathlib.Path("/run/bus.conf").write_text(text)
        with open(f"{world.LOGS}/bus", "a") as log:
            bus = subprocess.Popen([BUS, "--config-file=/run/bus.conf", "--nofork", "--nopidfile", "--nosyslog"],
                                   stdin=subprocess.DEVNULL, stderr=log)
        self.addCleanup(self.stop_bus, bus)
        self.bus = bus
        until(lambda: listens(SOCKET), "the bus")

    @staticmethod
    def stop_bus(bus):
        bus.send_signal(signal.SIGCONT)
        bus.kill()
        bus.wait()

    def client(self):
        client = raw()
        self.addCleanup(client.close)
        return client

    def wait_for_name(self):
        with raw() as client:
            until(lambda: client.bus("NameHasOwner", "s", NAME) == [True], "the name", 30)

    def start_both(self, **more):
        self.start_bus(**more)
        self.start()
        self.wait_for_name()

    def assert_served(self, within=AT_ONCE):
        """Somebody else is answered at once, on the bus and beside it."""
        began = time.monotonic()
        with raw() as client:
            self.assertEqual(client.manager("GetMachine", "s", ".host"), [path_of(".host")])
        self.assertEqual(ask("List", {"name": ".host"}), OK)
        self.assertLess(time.monotonic() - began, within)

    def assert_answered(self, name, within=20):
        """Somebody else is answered at last, whatever the bus refuses meanwhile."""
        def answer():
            with raw() as client:
                serial = client.send(NAME, ROOT, MANAGER, "GetMachine", "s", name)
                try:
                    return client.reply(serial, 2).body == [path_of(name)]
                except wire.Failed as error:
                    return error.name.endswith("NoSuchMachine")
                except TimeoutError:
                    return False
        until(answer, "an answer", within)


class Embedded(WithBus):
    def test_machines_are_registered_and_known_without_systemd(self):
        self.start_both()
        client, leader = self.client(), self.leader()
        client.match(f"type='signal',sender='{NAME}'")
        self.assertEqual(client.register("my-web", leader.pid, id=b"0123456789abcdef"), [path_of("my-web")])
        self.assertEqual(client.signals(), [("MachineNew", "my-web", path_of("my-web"))])
        got = client.all(path_of("my-web"), MACHINE)
        self.assertEqual((got["Name"], got["Unit"], got["Leader"], got["Class"], got["State"]),
                         ("my-web", "", leader.pid, "container", "running"))
        self.assertEqual(got["Supervisor"], os.getpid())
        self.assertEqual(client.manager("GetMachineByPID", "u", leader.pid), [path_of("my-web")])
        self.assertEqual(client.names(), {".host", "my-web"})
        self.assert_consistent()
        self.assertEqual(client.machine("my-web", "Kill", "si", "leader", signal.SIGKILL), [])
        until(lambda: client.names() == {".host"}, "the end")
        self.assertEqual(client.signals(), [("MachineRemoved", "my-web", path_of("my-web"))])

    @world.needs_cgroup
    def test_a_machine_that_is_created_gets_a_group(self):
        self.start_both()
        client, leader = self.client(), self.leader()
        self.assertEqual(client.register("web", leader.pid, member="CreateMachine", properties=[]), [path_of("web")])
        self.assertIn("/machines/web", pathlib.Path(f"/proc/{leader.pid}/cgroup").read_text())
        self.assertEqual(client.manager("TerminateMachine", "s", "web"), [])
        until(lambda: client.names() == {".host"}, "the end")

    def test_addresses_and_signals_follow_the_machines_of_the_other_front_end(self):
        self.start_both()
        client = self.client()
        client.match(f"type='signal',sender='{NAME}'")
        self.register("web", self.container("10.1.0.1/32", "fd00::1/128"))
        self.assertEqual(client.signals(), [("MachineNew", "web", path_of("web"))])
        self.assertEqual(client.manager("GetMachineAddresses", "s", "web"),
                         [[(2, bytes([10, 1, 0, 1])), (10, bytes.fromhex("fd00" + 27 * "0" + "1"))]])
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assertEqual(client.signals(), [("MachineRemoved", "web", path_of("web"))])

    def test_addresses_of_virtual_machines_are_told(self):
        self.start_both()
        client = self.client()
        self.register("vm", self.leader(), **{"class": "vm"})
        self.assertEqual(ask("io.mymachines.Registry.SetAddresses", {"name": "vm", "addresses": ["10.1.0.7", "fd00::7"]}), OK)
        expected = [[(2, bytes([10, 1, 0, 7])), (10, bytes.fromhex("fd00" + 27 * "0" + "7"))]]
        self.assertEqual(client.manager("GetMachineAddresses", "s", "vm"), expected)
        self.assertEqual(client.machine("vm", "GetAddresses"), expected)

    def test_what_sd_bus_does_for_every_service_is_done(self):
        self.start_both()
        import standard  # Its client needs the bus.
        for function in service.cases:
            with self.subTest(function.__name__):
                function()
        standard.bus.close()

    @world.needs_root
    def test_others_register_nothing_and_change_nothing(self):
        self.start_both()
        os.chmod(SOCKET, 0o666)
        self.register("web", self.leader())

        def asks():
            client, own = raw(), subprocess.Popen(["sleep", "60"])
            try:
                return [client.register("mine", own.pid), client.manager("UnregisterMachine", "s", "web"),
                        client.manager("TerminateMachine", "s", "web"),
                        client.manager("KillMachine", "ssi", "web", "leader", 9),
                        client.set(service.LOG, service.LOG_CONTROL, "LogLevel", Variant("s", "debug")),
                        client.names()]
            finally:
                own.kill()
                own.wait()
        *refused, names = as_user(SOMEBODY, asks)
        for answer in refused:
            self.assertTrue(answer.startswith("AccessDenied: "), refused)
        self.assertEqual(names, {".host", "web"})

    @world.needs_root
    def test_whoever_registered_a_machine_may_end_it(self):
        self.start_both()
        os.chmod(SOCKET, 0o666)
        leader = self.leader()
        self.register("web", leader)
        self.machined.kill()
        text = pathlib.Path("/run/systemd/machines/web").read_text()
        pathlib.Path("/run/systemd/machines/web").write_text(text.replace("UID=0\n", f"UID={OWNER}\n"))
        self.start()
        self.wait_for_name()
        self.assertEqual(as_user(OWNER, lambda: raw().manager("KillMachine", "ssi", "web", "leader", 9)), [])
        until(lambda: not listed(), "the end")


class Weather(WithBus):
    def test_without_a_bus_nothing_is_missing_and_later_it_is_joined(self):
        self.start()
        self.register("web", self.leader())
        # It is not to be there before this client.
        self.machined.process.send_signal(signal.SIGSTOP)
        self.start_bus()
        client = self.client()
        client.match(f"type='signal',path='{ROOT}'")
        self.machined.process.send_signal(signal.SIGCONT)
        self.wait_for_name()
        got = until(client.next, "a signal")
        while got.fields[wire.INTERFACE] != MANAGER:
            got = until(client.next, "a signal")
        self.assertEqual((got.fields[wire.MEMBER], *got.body), ("MachineNew", "web", path_of("web")))
        self.assertEqual(client.names(), {".host", "web"})

    def test_a_bus_that_is_lost_takes_nothing_away_and_is_joined_again(self):
        self.start_both()
        self.register("web", self.leader())
        for number in range(3):
            self.stop_bus(self.bus)
            self.register(f"on-the-way{number}", self.leader())
            self.assertIn("web", listed())
            self.start_bus()
            self.wait_for_name()
            with raw() as client:
                self.assertEqual(client.names(), {".host", *listed()})
        self.assert_consistent()

    @world.needs_root
    def test_a_bus_that_hangs_holds_up_nobody_but_who_is_judged_over_it_and_hears_the_news_later(self):
        self.start_both()
        client = self.client()
        client.match(f"type='signal',sender='{NAME}'")
        leaders = [self.leader() for _ in range(20)]
        self.bus.send_signal(signal.SIGSTOP)
        os.seteuid(SOMEBODY)
        try:
            judged = varlink.Client(deadline=60)
        finally:
            os.seteuid(0)
        self.addCleanup(judged.close)
        judged.send(varlink.message("Kill", {"name": ".host", "signal": 18}))
        self.register("web0", leaders[0])
        self.assertEqual(list(listed()), ["web0"])
        # Nobody waited for the same as he does; polkit is asked only about whom the kernel vouches for.
        if has_pidfd(judged.socket):
            self.assertEqual(select.select([judged.socket], [], [], 0)[0], [])
        for number, leader in enumerate(leaders[1:], 1):
            self.register(f"web{number}", leader)
        self.assertEqual(len(listed()), 20)
        self.bus.send_signal(signal.SIGCONT)
        self.assertEqual(client.signals(), [("MachineNew", f"web{n}", path_of(f"web{n}")) for n in range(20)])
        self.assertEqual(varlink.verdict(judged.receive()), DENIED)

    def test_a_name_that_is_taken_is_ours_when_it_is_free(self):
        self.start_bus()
        other = self.client()
        self.assertEqual(other.bus("RequestName", "su", NAME, 0), [1])
        self.start()
        self.register("web", self.leader())
        client = self.client()
        client.match(f"type='signal',path='{ROOT}',interface='{MANAGER}'")
        until(lambda: len(client.bus("ListQueuedOwners", "s", NAME)[0]) == 2, "the queue for the name")
        self.register("later", self.leader())
        self.assertEqual(other.bus("ReleaseName", "s", NAME), [1])
        self.wait_for_name()
        self.assertEqual(client.signals(), [("MachineNew", "web", path_of("web")), ("MachineNew", "later", path_of("later"))])


class Hostile(WithBus):
    def test_a_thousand_calls_at_once_are_answered_in_order_and_others_meanwhile(self):
        self.start_both(max_replies_per_connection=100000)
        client = self.client()
        names = (".host", "nope")
        sent = [client.send(NAME, ROOT, MANAGER, "GetMachine", "s", names[n % 2]) for n in range(1000)]
        self.assert_served()
        heard = []
        while len(heard) < len(sent):
            got = client.next()
            if REPLY_SERIAL in got.fields:
                heard.append((got.fields[REPLY_SERIAL], got.type == wire.RETURN))
        self.assertEqual(heard, [(serial, n % 2 == 0) for n, serial in enumerate(sent)])

    def test_effects_of_calls_that_do_not_wait_come_in_their_order(self):
        self.start_both(max_replies_per_connection=100000)
        client, leader = self.client(), self.leader()
        sent = []
        for _ in range(100):
            sent.append(client.send(NAME, ROOT, MANAGER, "RegisterMachine", "sayssus", "web", b"", "", "container",
                                    leader.pid, ""))
            sent.append(client.send(NAME, path_of("web"), service.PROPERTIES, "Get", "ss", MACHINE, "Name"))
            sent.append(client.send(NAME, ROOT, MANAGER, "UnregisterMachine", "s", "web"))
            sent.append(client.send(NAME, ROOT, MANAGER, "GetMachine", "s", "web"))
        for n, serial in enumerate(sent):
            if n % 4 == 3:
                with self.assertRaises(wire.Failed):
                    client.reply(serial)
            else:
                client.reply(serial)

    def test_a_flood_that_wants_no_answer_fills_no_memory(self):
        # What the bus keeps for the daemon has to pass before anything else does.
        self.start_both(max_outgoing_bytes=8 << 20)
        stop, sent, before = threading.Event(), [], self.machined.rss()
        fields = {wire.PATH: ROOT, wire.INTERFACE: MANAGER, wire.MEMBER: "GetMachine", wire.DESTINATION: NAME}
        call = wire.message(wire.CALL, 7, fields, "s", ("x" * 500,), NO_REPLY)

        def flood():
            with raw() as client, contextlib.suppress(OSError):
                while not stop.is_set():
                    client.write(call * 100)
                    sent.append(100)
        floods = [threading.Thread(target=flood) for _ in range(4)]
        for thread in floods:
            thread.start()

        def is_enough():
            self.assertEqual(ask("List", {"name": ".host"}), OK)
            return sum(sent) >= CALLS
        try:
            until(is_enough, "the flood", 60)
            self.assert_answered("nope")
        finally:
            stop.set()
            for thread in floods:
                thread.join()
        self.assert_answered("nope")
        self.assertLess(self.machined.rss() - before, 60 << 10)

    def test_a_message_that_is_too_large_is_refused_and_not_kept(self):
        self.start_both()
        client, before = self.client(), self.machined.peak()
        large = [("Description", Variant("s", "x" * 1000))] * 20000
        for _ in range(3):
            answer = client.register("web", self.leader().pid, member="CreateMachine", properties=large)
            self.assertEqual(answer, "LimitsExceeded: The message is too large.")
        self.assert_served()
        self.assertLess(self.machined.peak() - before, 4 << 10)

    def deafen(self, count, **more):
        """Clients that call and never read."""
        # Small limits show at once what the default ones show after 127 MB: what nobody reads counts as the daemon's,
        # until the bus takes nothing from it any more.
        self.start_both(max_incoming_bytes=2 << 20, max_outgoing_bytes=2 << 20, **more)
        self.register("web", self.leader())
        for _ in range(count):
            deaf = self.client()
            deaf.socket.settimeout(1)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                for _ in range(1000):
                    deaf.send(NAME, ROOT, service.INTROSPECTABLE, "Introspect")
        return deaf

    def test_clients_that_never_read_cost_others_nothing(self):
        deaf = self.deafen(5)
        for _ in range(20):
            self.assert_served()
        # The bus refuses what is more than it takes in from one client; the rest is answered as it is read.
        heard = 0
        while (got := deaf.next(2)) is not None:
            heard += got.type == wire.RETURN
        self.assertGreater(heard, 100)
        self.assert_served()
        self.assertNotIn("leaving it", self.machined.log())

    def test_a_bus_that_takes_nothing_any_more_is_joined_again(self):
        self.deafen(3, tells_of_readers=False)
        self.assertEqual(ask("List", {"name": ".host"}), OK)
        self.assert_answered("web", 20)
        self.assertIn("leaving it", self.machined.log())

    def test_an_os_release_that_no_message_can_carry_does_not_end_the_connection_to_the_bus(self):
        for name, text in ("good", b"ID=good\n"), ("evil", b"EVIL=a\0b\n"), ("latin", b"EVIL=\xe4\n"):
            os.makedirs(f"/run/roots/{name}/etc")
            pathlib.Path(f"/run/roots/{name}/etc/os-release").write_bytes(text)
        self.start_both()
        for name in "good", "evil", "latin":
            self.register(name, self.leader(lambda name=name: (os.chroot(f"/run/roots/{name}"), os.chdir("/"))))
        client = self.client()
        for name in ["evil", "latin"] * 20:
            answer = client.manager("GetMachineOSRelease", "s", name)
            self.assertEqual(answer, "InvalidArgs: Failed to get OS release: Invalid argument")
            self.assertEqual(client.manager("GetMachineOSRelease", "s", "good"), [{"ID": "good"}])
        self.assertNotIn("Lost the system bus", self.machined.log())

    def test_a_file_system_that_does_not_answer_holds_up_only_who_asked_for_it(self):
        try:
            fuse = os.open("/dev/fuse", os.O_RDWR)
        except OSError as error:
            self.skipTest(f"no FUSE: {error}")
        self.addCleanup(os.close, fuse)
        for name in "good", "hangs":
            os.makedirs(f"/run/roots/{name}/etc")
        pathlib.Path("/run/roots/good/etc/os-release").write_text("ID=good\n")
        options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
        if processes.LIBC.mount(b"hang", b"/run/roots/hangs/etc", b"fuse", 0, options):
            self.skipTest("no FUSE mounts")
        self.addCleanup(subprocess.run, ["umount", "--force", "--lazy", "/run/roots/hangs/etc"], check=False,
                        stderr=subprocess.DEVNULL)
        self.start_both()
        for name in "good", "hangs":
            self.register(name, self.leader(lambda name=name: (os.chroot(f"/run/roots/{name}"), os.chdir("/"))))
        waiting, other = self.client(), self.client()
        asked = waiting.send(NAME, path_of("hangs"), MACHINE, "GetOSRelease")
        # Those behind it pass, too.
        self.assertEqual(waiting.manager("GetMachine", "s", "good"), [path_of("good")])
        self.assertEqual(other.manager("GetMachineOSRelease", "s", "good"), [{"ID": "good"}])
        self.assert_served()
        # It has no answer yet: nobody waited for the same.
        self.assertRaises(TimeoutError, waiting.reply, asked, 0.01)
        with self.assertRaises(wire.Failed) as failed:
            waiting.reply(asked)
        self.assertEqual(service.text(failed.exception), "Timeout: Failed to get OS release: Connection timed out")

    def test_callers_that_come_and_go_leave_nothing_behind(self):
        self.start_both()
        with raw() as client:
            client.get(f"{MACHINES}/self", MACHINE, "Name")
        before = self.machined.count_fds()
        for _ in range(300):
            with raw() as client:
                client.get(f"{MACHINES}/self", MACHINE, "Name")
        # A few of the last ones are remembered.
        self.assertLessEqual(self.machined.count_fds(), before + 64)


class Scale(WithBus):
    def test_a_thousand_machines_are_listed_and_introspection_names_them(self):
        self.start_both()
        leaders = [self.leader() for _ in range(1000)]
        client = self.client()
        for number, leader in enumerate(leaders):
            self.assertEqual(client.register(f"web-{number}", leader.pid), [path_of(f"web-{number}")])
        self.assertEqual(client.names(), {".host", *(f"web-{number}" for number in range(1000))})
        own = client.manager("GetMachineOSRelease", "s", ".host")
        for name, *_ in client.manager("ListMachines")[0]:
            self.assertEqual(client.manager("GetMachineOSRelease", "s", name), own)
        xml = client.ask(MACHINES, service.INTROSPECTABLE, "Introspect")[0]
        self.assertEqual(xml.count("<node name="), 1001)
        self.assertLess(len(xml), 40 * 1000)
        for leader in leaders:
            leader.tell(9)
        until(lambda: client.names() == {".host"}, "the end of all")
        until(lambda: records.names() == [], "the end of all records")


if __name__ == "__main__":
    world.main()
