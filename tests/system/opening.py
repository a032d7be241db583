"""Ways into machines that take more than a command of systemd: programs in C and Python, ssh, passwords; and live mounts."""

import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import termios
import threading

import dbus

from bus import MACHINE, MANAGER, PATH, SERVICE, object_path
from machines import Container, shared
from scene import DEADLINE, OURS, SYSTEMD, Case, out, refused, run, until
from terminals import Session

VARLINK = "/run/systemd/machine/io.systemd.Machine"
PROXY = "/usr/lib/systemd/systemd-ssh-proxy"
PASSWORD = "correct horse"


def allow_gettys():
    """Lets gettys start again. One whose terminal closes does so by itself, until its unit may not for ten seconds, and then the
    next login that has a terminal of its number would have no prompt."""
    run("systemctl", "-M", shared.real.name, "reset-failed", "container-getty@*.service")


def agent_listens():
    """Whether an agent has turned the echo of its terminal off. It asks before that, and throws away what was typed meanwhile."""
    for agent in run("pgrep", "-u", "testuser", "-x", "pkttyagent").stdout.split():
        with contextlib.suppress(OSError, termios.error):
            number = int(pathlib.Path(f"/proc/{agent}/stat").read_text().rpartition(")")[2].split()[4])
            terminal = os.open(f"/dev/pts/{os.minor(number)}", os.O_RDWR | os.O_NOCTTY)
            try:
                if not termios.tcgetattr(terminal)[3] & termios.ECHO:
                    return True
            finally:
                os.close(terminal)
    return False


# Opens the bus of a machine as systemctl does, and asks the systemd there what its first unit is called.
PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

int main(int count, char **words) {
    sd_bus *bus = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    char *features = NULL;
    int status = sd_bus_open_system_machine(&bus, words[count - 1]);
    if (status >= 0)
        status = sd_bus_get_property_string(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                            "org.freedesktop.systemd1.Manager", "ControlGroup", &error, &features);
    if (status < 0) {
        printf("%s\n", error.message ? error.message : strerror(-status));
        return 1;
    }
    printf("control group '%s'\n", features);
    return 0;
}
"""


def open_(words, *command):
    """varlinkctl's Open of a terminal."""
    return run("varlinkctl", *words, "call", VARLINK, "io.systemd.Machine.Open", *command)


class Programs(Case):
    def test_a_program_in_c_reaches_the_bus_of_a_machine(self):
        source, program = pathlib.Path("/run/open-machine.c"), pathlib.Path("/run/open-machine")
        source.write_text(PROGRAM)
        self.addCleanup(source.unlink)
        out("gcc", "-o", program, source, "-lsystemd")
        self.addCleanup(program.unlink)
        # As systemctl asks for it.
        told = out("systemctl", "--machine", shared.real.name, "show", "--property=ControlGroup", "--value").strip()
        self.assertEqual(out(program, shared.real.name).strip(), f"control group '{told}'")
        self.assertIn("Host is down", run(program, "nobody").stdout)

    def terminal(self, method, *words, of=None):
        """What a method over python3-dbus returns: a descriptor and a path. It is one of a machine's object, or the Manager's."""
        connection = dbus.bus.BusConnection(dbus.bus.BusConnection.TYPE_SYSTEM)
        self.addCleanup(connection.close)
        place, interface = (object_path(of), MACHINE) if of else (PATH, MANAGER)
        manager = dbus.Interface(connection.get_object(SERVICE, place, introspect=False), interface)
        descriptor, path = getattr(manager, method)(*words)
        fd = descriptor.take()
        self.addCleanup(os.close, fd)
        return fd, path

    @staticmethod
    def expect(fd, pattern):
        text = ""

        def is_there():
            nonlocal text
            # Nobody may have the other end yet.
            with contextlib.suppress(OSError):
                if select.select([fd], [], [], 0)[0]:
                    text += os.read(fd, 4096).decode(errors="replace")
            return re.search(pattern, text)

        until(is_there, f"{pattern!r} on the terminal")
        return text

    def test_python_has_a_bare_terminal_of_the_machines(self):
        fd, path = self.terminal("OpenMachinePTY", shared.real.name)
        inside = f"/proc/{shared.real.leader}/root{path}"
        other = os.open(inside, os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, other)
        os.write(other, b"from inside")
        self.expect(fd, "from inside")
        os.write(fd, b"from outside\n")
        self.assertEqual(os.read(other, 100), b"from outside\n")

    def test_python_has_a_shell_and_a_login(self):
        fd, _ = self.terminal("OpenMachineShell", shared.real.name, "root", "", dbus.Array([], "s"),
                              dbus.Array(["TERM=dumb", "FRUIT=plum"], "s"))
        self.expect(fd, r"[#$] ")
        os.write(fd, b"echo a $FRUIT for $((6 * 7)); exit\n")
        self.expect(fd, "a plum for 42")
        allow_gettys()
        fd, _ = self.terminal("OpenMachineLogin", shared.real.name)
        self.expect(fd, rf"{shared.real.name} login:")

    def test_the_object_of_a_machine_opens_what_the_manager_does(self):
        real = shared.real.name
        fd, path = self.terminal("OpenPTY", of=real)
        other = os.open(f"/proc/{shared.real.leader}/root{path}", os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, other)
        os.write(other, b"from inside")
        self.expect(fd, "from inside")
        words = ("/bin/sh", dbus.Array(["sh", "-c", "echo $(id -un) has a $FRUIT"], "s"), dbus.Array(["FRUIT=date"], "s"))
        for name in real, ".host":
            fd, _ = self.terminal("OpenShell", "daemon", *words, of=name)
            self.expect(fd, "daemon has a date")
        allow_gettys()
        fd, _ = self.terminal("OpenLogin", of=real)
        self.expect(fd, rf"{real} login:")


