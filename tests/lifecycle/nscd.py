"""Machines behind glibc's nscd, which asks the module once for everybody and keeps what it is told."""

import os
import pathlib
import re
import subprocess
import time

import place
import processes
import records
from place import run
from polkit import CLONE_NEWUSER, RULES, rules
from varlink import OK, as_user, listed, register
from waiting import until

NSSWITCH = pathlib.Path("/etc/nsswitch.conf")
SETTINGS = pathlib.Path("/etc/nscd.conf")
# How often nscd throws away what is too old, of glibc's nscd/nscd.h; and how long it keeps hosts that the module says nothing of.
PRUNING, HOUR = 15, 3600
USER, KNOWN = 4711, 1


def getent(*words, uid=0):
    """What glibc is told; nobody, if it is an empty line."""
    user = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
    return subprocess.run(["getent", *words], stdout=subprocess.PIPE, text=True, check=False, timeout=60, **user).stdout.strip()


def asked():
    """How often nscd had to ask for a host."""
    hosts = run("nscd", "-g").split("hosts cache:")[1].split("cache:")[0]
    return sum(int(count) for count in re.findall(r"(\d+)  cache misses on", hosts))


class Nscd(place.Case):
    def setUp(self):
        super().setUp()
        before = NSSWITCH.read_text()
        self.addCleanup(NSSWITCH.write_text, before)
        NSSWITCH.write_text(re.sub("(?m)^hosts:.*$", "hosts: files mymachines", before))
        self.assertRegex(SETTINGS.read_text(), rf"(?m)^\s*positive-time-to-live\s+hosts\s+{HOUR}$", "it keeps them for so long")
        self.begin()

    def begin(self):
        run("systemctl", "restart", "nscd.service")
        self.addCleanup(run, "systemctl", "stop", "nscd.service")
        run("nscd", "--invalidate=hosts")

    def machine(self, name, address):
        container = processes.Container(address)
        self.addCleanup(container.kill)
        self.assertEqual(register(name, container.pid), OK)
        until(lambda: name in records.index().values(), "the address of the machine")
        return container

    def assert_asks(self, *words, uid=0):
        """nscd is asked this, and asks the module; returns what it is told."""
        before = asked()
        answer = getent(*words, uid=uid)
        self.assertGreater(asked(), before, f"{words} did not go by way of nscd")
        return answer

    def test_a_dead_machines_name_and_address_are_forgotten_within_seconds(self):
        container = self.machine("web", "10.77.9.2")
        self.assertEqual(self.assert_asks("hosts", "10.77.9.2").split(), ["10.77.9.2", "web"])
        self.assertEqual(self.assert_asks("hosts", "web").split(), ["10.77.9.2", "web"])
        self.assertIn("10.77.9.2", getent("ahosts", "web"))
        container.kill()
        until(lambda: "web" not in records.index().values(), "the end of its address")
        died = time.monotonic()
        for words in ("hosts", "10.77.9.2"), ("hosts", "web"), ("ahosts", "web"):
            until(lambda words=words: not getent(*words), f"the end of {words}", 4 * PRUNING)
        self.assertLess(time.monotonic() - died, 4 * PRUNING)

    def test_the_next_machine_at_an_address_is_named_by_it_within_seconds(self):
        first = self.machine("web", "10.77.9.3")
        self.assertEqual(self.assert_asks("hosts", "10.77.9.3").split(), ["10.77.9.3", "web"])
        first.kill()
        until(lambda: "web" not in records.index().values(), "the end of its address")
        self.machine("db", "10.77.9.3")
        until(lambda: getent("hosts", "10.77.9.3").split() == ["10.77.9.3", "db"], "the name of the next machine", 4 * PRUNING)

    def test_what_a_user_registered_resolves_for_nobody_behind_it(self):
        self.addCleanup(RULES.unlink, missing_ok=True)
        rules('return id == "register-machine" ? polkit.Result.YES : undefined;')
        for server in "root", "nobody":
            with self.subTest(server=server):
                settings = SETTINGS.read_text()
                self.addCleanup(SETTINGS.write_text, settings)
                SETTINGS.write_text(f"{settings}\nserver-user {server}\n")
                self.begin()
                self.of_a_user()

    def of_a_user(self):
        def body():
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            processes.checked(processes.LIBC.unshare(CLONE_NEWUSER | processes.CLONE_NEWNET))

        process = self.apart(body)
        name = "github.com"
        end = f"u{process.pid}"
        processes.batch([f"link add {end} type veth peer name host0 netns {process.pid}", *processes.up(end),
                         f"route replace 10.77.9.4 dev {end}"])
        subprocess.run(["nsenter", f"--target={process.pid}", "--net", "ip", "-batch", "-"], text=True, check=True, timeout=60,
                       input="\n".join(["link set lo up", *processes.up("host0"), "address add 10.77.9.4 dev lo"]))
        self.assertEqual(as_user(USER, lambda: register(name, process.pid)), OK)
        until(lambda: records.addresses(name), "the address of the user's machine")
        # By itself, without nscd, which is left out where services are named.
        self.assertEqual(getent("-s", "mymachines", "hosts", name, uid=USER).split(), ["10.77.9.4", name])
        for uid in 0, KNOWN, USER:
            for words in ("hosts", name), ("ahosts", name), ("hosts", "10.77.9.4"):
                self.assertEqual(getent(*words, uid=uid), "", f"{words} as {uid}")
        self.assertEqual(self.assert_asks("hosts", "another.example"), "")
        process.kill()
        until(lambda: name not in listed(), "the end of the user's machine")


if __name__ == "__main__":
    place.main()
