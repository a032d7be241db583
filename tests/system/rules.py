"""Who may go into a machine that a user has registered, as systemd judges since 259: the user may have terminals of it, but
nothing from the host; and nobody has a shell where the host's root is the machine's."""

import json

import bus
from machines import Container
from scene import FLAVOUR, RECORDS, Case, out, record, run, until
from surviving import UNIT, stop_all

VARLINK = "/run/systemd/machine/io.systemd.Machine"
# As the lab's root has them; the one of these has registered the machines, the other has nothing to do with them.
USER, OTHER = "testuser", "daemon"
RULE = "org.freedesktop.DBus.Error.AccessDenied: Only root may shell into the root user namespace"
CHALLENGE = "InteractiveAuth"
MAPPED = ("--private-users=65536:65536", "--private-users-ownership=chown")


class Rules(Case):
    def box(self, name, *options):
        """A container that a user has registered, as far as its record tells."""
        if FLAVOUR == "stock257":
            self.skipTest("the original knows who has registered a machine since 258")
        box = Container(name, *options)
        self.addCleanup(box.end)
        self.addCleanup(run, "systemctl", "start", UNIT)
        stop_all()
        lines = [line for line in (RECORDS / name).read_text().splitlines() if not line.startswith("UID=")]
        uid = out("id", "--user", USER).strip()
        (RECORDS / name).write_text("\n".join([*lines, f"UID={uid}"]) + "\n")
        out("systemctl", "start", UNIT)
        until(lambda: name in bus.machines(), "the machine")
        self.assertEqual(record(name).get("UID"), uid)

    @staticmethod
    def told(name, user="root"):
        """What this user is told by each way into the machine: nothing where it is open."""
        user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        # busctl has words of its own for some errors.
        send = lambda method, *words: run(*user, "dbus-send", "--system", "--print-reply", f"--dest={bus.SERVICE}", bus.PATH,
                                          f"{bus.MANAGER}.{method}", f"string:{name}", *words).stderr
        call = lambda method, **more: run(*user, "varlinkctl", "--json=short", "call", VARLINK, f"io.systemd.Machine.{method}",
                                          json.dumps({"name": name, **more}), SYSTEMD_LOG_LEVEL="info").stderr
        return {
            "bus tty": send("OpenMachinePTY"),
            "bus login": send("OpenMachineLogin"),
            "bus shell": send("OpenMachineShell", "string:root", "string:/bin/sh", "array:string:", "array:string:"),
            **{f"varlink {mode}": call("Open", mode=mode) for mode in ("tty", "login", "shell")},
            "bus bind": send("BindMountMachine", "string:/missing", "string:/mnt", "boolean:false", "boolean:false"),
            "bus copy": send("CopyToMachine", "string:/missing", "string:/mnt/x"),
            "bus root": send("OpenMachineRootDirectory"),
            "varlink bind": call("BindMount", source="/missing", destination="/mnt"),
            "varlink copy": call("CopyFrom", source="/missing", destination="/mnt/x"),
            "varlink root": call("OpenRootDirectory"),
        }

    def assert_told(self, told, expected):
        wrong = {way: said for way, said in told.items() if expected[way] not in said or (said and not expected[way])}
        self.assertEqual(wrong, {})

    def test_a_users_machine_with_the_hosts_root_has_no_shell_for_anybody(self):
        self.box("plainbox")
        denied = {f"varlink {mode}": "ermission" for mode in ("tty", "login", "shell")}
        for user in "root", USER:
            told = {way: said for way, said in self.told("plainbox", user).items() if way in (*denied, "bus shell")}
            self.assert_told(told, {**denied, "bus shell": RULE})

    def test_a_user_has_terminals_of_a_machine_of_the_users_and_nothing_of_the_hosts(self):
        self.box("mapped", *MAPPED)
        challenge = dict.fromkeys(self.told("mapped", OTHER), CHALLENGE)
        for user, terminal, login in ((USER, "", "no system bus"), (OTHER, CHALLENGE, CHALLENGE)):
            expected = {**challenge, **{f"{front} tty": terminal for front in ("bus", "varlink")}}
            expected |= {f"bus {what}": login for what in ("login", "shell")}
            expected |= {f"varlink {what}": CHALLENGE if user == OTHER else "NoIPC" for what in ("login", "shell")}
            self.assert_told(self.told("mapped", user), expected)
