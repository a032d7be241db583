"""What changes a machine of a user's own is asked of the user's own daemon, `machined --user`."""

import os
import pathlib
import signal
import subprocess

import own
import records
import tool
import world
from varlink import as_user
from waiting import until

ENVIRONMENT = {"XDG_RUNTIME_DIR": own.RUNTIME}


def run(*arguments):
    """What the tool does for the user: its exit status, and what it says."""
    done = as_user(own.OWN, lambda: tool.run(*arguments, env=ENVIRONMENT))
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def names():
    """The machines of the user's own, and those of the system."""
    return sorted(os.listdir(own.RECORDS)), records.names()


@world.needs_root
class Owned(own.Case):
    def registered(self, name, *options):
        leader = self.own_leader()
        self.assertEqual(run("register", name, "--leader", str(leader.pid), *options), (0, ""))
        return leader

    def test_verbs_call_the_daemon_that_has_the_machine(self):
        self.start()
        self.start_own()
        self.register("theirs", self.leader())
        one, two, three = (self.registered(name, "--user") for name in ("one", "two", "three"))
        self.assertEqual(names(), (["one", "three", "two"], ["theirs"]))
        self.assertEqual(run("kill", "one", "--whom", "leader", "--signal", "USR1"), (0, ""))
        self.assertEqual(one.reap(), -signal.SIGUSR1)
        self.assertEqual(run("unregister", "two"), (0, ""))
        self.assertEqual(run("terminate", "three"), (0, ""))
        self.assertLess(three.reap(), 0)
        until(lambda: names() == ([], ["theirs"]), "the end of the user's own")
        os.kill(two.pid, 0)
        # What is not the user's own is asked of the system's daemon, and so is what is nobody's.
        self.assertEqual(run("unregister", "theirs"), (1, "mymachines: machined does not permit it "
                         "root may, and who registered the machine; others as polkit's rules say"))
        self.assertEqual(run("unregister", "none"), (2, "mymachines: there is no machine 'none'"))

    def test_an_option_says_which_where_both_have_the_name(self):
        self.start()
        self.start_own()
        systems, users = self.leader(), self.registered("web", "--user")
        self.register("web", systems)
        for options in (), ("--system",):
            self.assertEqual(run("terminate", "web", *options)[0], 1, options)
        self.assertEqual(names(), (["web"], ["web"]))
        for option, leader in ("--user", users), ("--system", systems):
            self.assertEqual(run("status", option, "web", "--columns", "leader"), (0, f"leader: {leader.pid}"))
            listed = run("list", option, "--columns", "leader", "--no-legend")
            self.assertEqual(listed, (0, str(leader.pid)), option)
        self.assertEqual(run("register", "--user", "web", "--leader", str(systems.pid)),
                         (1, "mymachines: there is a machine 'web' already mymachines status --user web tells about it"))
        self.assertEqual(run("terminate", "--user", "web"), (0, ""))
        self.assertLess(users.reap(), 0)
        until(lambda: names() == ([], ["web"]), "the end of the user's own")
        os.kill(systems.pid, 0)
        for verb in "terminate", "status", "shell":
            self.assertEqual(run(verb, "--user", "web"), (2, "mymachines: there is no machine 'web'"), verb)

    def test_who_has_no_daemon_is_told_how_to_start_one(self):
        self.start()
        said = ("mymachines: there is no machined of your own "
                "'systemctl --user start machined.socket' starts it, or 'machined --user' where there is no systemd")
        for words in ("register", "web", "--leader", "1"), ("images",), ("kill", "web"), ("copy", "web:/x", "y"), ("shell", "web"):
            self.assertEqual(run(*words[:1], "--user", *words[1:]), (1, said), words)
        code, said = run("images", "--user", "--system")
        self.assertEqual((code, "cannot be used with" in said), (1, True), said)

    def test_a_daemon_that_is_gone_is_named(self):
        daemon = self.start_own()
        self.registered("web", "--user")
        daemon.kill()
        code, said = run("terminate", "web")
        self.assertEqual(code, 1)
        self.assertIn(f"machined cannot be reached at {own.SOCKET}: ", said)
        self.assertIn("systemctl --user status machined", said)

    def test_images_are_those_of_the_daemon_that_is_called(self):
        self.start()
        self.start_own()
        self.assertEqual(run("images", "--user"), (0, "NAME TYPE CLASS READ-ONLY USAGE LIMIT CREATED MODIFIED PATH No images."))
        os.makedirs(f"{own.HOME}/.local/state/machines/mine/usr")
        os.chown(f"{own.HOME}/.local/state/machines/mine", own.OWN, own.OWN)
        self.assertIn("mine", run("images", "--user")[1])
        self.assertNotIn("mine", run("images")[1])

    def test_what_a_users_daemon_cannot_do_is_said(self):
        self.start_own()
        self.registered("web", "--user")
        code, said = run("shell", "web")
        self.assertEqual((code, said), (1, "mymachines: machined does not permit it your own machined may do what you may, and no more"))
        # It is in namespaces that the user may not enter.
        self.assertEqual(run("copy", "/etc/hostname", "web:/tmp/x"),
                         (1, "mymachines: Permission denied (os error 13) your own machined may do what you may, and no more"))
        rootless = subprocess.Popen(["unshare", "--user", "--map-root-user", "sleep", "infinity"], user=own.OWN, group=own.OWN,
                                    extra_groups=[], cwd="/")
        self.addCleanup(lambda: (rootless.kill(), rootless.wait()))
        until(lambda: pathlib.Path(f"/proc/{rootless.pid}/comm").read_text() == "sleep\n", "the container")
        self.assertEqual(run("register", "rootless", "--user", "--leader", str(rootless.pid)), (0, ""))
        self.assertEqual(run("copy", "/etc/hostname", "rootless:/tmp/x"),
                         (1, "mymachines: the ids of the machine are not shifted as a whole"))

    def test_a_daemon_of_roots_own_is_called_too(self):
        runtime = "/run/user/0"
        os.makedirs(runtime, 0o700)
        self.start()
        self.start("--user", env={"XDG_RUNTIME_DIR": runtime, "HOME": own.HOME})
        leader = self.leader()
        self.assertEqual(tool.run("register", "web", "--user", "--leader", str(leader.pid)).returncode, 0)
        self.assertEqual(tool.table("list", "--columns", "machine,registry"), [{"machine": "web", "registry": "user"}])
        self.assertEqual(tool.run("terminate", "web").returncode, 0)
        self.assertLess(leader.reap(), 0)


tool.world.main()
