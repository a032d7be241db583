"""How many machines, and how many questions to polkit, one user may have."""

import os
import pathlib
import subprocess
import unittest
from shutil import which

import ownbus
import processes
import varlink
import world
from varlink import DENIED, OK, SYSTEM, Client, asked
from waiting import until

MACHINES = 1024
QUESTIONS = 32
USER, OTHER = 4001, 4002
FIRST = 200_000


def become(uid):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


@world.needs_root
@unittest.skipUnless(which("dbus-daemon"), "needs dbus-daemon")
class Bounds(world.Case):
    def leaders(self, uid, count):
        """The pids of processes of this user, all children of one, with which they end."""
        reader, writer = os.pipe()

        def fork_them():
            become(uid)
            for _ in range(count):
                pid = os.fork()
                if pid == 0:
                    processes.LIBC.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
                    while True:
                        processes.signal.pause()
                os.write(writer, b"%d\n" % pid)
        self.leader(fork_them)
        os.close(writer)
        with os.fdopen(reader) as told:
            return [int(next(told)) for _ in range(count)]

    @staticmethod
    def register_as(uid, machines):
        """What polkit's word and the bounds make of the registration of each machine, (name, leader), of this user's."""
        def run():
            with Client() as client:
                return [client.ask("Register", {"name": name, "class": "container", "leader": leader, "allocateUnit": False})
                        for name, leader in machines]
        return varlink.as_user(uid, run)

    def test_the_machine_that_is_one_too_many_is_refused_to_its_user_alone(self):
        ownbus.start(self)
        ownbus.serve(self, ownbus.POLKIT, ownbus.YES)
        self.start()
        ownbus.await_name("org.freedesktop.machine1")
        if not varlink.may_ask_polkit():
            # Before Linux 6.5 polkit could not know for sure who calls by the socket, and whoever needs its word is refused.
            self.assertEqual(self.register_as(USER, [("web", self.leaders(USER, 1)[0])]), [DENIED])
            return
        leaders = self.leaders(USER, MACHINES + 1)
        machines = [(f"m{number}", leader) for number, leader in enumerate(leaders)]
        self.assertEqual(self.register_as(USER, machines[:-1]), [OK] * MACHINES)
        (refused,) = self.register_as(USER, machines[-1:])
        self.assertEqual(refused, f"{SYSTEM} ENOBUFS")
        self.assertFalse(os.path.exists(f"/run/systemd/machines/{machines[-1][0]}"))
        # Nobody else is.
        self.assertEqual(self.register_as(OTHER, [("other", self.leaders(OTHER, 1)[0])]), [OK])
        self.assertEqual(varlink.register("roots", self.leader().pid), OK)
        # With one gone there is room for one.
        self.assertEqual(varlink.ask("Unregister", {"name": "m0"}), OK)
        self.assertEqual(self.register_as(USER, machines[-1:]), [OK])

    @unittest.skipUnless(os.path.exists("/etc/subuid"), "there is no /etc/subuid to put another one over")
    def test_who_has_a_range_of_ids_has_no_more_questions_open_than_others(self):
        pathlib.Path("/run/subuid").write_text(f"{USER}:{FIRST}:10000\n")
        subprocess.run(["mount", "--bind", "/run/subuid", "/etc/subuid"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/etc/subuid"], check=True)
        ownbus.start(self)
        # It never answers, as if an agent did not.
        ownbus.serve(self, ownbus.POLKIT)
        self.start()
        ownbus.await_name("org.freedesktop.machine1")
        self.register("web", self.leader())
        kill = {"name": "web", "whom": "leader", "signal": 15}

        def ask_as(uid):
            os.seteuid(uid)
            try:
                client = Client()
            finally:
                os.seteuid(0)
            self.addCleanup(client.close)
            return asked(client, "Kill", kill)
        if not varlink.may_ask_polkit():
            # Nothing is asked: see above.
            question = ask_as(FIRST)
            self.assertEqual(until(question, "the refusal"), DENIED)
            return
        questions = [ask_as(FIRST + number) for number in range(QUESTIONS + 5)]
        until(lambda: sum(question() is not None for question in questions) >= 5, "five refusals")
        refused = [question() for question in questions if question()]
        self.assertEqual(refused, [DENIED] * 5)
        # There is room for others.
        self.assertIsNone(ask_as(OTHER)())


if __name__ == "__main__":
    world.main()
