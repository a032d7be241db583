"""What systemd's own integration test does with images, statement by statement, in our words."""

import pathlib
import shlex

from images import POOL, ImageCase, listed, shown
from scene import out, refused, run

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
