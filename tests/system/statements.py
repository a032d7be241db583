"""What systemd's own integration test does with images and inside machines, statement by statement, in our words."""

import json
import os
import pathlib
import shlex
import shutil
import socket

from images import POOL, ImageCase, listed, shown
from machines import Container
from scene import DEADLINE, OURS, SYSTEMD, Case, out, refused, run, until

# A statement that has to fail begins with an exclamation mark; `tree`, `other` and `.hidden` are directories, `disk` is raw.
STATEMENTS = """
machinectl list-images
machinectl list-images --all --full --no-legend
machinectl list-images --all --max-addresses=all
machinectl image-status
machinectl image-status tree
machinectl image-status --all tree other disk .hidden .host
! machinectl image-status nothing
! machinectl image-status tree nothing
machinectl show-image
machinectl show-image tree other disk
machinectl show-image --property=Type --property=ReadOnly --value --all tree
! machinectl show-image nothing
machinectl enable tree other
machinectl enable tree
machinectl disable tree other
! machinectl enable nothing
! machinectl start nothing
machinectl clone tree one
machinectl clone tree two
machinectl clone --read-only tree three
machinectl clone disk four
! machinectl clone tree one
! machinectl clone nothing five
! machinectl clone tree
! machinectl clone tree ''
! machinectl clone tree a/b
! machinectl clone tree .
! machinectl clone tree {long}
machinectl rename one five
! machinectl rename one five
! machinectl rename five two
! machinectl rename five ''
! machinectl rename five a/b
machinectl rename four six
machinectl read-only five
machinectl read-only five true
machinectl read-only five no
! machinectl read-only five perhaps
! machinectl read-only nothing
machinectl read-only six yes
machinectl read-only six no
! machinectl set-limit five 1G
! machinectl set-limit nothing 1G
! machinectl set-limit five nonsense
! machinectl remove .host
! machinectl remove nothing
! machinectl remove ''
! machinectl rename .host host
! machinectl read-only .host
machinectl remove two three five six
! machinectl remove two
machinectl clean
! machinectl image-status .hidden
machinectl image-status tree
"""


class Statements(ImageCase):
    def test_what_systemds_own_test_does_with_images_ends_as_it_has_to(self):
        for name in "tree", "other":
            self.tree(name, hostname=f"{name}\n", os_release="ID=an\n")
        (POOL / ".hidden").mkdir()
        self.disk("disk")
        for name in "one", "two", "three", "four", "five", "six", ".hidden":
            self.addCleanup(run, "machinectl", "remove", name)
        wrong = []
        for statement in STATEMENTS.strip().format(long="x" * 300).splitlines():
            words = shlex.split(statement.removeprefix("! "))
            ended = run(*words)
            if (ended.returncode != 0) != statement.startswith("!"):
                wrong.append((statement, ended.returncode, ended.stderr[-300:]))
        self.assertEqual(wrong, [])
        self.assertEqual({name for name in listed("--all") if not name.startswith(".#")} & {"one", "two", "five", "six"}, set())

    def test_settings_of_an_image_are_shown_and_changed_by_name(self):
        settings = pathlib.Path("/etc/systemd/nspawn/tree.nspawn")
        self.tree("tree")
        self.addCleanup(settings.unlink, missing_ok=True)
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text("[Exec]\nBoot=no\n")
        self.assertIn("Boot=no", out("machinectl", "cat", "tree"))
        refused("machinectl", "cat", "nothing")
        out("machinectl", "rename", "tree", "other")
        self.addCleanup(run, "machinectl", "rename", "other", "tree")
        self.assertFalse(settings.exists())
        self.assertIn("Boot=no", out("machinectl", "cat", "other"))

    def test_images_that_links_lead_to_are_known_by_the_names_of_the_links(self):
        places = pathlib.Path("/run/machines")
        where = pathlib.Path("/var/tmp/linked")
        where.mkdir()
        self.addCleanup(where.rmdir)
        self.tree("root", where)
        made = not places.exists()
        places.mkdir(exist_ok=True)
        if made:
            self.addCleanup(places.rmdir)
        (places / "linked").symlink_to(where / "root")
        self.addCleanup((places / "linked").unlink, missing_ok=True)
        disk = self.disk("real", 4096)
        (places / "alias.raw").symlink_to(disk)
        self.addCleanup((places / "alias.raw").unlink, missing_ok=True)
        images = listed()
        self.assertEqual((images["linked"][0], images["alias"][0]), ("directory", "raw"))
        self.assertEqual(shown("alias")["Type"], "raw")
        out("machinectl", "remove", "alias")
        self.assertTrue(disk.exists())
        self.assertNotIn("alias", listed())