class Opened(Case):
    """Open over Varlink."""

    def passed(self, **parameters):
        """What Open answers, and its descriptor, which a client that is no systemd's gets with the reply."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(VARLINK)
            client.sendall(json.dumps({"method": "io.systemd.Machine.Open", "parameters": parameters}).encode() + b"\0")
            data, fds, _, _ = socket.recv_fds(client, 65536, 1)
        for fd in fds:
            self.addCleanup(os.close, fd)
        reply = json.loads(data.rstrip(b"\0"))
        self.assertNotIn("error", reply)
        return reply["parameters"], fds

    def test_a_shell_runs_as_the_user_with_arguments_and_environment(self):
        for name in shared.real.name, ".host":
            told, (fd,) = self.passed(name=name, mode="shell", user="daemon", path="/bin/sh",
                                      args=["sh", "-c", "echo $(id -un), $FRUIT, $(tty)"], environment=["FRUIT=fig"])
            self.assertEqual(told["ptyFileDescriptor"], 0)
            Programs.expect(fd, rf"daemon, fig, {told['ptyPath']}\r\n")

    def test_a_shell_without_a_path_is_the_users_own(self):
        _, (fd,) = self.passed(name=shared.real.name, mode="shell")
        Programs.expect(fd, r"[#$] ")
        os.write(fd, b"echo $((40 + 2)) of $0; exit\n")
        Programs.expect(fd, r"42 of \S*sh")

    def test_a_login_prompts(self):
        allow_gettys()
        _, (fd,) = self.passed(name=shared.real.name, mode="login")
        Programs.expect(fd, rf"{shared.real.name} login:")

    def test_a_program_that_is_not_there_is_told(self):
        if not OURS:
            self.skipTest("the original's terminal ends without a word")
        shell = ("OpenMachineShell", "sssasas", shared.real.name, "root")
        self.assertIn("There is no program '/bin/nowhere' in container real.", refused(
            "busctl", "call", SERVICE, PATH, MANAGER, *shell, "/bin/nowhere", "0", "0"))
        told = open_([], json.dumps({"name": shared.real.name, "mode": "shell", "path": "/bin/nowhere"}))
        # As the varlinkctl of 262 says it, and of 257.
        self.assertRegex(told.stderr, "No such file or directory|io.systemd.System")

    def test_a_bare_terminal_has_the_path_it_has_inside(self):
        told, (fd,) = self.passed(name=shared.real.name, mode="tty")
        other = os.open(f"/proc/{shared.real.leader}/root{told['ptyPath']}", os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, other)
        os.write(other, b"from inside")
        Programs.expect(fd, "from inside")

    def test_varlinkctl_hands_the_terminal_to_a_program(self):
        if SYSTEMD < 262:
            self.skipTest("varlinkctl has --exec since 260")
        call = {"name": ".host", "mode": "shell", "user": "root", "path": "/bin/bash",
                "args": ["bash", "-c", "echo $((7 + 8))"], "environment": ["TERM=dumb"]}
        done = open_(["--exec"], json.dumps(call), "--", "bash", "-c", 'read -r -N 2 x <&3; echo "$x"')
        self.assertEqual(done.stdout.strip(), "15", done.stderr)


# Lets a program that connects by AF_VSOCK, which is not to be had here, reach a socket of the file system instead.
NO_VSOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>

int socket(int domain, int type, int protocol) {
    int (*next)(int, int, int) = dlsym(RTLD_NEXT, "socket");
    return next(domain == AF_VSOCK ? AF_UNIX : domain, type, protocol);
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    if (address->sa_family != AF_VSOCK)
        return next(fd, address, length);
    const struct sockaddr_vm *vm = (const void *) address;
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    snprintf(local.sun_path, sizeof(local.sun_path), "/run/vsock-%u-%u", vm->svm_cid, vm->svm_port);
    return next(fd, (const struct sockaddr *) &local, sizeof(local));
}
"""


