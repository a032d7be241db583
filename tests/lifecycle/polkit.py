"""Who may do what, with the polkit of the system and rules for the occasion, and without polkit."""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import unittest

import place
import processes
import varlink
from place import run
from varlink import DENIED, NO_SUCH_MACHINE, OK, as_user, ask, listed, register
from waiting import until

# The last one has an entry in /etc/passwd, as the bus wants it.
USER, OTHER, KNOWN = 4711, 4712, 1
CHALLENGE = "io.systemd.InteractiveAuthenticationRequired"
RULES = pathlib.Path("/etc/polkit-1/rules.d/10-test.rules")
PREFIX = "org.freedesktop.machine1."
CLONE_NEWUSER = 0x10000000
PR_SET_DUMPABLE = 4
# Polkit's agent for the process that becomes the command, once it is there.
AGENT = """
    exec 8< <(exec pkttyagent --process $$ --notify-fd 9 9>&1 >/dev/tty)
    cat <&8
    exec "$@" 8<&-
"""


def rules(body):
    """Replaces the rules. `id` is the action without its prefix, `is(key, value)` compares a detail."""
    RULES.write_text("""
        polkit.addRule(function(action, subject) {
            if (action.id.indexOf("%s") != 0) return undefined;
            var id = action.id.substring(%d);
            var is = function(key, value) { return action.lookup(key) == value; };
            %s
        });""" % (PREFIX, len(PREFIX), body))
    run("systemctl", "reset-failed", "polkit.service", check=False)
    run("systemctl", "restart", "polkit.service")


def as_child(uid, *parameters, **more):
    return as_user(uid, lambda: ask(*parameters, **more))


