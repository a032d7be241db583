"""A /run without space, or without inodes."""

import resource

import records
import world
from varlink import OK, ask, listed, register
from waiting import until

# linux/mount.h.
MS_RDONLY = 1


class Full(world.Case):
    def setUp(self):
        super().setUp()
        self.start()
        self.box = self.container("10.1.0.1/32")
        self.register("web", self.box)

    def check_register(self, entries):
        leader = self.leader()
        self.fill(entries)
        self.assertEqual(register("new", leader.pid), "io.systemd.System ENOSPC")
        self.assertEqual(register("group", leader.pid, allocateUnit=True) if world.CGROUP else
                         "io.systemd.System ENOSPC", "io.systemd.System ENOSPC")
        self.assertEqual(list(listed()), ["web"])
        self.assertEqual(records.names(), ["web"])
        self.free()
        self.assertEqual(register("new", leader.pid), OK)
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assert_consistent()

    def test_without_space_nobody_is_registered_and_nobody_is_lost(self):
        self.check_register(entries=False)

    def test_without_inodes_nobody_is_registered_and_nobody_is_lost(self):
        self.check_register(entries=True)

    def test_a_machine_leaves_a_full_disk(self):
        self.fill()
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assertEqual(records.names(), [])
        self.assertEqual(records.index(), {})

    def test_an_unregister_that_would_not_last_fails(self):
        self.remount("", MS_RDONLY)
        self.addCleanup(self.remount, "")
        self.assertEqual(ask("Unregister", {"name": "web"}), "io.systemd.System EROFS")
        self.assertEqual((list(listed()), records.names()), (["web"], ["web"]))
        self.remount("")
        self.restart()
        self.assertEqual(list(listed()), ["web"])
        self.assertEqual(ask("Unregister", {"name": "web"}), OK)
        self.assert_consistent()

    def test_a_limit_on_the_size_of_files_is_an_error_and_no_end(self):
        hard = resource.prlimit(self.machined.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.machined.pid, resource.RLIMIT_FSIZE, (16, hard))
        self.assertEqual(register("new", self.leader().pid), "io.systemd.System EFBIG")
        self.assertEqual(list(listed()), ["web"])
        resource.prlimit(self.machined.pid, resource.RLIMIT_FSIZE, (hard, hard))
        self.assertEqual(register("new", self.leader().pid), OK)

    def check_change(self, entries):
        self.fill(entries)
        self.box.add("10.1.0.2/32", "fd00::2/128")
        until(lambda: "cannot write" in self.machined.log(), "a failed attempt")
        self.assertEqual(records.addresses("web"), ["10.1.0.1"])
        # The link of this one goes, and leaves room for a record.
        self.box.remove("10.1.0.1/32")
        self.free()
        self.assert_addresses("web", "10.1.0.2", "fd00::2")
        until(lambda: records.index() == {"10.1.0.2": "web", "fd00::2": "web"}, "the index")
        self.assert_consistent()

    def check_removal(self, entries):
        """What only takes away does not wait for room."""
        self.box.add("10.1.0.2/32", "fd00::2/128")
        self.assert_addresses("web", "10.1.0.1", "10.1.0.2", "fd00::2")
        self.fill(entries)
        self.box.remove("10.1.0.2/32")
        self.assert_addresses("web", "10.1.0.1", "fd00::2")
        until(lambda: records.index() == {"10.1.0.1": "web", "fd00::2": "web"}, "the index")
        self.box.remove("10.1.0.1/32")
        self.box.remove("fd00::2/128")
        self.assert_addresses("web")
        until(lambda: records.index() == {}, "an empty index")
        # A daemon that is killed now finds a record that it can read.
        self.restart()
        self.assertEqual(list(listed()), ["web"])
        self.free()
        self.box.add("10.1.0.3/32")
        self.assert_addresses("web", "10.1.0.3")
        self.assert_consistent()

    def test_an_address_that_goes_does_not_wait_for_space(self):
        self.check_removal(entries=False)

    def test_an_address_that_goes_does_not_wait_for_inodes(self):
        self.check_removal(entries=True)

    def test_a_change_of_addresses_on_a_full_disk_is_made_good(self):
        self.check_change(entries=False)

    def test_a_change_of_addresses_without_inodes_is_made_good(self):
        self.check_change(entries=True)

    def test_a_machine_that_leaves_while_its_record_is_behind_stays_gone(self):
        self.fill()
        self.box.add("10.1.0.2/32")
        until(lambda: "cannot write" in self.machined.log(), "a failed attempt")
        self.box.kill()
        until(lambda: not records.names(), "the end of the record")
        self.free()
        # One more change that is behind for a while: when it is there, the other would be as well.
        other = self.container("10.1.0.9/32")
        self.register("other", other)
        self.fill()
        other.add("10.1.0.8/32")
        until(lambda: self.machined.log().count("cannot write") >= 2, "a failed attempt")
        self.free()
        self.assert_addresses("other", "10.1.0.8", "10.1.0.9")
        self.assert_consistent()


if __name__ == "__main__":
    world.main()