class Ssh(Case):
    def setUp(self):
        # The proxy of 262 asks the user's own machined first, and goes no further where there is none.
        self.user = pathlib.Path("/run/ssh-user")
        self.addCleanup(shutil.rmtree, self.user)
        self.served(self.user / "systemd/machine/io.systemd.Machine", b'{"error":"io.systemd.Machine.NoSuchMachine","parameters":{}}\0')

    def served(self, path, first=b"SSH-2.0-ours-it-is\r\n"):
        """A server there that answers this to whatever it hears first, and no more: it may be what an SSH server says of itself."""
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(os.unlink, path)
        self.addCleanup(server.close)
        server.bind(str(path))
        server.listen(4)

        def serve():
            # Until the socket is shut down.
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.settimeout(DEADLINE)
                        client.recv(4096)
                        client.sendall(first)
                        client.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown, socket.SHUT_RDWR)

    def assert_connected(self, name, *environment):
        told = run("env", f"XDG_RUNTIME_DIR={self.user}", *environment, "ssh", "-v", "-o", "BatchMode=yes", name, "true")
        self.assertIn("remote software version ours-it-is", told.stderr)

    def test_ssh_reaches_a_virtual_machine_by_its_name_where_its_vsock_leads(self):
        source, library = pathlib.Path("/run/no-vsock.c"), pathlib.Path("/run/no-vsock.so")
        source.write_text(NO_VSOCK)
        self.addCleanup(source.unlink)
        out("gcc", "-shared", "-fPIC", "-o", library, source)
        self.addCleanup(library.unlink)
        guest = self.start("sleep", "infinity")
        out("varlinkctl", "call", VARLINK, "io.systemd.Machine.Register",
            json.dumps({"name": "guest", "class": "vm", "leader": guest.pid, "vSockCid": 4711, "allocateUnit": True}))
        self.addCleanup(self.assert_gone, "guest")
        self.addCleanup(run, "machinectl", "terminate", "guest")
        self.served("/run/vsock-4711-22")
        self.assert_connected("machine/guest", f"LD_PRELOAD={library}")

    def test_ssh_reaches_a_container_by_its_name_where_that_shows_a_socket(self):
        if SYSTEMD < 262:
            self.skipTest("the proxy of 257 takes all machines for virtual ones")
        name = shared.real.name
        self.assertRegex(self.proxied(name), rf"'/run/systemd/nspawn/{name}/unix-export/ssh'.*(No such file|does not exist)")
        # Where the container's own sshd would have it.
        self.served(f"/proc/{shared.real.leader}/root/run/host/unix-export/ssh")
        self.assert_connected(f"machine/{name}")

    def test_the_proxy_says_what_has_no_such_way(self):
        if SYSTEMD < 262:
            self.skipTest("the proxy of 257 takes all machines for virtual ones")
        guest = self.start("sleep", "infinity")
        for name, what, said in ("guest", "vm", "has no AF_VSOCK CID assigned"), ("guest", "container", "Don't know how to SSH"):
            out("varlinkctl", "call", VARLINK, "io.systemd.Machine.Register",
                json.dumps({"name": name, "class": what, "service": "other", "leader": guest.pid}))
            self.assertIn(said, self.proxied(name))
            out("varlinkctl", "call", VARLINK, "io.systemd.Machine.Unregister", json.dumps({"name": name}))
        self.assertNotEqual(run(PROXY, "machine/nobody", "22").returncode, 0)

    def proxied(self, name):
        """What the proxy says that cannot connect."""
        return refused("env", f"XDG_RUNTIME_DIR={self.user}", PROXY, f"machine/{name}", "22")

    def test_the_proxy_of_ssh_finds_a_virtual_machine_by_its_name(self):
        if SYSTEMD >= 262:
            self.skipTest("the proxy of 262 does not say what it could not connect to")
        guest = self.start("sleep", "infinity")
        out("varlinkctl", "call", VARLINK, "io.systemd.Machine.Register",
            json.dumps({"name": "guest", "class": "vm", "leader": guest.pid, "vSockCid": 4711, "allocateUnit": True}))
        self.addCleanup(self.assert_gone, "guest")
        self.addCleanup(run, "machinectl", "terminate", "guest")
        # There is nobody at that number.
        self.assertIn("vsock:4711:22", self.proxied("guest"))
        self.assertIn("NoSuchMachine", self.proxied("nobody"))
        told = run("ssh", "-o", "BatchMode=yes", "machine/guest", "true")
        self.assertEqual(told.returncode, 255)
        self.assertIn("vsock:4711:22", told.stderr)