# What it does inside machines: `box` is a container without a user namespace, `mapped` one with one. A line that begins with
# 262 is in that release's test alone, and asks for what is new in it.
REACHING = r"""
machinectl copy-to box {place}/text /root/text
test -f /proc/{leader}/root/root/text
! machinectl copy-to box {place}/text /root/text
machinectl copy-from box /root/text {place}/back
diff {place}/text {place}/back
machinectl bind --mkdir box {place}/marker
test -f /proc/{leader}/root{place}/marker
varlink Open {{"name":".host","mode":"tty"}}
varlink Open {{"name":".host","mode":"login"}}
varlink Open {{"name":".host","mode":"shell"}}
! varlink Open {{"name":".host"}}
! varlink Open {{"name":".host","mode":""}}
! varlink Open {{"name":".host","mode":null}}
! varlink Open {{"name":".host","mode":"window"}}
262 varlink BindMount {{"name":"box","source":"{place}/other","mkdir":true}}
262 test -f /proc/{leader}/root{place}/other
262 varlink MapFrom {{"name":"mapped","uid":0,"gid":0}}
262 varlink MapTo {{"uid":{uid},"gid":{uid}}}
262 ! varlink MapTo {{"uid":0}}
262 ! varlink MapTo {{"gid":0}}
262 varlink CopyTo {{"name":"box","source":"{place}/text","destination":"/root/two"}}
262 diff {place}/text /proc/{leader}/root/root/two
262 ! varlink CopyTo {{"name":"box","source":"{place}/text","destination":"/root/two"}}
262 varlink CopyTo {{"name":"box","source":"{place}/other","destination":"/root/two","replace":true}}
262 diff {place}/other /proc/{leader}/root/root/two
262 varlink CopyFrom {{"name":"box","source":"/root/two","destination":"{place}/three"}}
262 diff {place}/other {place}/three
262 varlink OpenRootDirectory {{"name":".host"}}
262 varlink OpenRootDirectory {{"name":"box"}}
"""


class Reaching(Case):
    @classmethod
    def setUpClass(cls):
        # A login on the host leaves one that speaks on any terminal with its number.
        cls.addClassCleanup(run, "systemctl", "stop", "container-getty@*.service")
        cls.box = Container("box")
        cls.addClassCleanup(cls.box.end)
        cls.mapped = Container("mapped", "--private-users=65536:65536", "--private-users-ownership=chown")
        cls.addClassCleanup(cls.mapped.end)
        cls.place = pathlib.Path("/run/statements")
        cls.place.mkdir()
        cls.addClassCleanup(shutil.rmtree, cls.place)
        for name in "text", "marker", "other":
            (cls.place / name).write_text(f"{name}\n")

    def test_what_systemds_own_test_does_inside_machines_ends_as_it_has_to(self):
        uid = pathlib.Path(f"/proc/{self.mapped.leader}/uid_map").read_text().split()[1]
        wrong = []
        for statement in REACHING.strip().format(place=self.place, leader=self.box.leader, uid=uid).splitlines():
            if statement.startswith("262 ") and not OURS and SYSTEMD < 262:
                continue
            rest = statement.removeprefix("262 ")
            words = rest.removeprefix("! ").split(" ", 2)
            if words[0] == "varlink":
                words = ["varlinkctl", "call", "/run/systemd/machine/io.systemd.Machine", f"io.systemd.Machine.{words[1]}", words[2]]
            else:
                words = shlex.split(" ".join(words))
            ended = run(*words)
            if (ended.returncode != 0) != rest.startswith("! "):
                wrong.append((statement, ended.returncode, ended.stderr[-300:]))
        self.assertEqual(wrong, [])

    def test_a_shell_of_a_user_of_the_host_has_the_variables_that_it_is_given_and_no_others(self):
        shell = lambda *options: run("machinectl", "shell", *options, "testuser@", "/bin/bash", "-c", "echo -n \"<$FRUIT>\"",
                                     TERM="dumb").stdout.strip()
        self.assertEqual(shell(), "<>")
        self.assertEqual(shell("--setenv=FRUIT=pear"), "<pear>")

    def test_a_shell_after_a_login_prints_nothing_of_what_ends_that(self):
        if not OURS:
            self.skipTest("the original starts what is left of the login on the shell's terminal, now and then")
        machine, printed = "/run/systemd/machine/io.systemd.Machine", set()
        shell = lambda: run("machinectl", "shell", "testuser@", "/bin/bash", "-c", "echo -n $FRUIT", TERM="dumb").stdout
        # machinectl of 257 ends each line itself.
        plain = shell()
        self.assertEqual(plain.strip(), "")
        for _ in range(15):
            # The terminal is closed at once, and the next one has its number.
            out("varlinkctl", "call", machine, "io.systemd.Machine.Open", '{"name":".host","mode":"login"}')
            printed.add(shell())
        self.assertEqual(printed, {plain})

    def test_a_shell_by_varlink_has_its_variables_while_somebody_holds_the_terminal(self):
        told = self.place / "told"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect("/run/systemd/machine/io.systemd.Machine")
            parameters = {"name": ".host", "mode": "shell", "user": "root", "path": "/bin/sh",
                          "args": ["/bin/sh", "-c", f"echo $FOO > {told}"], "environment": ["FOO=BAR"]}
            client.sendall(json.dumps({"method": "io.systemd.Machine.Open", "parameters": parameters}).encode() + b"\0")
            _, fds, _, _ = socket.recv_fds(client, 65536, 1)
        self.addCleanup(os.close, fds[0])
        until(lambda: told.exists() and told.read_text() == "BAR\n", "what the shell was to write")
