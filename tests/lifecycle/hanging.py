"""A container whose file system takes requests and never answers them, while the service is restarted and killed."""

import os
import signal
import time

import fuse
import place
from place import SERVICE, daemon, is_active, run
from varlink import OK, Client, listed, message, register
from waiting import until

ROOTS = "/run/roots"


class Hanging(place.Case):
    def rooted(self, name, prepare):
        root = f"{ROOTS}/{name}"
        os.makedirs(f"{root}/etc", exist_ok=True)
        prepare(root)
        leader = self.apart(lambda: (os.chroot(root), os.chdir("/")))
        self.assertEqual(register(name, leader.pid), OK)

    def release(self, name):
        with Client(deadline=10) as client:
            reply = client.call("List", {"name": name, "acquireMetadata": "graceful"})
        return reply["parameters"].get("OSRelease")

    def hang(self):
        """Has somebody wait for the container's file."""
        client = Client(deadline=10)
        self.addCleanup(client.close)
        client.send(message("List", {"name": "hangs", "acquireMetadata": "graceful"}))

        def waits():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/comm") as name, open(f"/proc/{pid}/wchan") as place_of:
                        if name.read() == "machined\n" and place_of.read() == "request_wait_answer":
                            return True
                except OSError:
                    continue
            return False

        until(waits, "a reader that hangs")

    def test_the_service_is_restarted_within_a_second_while_a_container_hangs(self):
        mounts = []
        self.addCleanup(lambda: [mount.end() for mount in mounts])
        self.rooted("hangs", lambda root: mounts.append(fuse.Hanging(f"{root}/etc")))

        def good(root):
            with open(f"{root}/etc/os-release", "w") as file:
                file.write("ID=good\n")

        self.rooted("good", good)

        def restart():
            run("systemctl", "restart", SERVICE)

        def kill():
            pid = daemon()
            os.kill(pid, signal.SIGKILL)
            until(lambda: daemon() not in (0, pid) and is_active(SERVICE), "the next daemon")

        # Process 1 itself waits for 250 ms before it starts what was killed.
        for way, limit in (restart, 1), (kill, 1.25), (restart, 1), (kill, 1.25):
            self.hang()
            began = time.monotonic()
            way()
            self.assertLess(time.monotonic() - began, limit, way.__name__)
            self.assertEqual(set(listed()), {"good", "hangs"})
            self.assertEqual(self.release("good"), ["ID=good"])


if __name__ == "__main__":
    place.main()