class Passwords(Case):
    """A user, and the agent that asks for the password of whoever may."""

    @classmethod
    def setUpClass(cls):
        kept = pathlib.Path("/etc/shadow").read_text()
        cls.addClassCleanup(pathlib.Path("/etc/shadow").write_text, kept)
        subprocess.run(["chpasswd"], input=f"root:{PASSWORD}\n", text=True, check=True, timeout=DEADLINE)

    def session(self, *words):
        session = Session("systemd-run", "--quiet", "--pty", "--collect", "--uid=testuser", "--property=PAMName=login", *words)
        self.addCleanup(session.close)
        return session

    @staticmethod
    def asked(session):
        """What is said until a password can be typed."""
        said = session.expect("Password: ")
        until(agent_listens, "an agent that listens")
        return said

    def test_a_user_with_the_password_has_a_shell(self):
        shell = self.session("machinectl", "shell", shared.real.name, "/bin/echo", "let", "in")
        said = self.asked(shell)
        self.assertIn("org.freedesktop.machine1.shell", said)
        shell.type(PASSWORD.encode() + b"\n")
        shell.expect("let in")
        shell.rest()

    def test_a_user_without_the_password_has_none(self):
        shell = self.session("machinectl", "shell", shared.real.name, "/bin/echo", "let", "in")
        self.asked(shell)
        shell.type(b"wrong\n")
        self.assertNotEqual(shell.rest(), 0)
        self.assertNotIn("let in\r", shell.text)
        shell = self.session("machinectl", "--no-ask-password", "shell", shared.real.name, "/bin/echo", "let", "in")
        self.assertNotEqual(shell.rest(), 0)
        self.assertRegex(shell.text, "(?i)access denied|interactive authentication required|not authorized")

    def test_a_user_with_the_password_copies(self):
        target = pathlib.Path(f"/proc/{shared.real.leader}/root/var/tmp/by-password")
        copy = self.session("machinectl", "copy-to", shared.real.name, "/etc/hostname", "/var/tmp/by-password")
        self.asked(copy)
        self.assertFalse(target.exists())
        copy.type(PASSWORD.encode() + b"\n")
        self.assertEqual(copy.rest(), 0, copy.text)
        self.assertTrue(target.exists())
        target.unlink()