class Polkit(place.Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(run, "systemctl", "unmask", "--runtime", "polkit.service")
        self.addCleanup(RULES.unlink, missing_ok=True)
        rules("return undefined;")

    def of_user(self, uid):
        """A process of a user's."""
        def body():
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        return self.apart(body)

    def in_namespace_of(self, uid):
        """A process in a user namespace of a user's, with a uid that is not his."""
        def body():
            libc = ctypes.CDLL(None, use_errno=True)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            processes.checked(libc.unshare(CLONE_NEWUSER))
        process = self.apart(body)
        for file in "uid_map", "gid_map":
            pathlib.Path(f"/proc/{process.pid}/{file}").write_text("0 100000 65536\n")
        return process

    def in_own_namespaces_of(self, uid, prepare):
        """A process in a user and a mount namespace of a user's, who is root there, and has prepared them."""
        def body():
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            # Who changed his uid may not write to his own files in /proc, until he says that he has nothing to hide.
            processes.LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
            processes.checked(processes.LIBC.unshare(CLONE_NEWUSER | processes.CLONE_NEWNS))
            pathlib.Path("/proc/self/setgroups").write_text("deny")
            for file in "uid_map", "gid_map":
                pathlib.Path(f"/proc/self/{file}").write_text(f"0 {uid} 1")
            prepare()
        return self.apart(body)

    def machine(self, name, owner=0, **more):
        """Registers a machine as this uid; root's are registered by root."""
        leader = self.of_user(owner) if owner else self.apart()
        verdict = as_user(owner, lambda: register(name, leader.pid, **more)) if owner else register(
            name, leader.pid, **more)
        self.assertEqual(verdict, OK)
        return leader

    def assert_table(self, rows):
        for caller, call, parameters, expected in rows:
            with self.subTest(f"uid {caller} {call} {parameters}"):
                self.assertEqual(as_child(caller, call, parameters), expected)

    def test_without_rules_nobody_but_root_and_the_owner_may(self):
        rules('return id == "register-machine" ? polkit.Result.YES : undefined;')
        self.machine("roots"), self.machine("his", USER)
        rules("return undefined;")
        leader = self.of_user(USER)
        metadata = {"acquireMetadata": "graceful"}
        self.assert_table([
            (USER, "Kill", {"name": "roots", "signal": 18}, CHALLENGE),
            (USER, "Kill", {"name": "roots", "signal": 18, "allowInteractiveAuthentication": True}, CHALLENGE),
            (USER, "Kill", {"name": "his", "whom": "leader", "signal": 18}, OK),
            (OTHER, "Kill", {"name": "his", "whom": "leader", "signal": 18}, CHALLENGE),
            (0, "Kill", {"name": "his", "whom": "leader", "signal": 18}, OK),
            (USER, "Kill", {"name": ".host", "signal": 18}, CHALLENGE),
            (USER, "Kill", {"name": "nobodys", "signal": 18}, NO_SUCH_MACHINE),
            (USER, "Terminate", {"name": "roots"}, CHALLENGE),
            (USER, "Unregister", {"name": "roots"}, CHALLENGE),
            (USER, "List", {"name": "roots"}, OK),
            (USER, "List", {"name": "roots", **metadata}, CHALLENGE),
            (USER, "List", {"name": "his", **metadata}, CHALLENGE),
            (0, "List", {"name": "his", **metadata}, OK),
            (USER, "Register", {"name": "new", "class": "container", "leader": leader.pid}, CHALLENGE),
            (0, "Unregister", {"name": "roots"}, OK),
            (USER, "Unregister", {"name": "his"}, OK),
        ])
        self.assertEqual(listed(), {})

    def test_rules_judge_by_action_and_details(self):
        rules("""
            if (id == "manage-machines" && is("verb", "kill") && is("name", "one")) return polkit.Result.YES;
            if (id == "manage-machines" && is("name", "two")) return polkit.Result.NO;
            if (id == "inspect-machines" && is("name", "one")) return polkit.Result.YES;
            if (id == "create-machine" && is("class", "vm")) return polkit.Result.YES;
            if (id == "register-machine" && is("class", "container")) return polkit.Result.YES;
            return polkit.Result.AUTH_ADMIN;""")
        self.machine("one"), self.machine("two")
        leader = self.of_user(USER)
        vm, container = {"class": "vm", "leader": leader.pid}, {"class": "container", "leader": leader.pid}
        metadata = {"acquireMetadata": "graceful"}
        self.assert_table([
            (USER, "Kill", {"name": "one", "whom": "leader", "signal": 18}, OK),
            (USER, "Terminate", {"name": "one"}, CHALLENGE),
            (USER, "Kill", {"name": "two", "whom": "leader", "signal": 18}, DENIED),
            (USER, "List", {"name": "one", **metadata}, OK),
            (USER, "List", {"name": "two", **metadata}, CHALLENGE),
            (USER, "Register", {"name": "new", "allocateUnit": True, **container}, CHALLENGE),
            (USER, "Register", {"name": "new", **container}, OK),
            (USER, "Unregister", {"name": "new"}, OK),
            (USER, "Register", {"name": "new", "allocateUnit": True, **vm}, OK),
            (USER, "Terminate", {"name": "new"}, OK),
        ])
        self.assertEqual(self.described("one")["UID"], 0)

    def described(self, name):
        return listed()[name]

    def send(self, uid, method, *arguments):
        """Calls the manager over the bus as this uid; returns ok, or the name of the error and what it says."""
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "dbus-send", "--system",
                   "--print-reply=literal", "--dest=org.freedesktop.machine1", "/org/freedesktop/machine1",
                   f"org.freedesktop.machine1.Manager.{method}", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return OK if done.returncode == 0 else done.stdout.strip().removeprefix("Error ")

    def test_callers_on_the_bus_are_judged_as_well(self):
        rules("""
            if (id == "manage-machines" && is("machine", "one") && is("verb", "kill")) return polkit.Result.YES;
            if (id == "manage-machines" && is("machine", "two")) return polkit.Result.NO;
            if (id == "inspect-machines" && is("machine", "one") && is("verb", "get_os_release"))
                return polkit.Result.YES;
            if (id == "register-machine" && is("name", "new") && is("class", "vm")) return polkit.Result.YES;
            return undefined;""")
        self.machine("one"), self.machine("two")
        denied = "org.freedesktop.DBus.Error.AccessDenied: Permission denied"
        challenge = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired: Interactive authentication required."

        def new(name, leader, kind="vm"):
            return (f"string:{name}", "array:byte:", "string:", f"string:{kind}", f"uint32:{leader.pid}", "string:")
        his, others = self.of_user(USER), self.of_user(OTHER)
        for uid, method, arguments, expected in [
            (USER, "KillMachine", ("string:one", "string:leader", "int32:18"), OK),
            (USER, "KillMachine", ("string:two", "string:leader", "int32:18"), denied),
            (USER, "TerminateMachine", ("string:one",), challenge),
            (USER, "UnregisterMachine", ("string:one",), challenge),
            (USER, "GetMachineOSRelease", ("string:one",), OK),
            (USER, "GetMachineOSRelease", ("string:two",), challenge),
            (USER, "RegisterMachine", new("new", others), "org.freedesktop.DBus.Error.AccessDenied: Only privileged "
             "users may register machines for other users"),
            (USER, "RegisterMachine", new("new", his, "container"), challenge),
            (USER, "RegisterMachine", new("new", his), OK),
            (KNOWN, "KillMachine", ("string:new", "string:leader", "int32:18"), challenge),
            (USER, "KillMachine", ("string:new", "string:leader", "int32:18"), OK),
            (USER, "GetMachineOSRelease", ("string:new",), challenge),
            (USER, "OpenMachineRootDirectory", ("string:new",), challenge),
            (0, "KillMachine", ("string:new", "string:leader", "int32:18"), OK),
            (USER, "UnregisterMachine", ("string:new",), OK),
        ]:
            with self.subTest(f"uid {uid} {method} {arguments}"):
                self.assertEqual(self.send(uid, method, *arguments), expected)
        run("systemctl", "mask", "--runtime", "--now", "polkit.service")
        self.assertEqual(self.send(USER, "KillMachine", "string:one", "string:leader", "int32:18"), denied)

    def test_who_may_change_images_is_judged_by_what_becomes_of_which(self):
        pool = pathlib.Path("/var/lib/machines")
        pool.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", pool)
        self.addCleanup(run, "umount", "--lazy", pool)
        (pool / "tree/etc").mkdir(parents=True)
        rules("""
            if (id == "manage-images" && is("verb", "clone") && is("image", "tree") && is("new_name", "copy")) return polkit.Result.YES;
            if (id == "manage-images" && is("verb", "remove") && is("image", "tree")) return polkit.Result.NO;
            if (id == "manage-images" && is("verb", "rename") && is("image", "copy") && is("new_name", "other"))
                return polkit.Result.YES;
            if (id == "manage-images" && is("verb", "mark_read_only") && is("image", "other") && is("read_only", "0"))
                return polkit.Result.YES;
            if (id == "manage-images" && is("verb", "set_limit") && is("machine", "other")) return polkit.Result.YES;
            if (id == "manage-images" && is("verb", "update") && is("image", "other")) return polkit.Result.YES;
            if (id == "manage-images" && is("verb", "remove") && is("image", "third")) return polkit.Result.YES;
            if (id == "manage-images" && is("verb", "set_pool_limit")) return polkit.Result.YES;
            if (id == "manage-machines" && is("verb", "clean_pool") && is("mode", "hidden")) return polkit.Result.YES;
            if (id == "manage-machines" && is("verb", "set_pool_limit")) return polkit.Result.NO;
            if (id == "inspect-images" && is("image", "tree")) return polkit.Result.YES;
            return undefined;""")
        denied, challenge = ".AccessDenied: Permission denied", ".InteractiveAuthorizationRequired: "
        for call, expected in [
            (("CloneImage", "string:tree", "string:copy", "boolean:false"), OK),
            (("CloneImage", "string:tree", "string:more", "boolean:false"), challenge),
            (("RemoveImage", "string:tree"), denied),
            (("RemoveImage", "string:copy"), challenge),
            (("RenameImage", "string:copy", "string:other"), OK),
            (("RenameImage", "string:other", "string:copy"), challenge),
            (("MarkImageReadOnly", "string:other", "boolean:false"), OK),
            (("MarkImageReadOnly", "string:other", "boolean:true"), challenge),
            (("SetImageLimit", "string:other", "uint64:1000000"), "not supported"),
            (("SetImageLimit", "string:tree", "uint64:1000000"), challenge),
            (("SetPoolLimit", "uint64:1000000"), denied),
            (("CleanPool", "string:hidden"), OK),
            (("CleanPool", "string:all"), challenge),
        ]:
            with self.subTest(f"{call}"):
                self.assertIn(expected, self.send(USER, *call))
        image = "io.systemd.MachineImage."
        self.assert_table([
            (USER, image + "Clone", {"name": "tree", "newName": "more"}, CHALLENGE),
            (USER, image + "Clone", {"name": "tree", "newName": "copy"}, OK),
            (USER, image + "Remove", {"name": "tree"}, DENIED),
            (USER, image + "Update", {"name": "copy", "newName": "third"}, CHALLENGE),
            (USER, image + "Update", {"name": "other", "newName": "third"}, OK),
            (USER, image + "Remove", {"name": "third"}, OK),
            (USER, image + "SetPoolLimit", {"limit": 1000000}, image + "NotSupported"),
            (USER, image + "List", {"name": "copy"}, OK),
            (USER, image + "List", {"name": "copy", "acquireMetadata": "yes"}, CHALLENGE),
            (USER, image + "List", {"name": "tree", "acquireMetadata": "yes"}, OK),
            (0, image + "Remove", {"name": "copy"}, OK),
        ])
        self.assertEqual(sorted(path.name for path in pool.iterdir() if not path.name.endswith(".lck")), ["tree"])

    def test_who_may_go_inside_is_judged_by_what_is_wanted_and_where(self):
        rules("""
            if (id == "open-pty" && is("machine", "one")) return polkit.Result.YES;
            if (id == "login" && is("machine", "two")) return polkit.Result.NO;
            if (id == "shell" && is("machine", "one") && is("user", "daemon") && is("program", "/bin/true")
                && is("command_line", "true really")) return polkit.Result.YES;
            if (id == "host-shell" || id == "host-login") return polkit.Result.NO;
            if (id == "manage-machines" && is("machine", "one") && is("verb", "bind") && is("src", "/missing")
                && is("dest", "/mnt")) return polkit.Result.YES;
            if (id == "manage-machines" && is("machine", "one") && is("verb", "copy") && is("src", "/missing")
                && is("dest", "/mnt/x")) return polkit.Result.YES;
            if (id == "manage-machines" && is("machine", "two") && is("verb", "copy")) return polkit.Result.NO;
            return undefined;""")
        self.machine("one"), self.machine("two")
        denied, challenge = ".AccessDenied: Permission denied", ".InteractiveAuthorizationRequired: "
        shell = lambda name, user: ("OpenMachineShell", f"string:{name}", f"string:{user}", "string:/bin/true",
                                    "array:string:true,really", "array:string:")
        bind = lambda name, source: ("BindMountMachine", f"string:{name}", f"string:{source}", "string:/mnt",
                                     "boolean:false", "boolean:false")
        copy = lambda method, name, source: (method, f"string:{name}", f"string:{source}", "string:/mnt/x")
        for call, expected in [
            (("OpenMachinePTY", "string:one"), OK),
            (("OpenMachinePTY", "string:two"), challenge),
            (("OpenMachinePTY", "string:.host"), challenge),
            (("OpenMachineLogin", "string:one"), challenge),
            (("OpenMachineLogin", "string:two"), denied),
            (("OpenMachineLogin", "string:.host"), denied),
            (shell("one", "daemon"), OK),
            (shell("one", "root"), challenge),
            (shell("two", "daemon"), challenge),
            (shell(".host", "daemon"), denied),
            (bind("one", "/missing"), "Failed to mount /missing on /mnt"),
            (bind("one", "/etc"), challenge),
            (bind("two", "/missing"), challenge),
            (copy("CopyToMachine", "one", "/missing"), "No such file or directory"),
            (copy("CopyFromMachine", "one", "/missing"), "No such file or directory"),
            (copy("CopyToMachine", "one", "/etc/passwd"), challenge),
            (copy("CopyToMachine", "two", "/missing"), denied),
            (copy("CopyFromMachine", "two", "/missing"), denied),
            (("OpenMachineRootDirectory", "string:one"), challenge),
        ]:
            with self.subTest(f"{call}"):
                self.assertIn(expected, self.send(USER, *call))

    def test_nobody_reads_roots_files_through_their_own_machine(self):
        """The user's mounts make a file of root's the os-release of his machine; and its root a directory that he may
        pass, but not read."""
        rules('return id == "register-machine" ? polkit.Result.YES : undefined;')
        secret, hidden, etc = (pathlib.Path(path) for path in ("/run/secret.env", "/run/hidden", "/tmp/his-etc"))
        secret.write_text("TOKEN=secret\n")
        secret.chmod(0o600)
        hidden.mkdir()
        hidden.chmod(0o711)
        etc.mkdir()
        (etc / "os-release").symlink_to(secret)

        def link():
            flags = processes.MS_BIND | processes.MS_REC
            processes.checked(processes.LIBC.mount(bytes(etc), b"/etc", None, flags, None))

        for name, prepare in ("linked", link), ("hidden", lambda: os.chroot(hidden)):
            leader = self.in_own_namespaces_of(USER, prepare)
            self.assertEqual(as_user(USER, lambda: register(name, leader.pid)), OK)  # noqa: B023
        metadata = {"acquireMetadata": "graceful"}
        told = as_user(0, lambda: varlink.call("List", {"name": "linked", **metadata}))
        self.assertEqual(told["parameters"].get("OSRelease"), ["TOKEN=secret"], "root may read what is root's")
        self.assertEqual(as_child(USER, "List", {"name": "linked", **metadata}), CHALLENGE)
        for method, name in ("GetMachineOSRelease", "linked"), ("OpenMachineRootDirectory", "hidden"):
            self.assertIn("InteractiveAuthorizationRequired", self.send(USER, method, f"string:{name}"))

    def test_one_permission_implies_another(self):
        rules("""
            if (id == "manage-machines" || id == "create-machine") return polkit.Result.YES;
            return undefined;""")
        self.machine("one")
        leader = self.of_user(USER)
        self.assert_table([
            (USER, "List", {"name": "one", "acquireMetadata": "graceful"}, OK),
            (USER, "Register", {"name": "new", "class": "container", "leader": leader.pid}, OK),
        ])

    def test_nobody_registers_the_process_of_somebody_else(self):
        rules("return polkit.Result.YES;")
        roots, his, his_own = self.of_user(OTHER), self.of_user(USER), self.in_namespace_of(USER)
        for leader, expected in ((self.apart(), DENIED), (roots, DENIED), (his, OK), (his_own, OK)):
            call = {"name": f"m{leader.pid}", "class": "container", "leader": leader.pid}
            self.assertEqual(as_child(USER, "Register", call), expected)
        self.assertEqual(self.described(f"m{his.pid}")["UID"], USER)
        self.assertEqual(as_child(OTHER, "Register", {"name": "no", "class": "container", "leader": his_own.pid}),
                         DENIED)

    @staticmethod
    def until_his(pid):
        until(lambda: os.stat(f"/proc/{pid}").st_uid == USER, "a process of the user's")

    def test_a_user_who_has_a_process_in_a_service_does_not_end_all_of_it(self):
        rules('return id == "register-machine" ? polkit.Result.YES : undefined;')
        become = f"setpriv --reuid={USER} --regid={USER} --clear-groups"
        for call in ("Terminate", {}), ("Kill", {"signal": signal.SIGTERM}):
            unit, main = self.service(f"{become} sleep infinity & exec sleep infinity")
            his = self.child(main)
            self.until_his(his)
            self.assertEqual(as_child(USER, "Register", {"name": "his", "class": "container", "leader": his}), OK)
            self.assertEqual(as_child(USER, call[0], {"name": "his", **call[1]}), OK)
            self.assert_ends(his)
            # It is there until the service is over, which its user does not end.
            self.assertEqual(list(listed()), ["his"])
            self.assertTrue(place.is_active(unit) and processes.is_running(main))
            run("systemctl", "stop", unit)
            until(lambda: listed() == {}, "the end of the machine")
        unit, main = self.service("sleep infinity & exec sleep infinity", f"--property=User={USER}")
        self.until_his(main)
        self.assertEqual(as_child(USER, "Register", {"name": "his", "class": "container", "leader": main}), OK)
        self.assertEqual(as_child(USER, "Terminate", {"name": "his"}), OK)
        until(lambda: not place.is_active(unit), "the end of a service that is all his")

    def test_without_polkit_there_are_root_and_the_owner(self):
        rules("return polkit.Result.YES;")
        self.machine("roots"), self.machine("his", USER)
        run("systemctl", "mask", "--runtime", "--now", "polkit.service")
        leader = self.of_user(USER)
        self.assert_table([
            (USER, "Kill", {"name": "roots", "whom": "leader", "signal": 18}, DENIED),
            (USER, "Kill", {"name": "his", "whom": "leader", "signal": 18}, OK),
            (OTHER, "Kill", {"name": "his", "whom": "leader", "signal": 18}, DENIED),
            (USER, "Register", {"name": "new", "class": "container", "leader": leader.pid}, DENIED),
            (USER, "List", {"name": "his"}, OK),
            (USER, "List", {"name": "his", "acquireMetadata": "graceful"}, DENIED),
            (USER, "List", {"name": "roots", "acquireMetadata": "graceful"}, DENIED),
            (0, "Kill", {"name": "his", "whom": "leader", "signal": 18}, OK),
            (0, "Unregister", {"name": "his"}, OK),
        ])

    def typed(self, answer, *command):
        """Runs a command as a user at a terminal with an agent of polkit's. Types the answer when it asks for a password;
        without one, the agent ends. Returns whether the command succeeded, and the lines on the screen."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            os.execvpe("bash", ["bash", "-c", AGENT, "bash", *command], {**os.environ, "SYSTEMD_COLORS": "0"})
        self.addCleanup(os.close, terminal)
        screen, is_answered = b"", False

        def ended():
            """Gives the answer once what is typed is hidden."""
            nonlocal screen, is_answered
            if select.select([terminal], [], [], 0)[0]:
                with contextlib.suppress(OSError):
                    screen += os.read(terminal, 4096)
            elif not is_answered and b"Password: " in screen and not termios.tcgetattr(terminal)[3] & termios.ECHO:
                self.answer(pid, terminal, answer)
                is_answered = True
            done, status = os.waitpid(pid, os.WNOHANG)
            return [status] if done else None
        # Who types a wrong password is kept waiting for some seconds.
        (status,) = until(ended, f"the end of {command}", 60)
        while select.select([terminal], [], [], 0)[0]:
            try:
                screen += os.read(terminal, 4096)
            except OSError:
                break
        return status == 0, screen.decode().splitlines()

    @staticmethod
    def answer(pid, terminal, answer):
        if answer is not None:
            os.write(terminal, f"{answer}\n".encode())
            return
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGTERM)

    def test_an_administrators_password_lets_a_user_in(self):
        subprocess.run(["chpasswd"], input="root:right", text=True, check=True)
        self.addCleanup(run, "usermod", "--password", "*", "root")
        by_bus = ("machinectl", "terminate", "web")
        by_varlink = ("varlinkctl", "call", varlink.SOCKET, "io.systemd.Machine.Terminate",
                      '{"name":"web","allowInteractiveAuthentication":true}')
        failed = "Method call io.systemd.Machine.Terminate() failed: "
        # The same error, as varlinkctl of 257 and of 262 has it.
        denied = (failed + "org.varlink.service.PermissionDenied", failed + "Permission denied")
        for answer, command, succeeds, told in [
            ("wrong", by_bus, False, ("Could not terminate machine: Access denied",)),
            (None, by_varlink, False, denied),
            ("right", by_bus, True, None),
            ("right", by_varlink, True, None),
            ("right", ("machinectl", "--no-ask-password", "terminate", "web"), False,
             ("Could not terminate machine: Interactive authentication required.",)),
        ]:
            # Debian 12 has no varlinkctl.
            if not shutil.which(command[0]):
                continue
            with self.subTest(f"{answer} {command[0]}"):
                if "web" not in listed():
                    leader = self.machine("web")
                done, lines = self.typed(answer, *command)
                self.assertEqual(done, succeeds, lines)
                if told:
                    # The agent's colours may come before it, and what polkit's helper has to say of the same in front or after.
                    self.assertTrue(any(line.endswith(told) for line in lines), lines)
                    self.assertIn("web", listed())
                else:
                    self.assert_ends(leader.pid)
                    until(lambda: listed() == {}, "the end of the machine")

    def test_cve_2020_1712_a_machine_may_go_while_polkit_is_asked(self):
        leader = self.machine("web")
        self.slow_rules()
        with_reply = os.fork()
        if with_reply == 0:
            verdict = as_child(USER, "Terminate", {"name": "web"})
            os._exit(0 if verdict == NO_SUCH_MACHINE else 1)
        self.asked()
        leader.kill()
        until(lambda: listed() == {}, "the end of the machine")
        pathlib.Path("/run/go").touch()
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(with_reply, 0)[1]), 0)

    def test_cve_2020_1712_who_goes_away_while_polkit_is_asked_has_not_asked(self):
        leader = self.machine("web")
        self.slow_rules()

        def ask_and_go():
            with varlink.Client() as client:
                client.send(varlink.message("Terminate", {"name": "web"}))
                self.asked()
        as_user(USER, ask_and_go)
        pathlib.Path("/run/go").touch()
        # Answered after it, as polkit answers one after the other.
        rules("return polkit.Result.NO;")
        self.assertEqual(as_child(USER, "Terminate", {"name": "web"}), DENIED)
        self.assertIn("web", listed())
        self.assertTrue(processes.is_running(leader.pid))

    def test_a_frozen_polkit_holds_up_nobody_but_who_asks_it(self):
        rules("return polkit.Result.YES;")
        self.machine("web")
        pid = int(place.show("polkit.service", "MainPID")[0])
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        asker = os.fork()
        if asker == 0:
            verdict = as_user(USER, lambda: ask_patiently("Terminate", {"name": "web"}))
            os._exit(0 if verdict == DENIED else 1)
        for _ in range(20):
            self.assertEqual(ask("Kill", {"name": "web", "whom": "leader", "signal": 18}), OK)
        # Nobody waited for the same as he does.
        self.assertEqual(os.waitpid(asker, os.WNOHANG), (0, 0))
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(asker, 0)[1]), 0)
        self.assertIn("web", listed())

    def test_users_who_ask_a_frozen_polkit_and_go_away_take_no_machine_from_roots_hands(self):
        rules("return polkit.Result.YES;")
        _, leader = self.service()
        self.assertEqual(register("web", leader), OK)
        pid = int(place.show("polkit.service", "MainPID")[0])
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)

        def ask_and_go():
            for _ in range(200):
                with varlink.Client() as client:
                    client.send(varlink.message("Terminate", {"name": "web"}))
                    until(lambda: self.is_read(client), "a call that is read")  # noqa: B023
        for uid in (USER, OTHER):
            as_user(uid, ask_and_go)
        # The bus lets the daemon wait for 128 answers.
        self.assertEqual(ask("Terminate", {"name": "web"}), OK)
        self.assert_ends(leader)

    @staticmethod
    def is_read(client):
        """Whether nothing that a client sent waits to be read."""
        return struct.unpack("i", fcntl.ioctl(client.socket, termios.TIOCOUTQ, bytes(4)))[0] == 0

    def slow_rules(self):
        """Everything is allowed, as soon as /run/go is there."""
        for file in "/run/go", "/run/asked":
            pathlib.Path(file).unlink(missing_ok=True)
        script = pathlib.Path("/usr/local/bin/wait-for-go")
        script.write_text("#!/bin/sh\ntouch /run/asked\nwhile [ ! -e /run/go ]; do sleep 0.02; done\n")
        script.chmod(0o755)
        # polkitd is no root, and its own view of /run may be read-only.
        drop_in = pathlib.Path("/run/systemd/system/polkit.service.d")
        drop_in.mkdir(exist_ok=True)
        (drop_in / "test.conf").write_text("[Service]\nProtectSystem=no\nReadWritePaths=/run\n")
        run("chmod", "1777", "/run")
        run("systemctl", "daemon-reload")
        rules("""polkit.spawn(["/usr/local/bin/wait-for-go"]); return polkit.Result.YES;""")

    @staticmethod
    def asked():
        until(lambda: os.path.exists("/run/asked"), "the question to polkit")


def ask_patiently(*parameters):
    with varlink.Client(deadline=60) as client:
        return client.ask(*parameters)


if __name__ == "__main__":
    unittest.TestCase.maxDiff = None
    place.main()
