"""How many machines one user may have."""

import os
import unittest
from shutil import which

import ownbus
import processes
import varlink
import world
from varlink import OK, SYSTEM, Client

MACHINES = 1024
USER, OTHER = 4001, 4002


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
    def register(uid, machines):
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
        leaders = self.leaders(USER, MACHINES + 1)
        machines = [(f"m{number}", leader) for number, leader in enumerate(leaders)]
        self.assertEqual(self.register(USER, machines[:-1]), [OK] * MACHINES)
        (refused,) = self.register(USER, machines[-1:])
        self.assertEqual(refused, f"{SYSTEM} ENOBUFS")
        self.assertFalse(os.path.exists(f"/run/systemd/machines/{machines[-1][0]}"))
        # Nobody else is.
        self.assertEqual(self.register(OTHER, [("other", self.leaders(OTHER, 1)[0])]), [OK])
        self.assertEqual(varlink.register("roots", self.leader().pid), OK)
        # With one gone there is room for one.
        self.assertEqual(varlink.ask("Unregister", {"name": "m0"}), OK)
        self.assertEqual(self.register(USER, machines[-1:]), [OK])


if __name__ == "__main__":
    world.main()