class Mounts(Case):
    """A container without a user namespace, so that something can be bound into it."""

    @classmethod
    def setUpClass(cls):
        cls.box = Container("mounts")
        cls.addClassCleanup(cls.box.end)
        cls.inside = pathlib.Path(f"/proc/{cls.box.leader}/root")
        cls.place = pathlib.Path("/run/mounts")
        for number in range(3):
            (cls.place / str(number)).mkdir(parents=True)
            (cls.place / str(number) / "text").write_text(f"the {number}\n")
        cls.addClassCleanup(out, "rm", "-r", cls.place)

    def mounted(self, target):
        """What is mounted there, one upon the other."""
        lines = pathlib.Path(f"/proc/{self.box.leader}/mountinfo").read_text().splitlines()
        return [line for line in lines if line.split()[4] == target]

    def test_a_live_mount_is_replaced_and_who_had_a_file_open_keeps_it(self):
        out("machinectl", "bind", "--mkdir", "mounts", self.place / "0", "/mnt/a/b")
        with (self.inside / "mnt/a/b/text").open() as held:
            for number in 1, 2:
                out("machinectl", "bind", "--mkdir", "mounts", self.place / str(number), "/mnt/a/b")
                self.assertEqual((self.inside / "mnt/a/b/text").read_text(), f"the {number}\n")
                self.assertEqual(len(self.mounted("/mnt/a/b")), 1)
            self.assertEqual(held.read(), "the 0\n")

    def test_files_and_directories_are_bound_for_reading_alone(self):
        out("machinectl", "bind", "--mkdir", "--read-only", "mounts", self.place / "0/text", "/mnt/file")
        self.assertEqual((self.inside / "mnt/file").read_text(), "the 0\n")
        out("machinectl", "bind", "--mkdir", "--read-only", "mounts", self.place / "1", "/mnt/directory")
        for path in "mnt/file", "mnt/directory/text":
            with self.assertRaisesRegex(OSError, "Read-only"):
                (self.inside / path).write_text("x")
        self.assertEqual((self.place / "0/text").read_text(), "the 0\n")

    def test_the_object_of_a_machine_binds_as_well(self):
        out("busctl", "call", SERVICE, object_path("mounts"), MACHINE, "BindMount", "ssbb", self.place / "2", "/mnt/object", "true", "true")
        self.assertEqual((self.inside / "mnt/object/text").read_text(), "the 2\n")
        self.assertIn("ro", self.mounted("/mnt/object")[0].split()[5].split(","))

    def test_the_source_is_the_destination_where_none_is_named(self):
        out("machinectl", "bind", "--mkdir", "mounts", self.place / "1")
        self.assertEqual((self.inside / f"{self.place}/1/text".lstrip("/")).read_text(), "the 1\n")

    def test_what_cannot_be_bound_is_told_and_changes_nothing(self):
        bind = lambda source, destination, read_only=False, mkdir=False: refused(
            "busctl", "call", SERVICE, PATH, MANAGER, "BindMountMachine", "sssbb", "mounts", source, destination,
            *("true" if flag else "false" for flag in (read_only, mkdir)))
        before = pathlib.Path(f"/proc/{self.box.leader}/mountinfo").read_text()
        self.assertIn(f"Failed to mount {self.place}/0 on /mnt/none/there in machine's namespace: No such file or directory",
                      bind(f"{self.place}/0", "/mnt/none/there"))
        self.assertIn("No such file or directory", bind("/run/missing", "/mnt/x", mkdir=True))
        self.assertIn("Invalid argument", bind(f"{self.place}/0", "/etc/passwd"))
        for words in ("relative", "/mnt"), ("/a/../b", "/mnt"):
            self.assertIn("Source path must be absolute and normalized.", bind(*words))
        for words in (f"{self.place}/0", "relative"), (f"{self.place}/0", "/mnt/../mnt"):
            self.assertIn("Destination path must be absolute and normalized.", bind(*words))
        self.assertEqual(pathlib.Path(f"/proc/{self.box.leader}/mountinfo").read_text(), before)

    def test_the_host_has_no_bind_mounts(self):
        self.assertIn("Bind mounting is only supported on container machines.", refused(
            "busctl", "call", SERVICE, PATH, MANAGER, "BindMountMachine", "sssbb", ".host", "/etc", "/mnt", "false", "false"))
