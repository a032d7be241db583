"""What only reads, from records and from a daemon in every state."""

import contextlib
import json
import os
import signal
import subprocess

import processes
import tool
import users
import varlink
import world
from tool import run, table
from waiting import until


def watches(pid):
    """Whether a process has told the kernel what to watch, which it does some time after it has said that it wants to."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}") as file:
                if "inotify wd:" in file.read():
                    return True
    return False


class MadeUp(tool.Case):
    """Without any daemon."""

    def test_nothing_is_no_machine(self):
        done = run("list")
        self.assertEqual((done.returncode, done.stderr), (0, "No machines.\n"))
        self.assertEqual(done.stdout.split(), ["MACHINE", "CLASS", "STATE", "SERVICE", "LEADER", "ADDRESSES"])
        self.assertEqual(run("list", "--format", "json").stdout, "[]\n")
        self.assertEqual(run("list", "--no-legend").stdout, "")

    def test_machines_are_listed_in_three_formats(self):
        leader = self.leader()
        addresses = [f"10.1.{n // 250}.{n % 250 + 1}" for n in range(400)]
        self.made_up("web", leader, ADDRESSES=" ".join(addresses))
        self.made_up("db", leader, ADDRESSES="host", SERVICE='a,\\"b\\"')
        listed = {machine["machine"]: machine for machine in table("list")}
        self.assertEqual(listed["web"]["addresses"], addresses)
        self.assertEqual(listed["db"]["addresses"], "host")
        self.assertEqual(listed["web"]["leader"], leader.pid)
        lines = run("list").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["MACHINE", "db", "web"])
        self.assertTrue(lines[2].endswith(" ".join(addresses)), "an address is cut")
        header, db, _ = tool.rows(run("list", "--format", "csv").stdout)
        self.assertEqual(dict(zip(header, db))["service"], 'a,"b"')
        self.assertEqual(len(tool.rows(run("list", "--format", "csv", "--no-legend").stdout)), 2)

    def test_columns_are_chosen(self):
        self.made_up("web", self.leader(), ROOT="/srv/web", VSOCK_CID="9")
        done = run("list", "--no-legend", "--columns", "root,machine,vsock-cid")
        self.assertEqual(done.stdout.split(), ["/srv/web", "web", "9"])
        wrong = run("list", "--columns", "machine,colour")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("there is no column 'colour'", wrong.stderr)
        self.assertIn("vsock-cid", wrong.stderr)
        self.assertEqual(len(table("list", "--columns", "all")[0]), 23)

    def test_the_dead_are_listed_and_do_not_resolve(self):
        leader = self.leader()
        self.made_up("web", leader, ADDRESSES="10.1.0.2")
        self.assertEqual(run("resolve", "web", "--no-legend").stdout.split(), ["10.1.0.2", "web"])
        leader.kill()
        self.assertEqual(table("list")[0]["state"], "closing")
        done = run("resolve", "web", "-v", "--no-legend")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("its leader is gone", done.stderr)

    def test_it_is_said_why_a_name_does_not_resolve(self):
        leader = self.leader()
        self.made_up("host", leader, ADDRESSES="host")
        self.made_up("other", leader)
        self.made_up("none", leader, ADDRESSES="")
        self.made_up("vm", leader, CLASS="vm")
        for name, why in {"host": "shares the host's network", "other": "another daemon wrote its record",
                          "vm": "no interface of the host leads there", "nobody": "there is no machine", "a_b": "'_' is not allowed (try 'a-b')"}.items():
            with self.subTest(name):
                done = run("resolve", name, "--verbose", "--no-legend")
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(why, done.stderr)
                self.assertEqual(run("resolve", name, "--no-legend").stderr, "")

    def test_a_damaged_record_is_named_and_the_others_are_told(self):
        path = self.made_up("bad", CLASS="spaceship")
        self.made_up("good", self.leader())
        done = run("list", "--no-legend", "--columns", "machine")
        self.assertEqual((done.returncode, done.stdout), (1, "good\n"))
        self.assertIn(f"a damaged record: {path}: CLASS", done.stderr)
        done = run("status", "bad")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"a damaged record: {path}", done.stderr)

    def test_a_damaged_record_that_decides_is_said_in_words(self):
        self.made_up("bad", NAME="another")
        done = run("whois", "vu-bad-1", "--no-legend")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "mymachines: user 'vu-bad-1': the record that decides is damaged\n"
                                      "            mymachines list says which\n")

    def test_a_name_resolves_as_it_does_for_programs(self):
        """With a dot at its end, and in small letters where that is one machine's."""
        self.made_up("BigTEST", self.leader(), ADDRESSES="10.1.0.2")
        os.makedirs("/run/machined/names")
        os.symlink("BigTEST", "/run/machined/names/bigtest")
        for name in "BigTEST", "BigTEST.", "bigtest", "BIGTEST.":
            self.assertEqual(table("resolve", name), [{"address": "10.1.0.2", "machine": "BigTEST"}], name)

    def test_status_tells_all_there_is(self):
        leader = self.leader()
        self.made_up("web", leader, UIDMAP="0:655360:65536", ADDRESSES="10.1.0.2 fd00::2", NETIF="1")
        done = run("status", "web", "gone")
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no machine 'gone'", done.stderr)
        lines = [line.strip() for line in done.stdout.splitlines()]
        for line in "machine: web", f"leader: {leader.pid}", "uid-map: 0:655360:65536", "addresses: 10.1.0.2", "fd00::2", \
                "since: 2025-12-31T23:59:59Z", "interfaces: lo", f"record: {tool.RECORDS}/web":
            self.assertIn(line, lines)

    def test_what_a_registrar_wrote_does_not_reach_the_terminal(self):
        self.made_up("web", self.leader(), SERVICE="a\\\x1b[31mb")
        for arguments in ["list"], ["status", "web"], ["list", "--format", "csv"], ["list", "--format", "json"]:
            self.assertNotIn("\x1b", run(*arguments).stdout)

    def test_a_fifo_in_the_place_of_a_record_holds_nobody_up(self):
        self.made_up("web", self.leader())
        os.mkfifo(f"{tool.RECORDS}/fifo")
        self.assertEqual([machine["machine"] for machine in table("list")], ["web"])
        self.assertNotEqual(run("status", "fifo").returncode, 0)

    def test_a_reader_that_goes_away_is_no_error(self):
        for number in range(200):
            self.made_up(f"machine-{number}", ADDRESSES=" ".join(["10.0.0.1"] * 900))
        child = subprocess.Popen([tool.MYMACHINES, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdout.read(10)
        child.stdout.close()
        self.assertEqual(child.stderr.read(), b"")
        child.stderr.close()
        self.assertEqual(child.wait(20), 0)

    def test_names_are_completed_from_the_directory(self):
        for name in "web-1", "web-2", "db":
            self.made_up(name)
        for verb in "status", "resolve", "terminate", "unregister", "kill":
            self.assertEqual(self.completed("mymachines", verb, "web"), ["web-1", "web-2"], verb)
        self.assertIn("whois", self.completed("mymachines", "w"))
        self.assertEqual(self.completed("mymachines", "list", "--format", "cs"), ["csv"])
        self.assertEqual(self.completed("mymachines", "list", "--columns", "vso"), ["vsock-cid"])

    @staticmethod
    def completed(*words):
        environment = {"MYMACHINES_COMPLETE": "bash", "_CLAP_COMPLETE_INDEX": str(len(words) - 1), "_CLAP_IFS": "\n"}
        return [word.strip() for word in run("--", *words, env=environment).stdout.splitlines()]

    def test_wrong_use_is_status_1(self):
        for arguments in [], ["dance"], ["list", "--format", "xml"], ["status"], ["register", "web"], ["kill"]:
            self.assertEqual(run(*arguments).returncode, 1, arguments)
        self.assertEqual(run("--help").returncode, 0)
        self.assertEqual(run("--version").returncode, 0)


class Real(tool.Case):
    """With a daemon that runs, is frozen, and is dead."""

    def setUp(self):
        super().setUp()
        self.start()

    def in_every_state(self, look):
        look("it runs")
        self.machined.process.send_signal(signal.SIGSTOP)
        until(lambda: processes.state(self.machined.pid) == "T")
        look("it is frozen")
        self.machined.kill()
        look("it is dead")

    def test_all_that_reads_answers_whatever_the_daemons_state(self):
        container = self.container("10.1.0.2/24")
        self.register("web", container)
        self.assert_addresses("web", "10.1.0.2")

        def look(state):
            with self.subTest(state):
                self.assertEqual([machine["machine"] for machine in table("list")], ["web"])
                self.assertEqual(table("status", "web")[0]["leader"], container.pid)
                self.assertEqual([row["address"] for row in table("resolve", "web")], ["10.1.0.2"])
                self.assertEqual([row["machine"] for row in table("whois", "10.1.0.2")], ["web"])
                self.assertEqual(run("whois", "10.1.0.3").returncode, 2)
        self.in_every_state(look)

    @world.needs_cgroup
    def test_whose_a_process_is(self):
        leader = self.leader()
        self.register("web", leader, allocateUnit=True)

        def look(state):
            with self.subTest(state):
                found = table("whois", str(leader.pid))
                self.assertEqual([(row["kind"], row["machine"]) for row in found], [("process", "web")])
                self.assertEqual(run("whois", "--pid", str(os.getpid())).returncode, 2)
        self.in_every_state(look)

    @world.needs_root
    def test_whose_an_id_is(self):
        leader = self.leader(users.unmapped)
        users.write_map(leader, [(0, 655360, 65536)])
        self.register("usr", leader)

        def look(state):
            with self.subTest(state):
                self.assertEqual(table("whois", "--uid", "656360"), [
                    {"subject": "656360", "kind": "user", "machine": "usr", "inside": 1000, "name": "vu-usr-1000"}])
                self.assertEqual({row["kind"] for row in table("whois", "656360")}, {"user", "group"})
                self.assertEqual(table("whois", "vg-usr-7")[0]["kind"], "group")
                self.assertEqual(run("whois", "--gid", "100").returncode, 2)
        self.in_every_state(look)

    @world.needs_root
    def test_an_id_of_two_machines_is_said_to_be_neithers(self):
        for name in "one", "two":
            leader = self.leader(users.unmapped)
            users.write_map(leader, [(0, 655360, 65536)])
            self.register(name, leader)
        done = run("whois", "--uid", "656360", "--no-legend")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr, "mymachines: user '656360' belongs to several machines, and so to none "
                                      "(mymachines list --columns machine,uid-map)\n")

    def test_what_comes_and_goes_is_told(self):
        self.register("before", self.leader())
        watch = subprocess.Popen([tool.MYMACHINES, "watch", "--all"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        self.assertEqual(watch.stdout.readline().split()[:2], ["there", "before"])
        leader = self.leader()
        self.register("web", leader)
        line = watch.stdout.readline().split()
        self.assertEqual(line[:2], ["new", "web"])
        self.assertIn(str(leader.pid), line)
        leader.kill()
        until(lambda: watch.stdout.readline().split()[:2] == ["gone", "web"])

    def test_a_directory_that_is_not_there_yet_is_waited_for(self):
        self.machined.kill()
        subprocess.run(["rm", "-r", "/run/systemd"], check=True)
        watch = subprocess.Popen([tool.MYMACHINES, "watch", "--format", "csv", "--no-legend"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        until(lambda: watches(watch.pid))
        self.start()
        self.register("web", self.leader())
        self.assertEqual(watch.stdout.readline().split(",")[:2], ["new", "web"])

    def test_watch_tells_the_columns_that_are_asked_for(self):
        watch = subprocess.Popen([tool.MYMACHINES, "watch", "--format", "json", "--columns", "owner,addresses,machine"],
                                 stdout=subprocess.PIPE, text=True)
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        until(lambda: watches(watch.pid))
        leader = self.leader()
        self.register("web", leader)
        told = json.loads(watch.stdout.readline())
        self.assertEqual((list(told), told["change"], told["owner"], told["machine"]),
                         (["change", "owner", "addresses", "machine"], "new", 0, "web"))
        leader.kill()
        until(lambda: told.update(json.loads(watch.stdout.readline())) or told["change"] == "gone")
        self.assertEqual((told["machine"], told["owner"]), ("web", None))

    def test_machines_are_waited_for(self):
        def begin(*arguments):
            waiting = subprocess.Popen([tool.MYMACHINES, "wait", *arguments])
            self.addCleanup(waiting.wait)
            self.addCleanup(waiting.kill)
            until(lambda: watches(waiting.pid))
            return waiting

        self.machined.kill()
        subprocess.run(["rm", "-r", "/run/systemd"], check=True)
        late = run("wait", "--timeout", "0", "web", "db")
        self.assertEqual(late.returncode, 2)
        self.assertEqual(late.stderr, "mymachines: machine 'web' has not come\nmymachines: machine 'db' has not come\n")
        self.assertEqual(run("wait", "--gone", "web").returncode, 0)
        self.assertEqual(run("wait", "not_a_name").returncode, 1)
        both = begin("web", "db")
        self.start()
        leader = self.leader()
        self.register("web", leader)
        self.assertIsNone(both.poll())
        self.register("db", self.leader())
        self.assertEqual(both.wait(20), 0)
        gone = begin("--gone", "--timeout", "60", "web")
        # Nobody takes the record away.
        self.machined.kill()
        self.assertIsNone(gone.poll())
        leader.kill()
        self.assertEqual(gone.wait(20), 0)
        stays = run("wait", "--gone", "--timeout", "0", "web", "db")
        self.assertEqual((stays.returncode, stays.stderr), (2, "mymachines: machine 'db' is still there\n"))

    def test_who_watches_for_nobody_ends(self):
        watch = subprocess.Popen([tool.MYMACHINES, "watch"], stdout=subprocess.PIPE)
        watch.stdout.close()
        self.assertEqual(watch.wait(20), 0)

    def test_the_doctor_tells_the_daemons_state(self):
        def daemon():
            findings = {finding["about"]: finding for finding in table("doctor")}
            return findings["daemon"]
        until(lambda: varlink.listed() == {})
        self.assertEqual(daemon()["level"], "ok")
        self.assertIn(f"process {self.machined.pid}", daemon()["finding"])
        self.machined.process.send_signal(signal.SIGSTOP)
        until(lambda: processes.state(self.machined.pid) == "T", "a stopped process")
        frozen = daemon()
        self.assertEqual((frozen["level"], frozen["command"]), ("WRONG", f"kill -CONT {self.machined.pid}"))
        self.machined.kill()
        self.assertEqual(daemon()["level"], "WRONG")
        self.assertIn("no machined serves", daemon()["finding"])
        self.assertEqual(run("doctor").returncode, 1)

    def test_the_doctor_names_a_damaged_record_and_one_of_an_earlier_boot(self):
        self.machined.kill()
        path = self.made_up("bad", CLASS="spaceship")
        self.made_up("old", REALTIME="1000000")
        found = [finding["finding"] for finding in table("doctor") if finding["about"] == "records"]
        self.assertTrue(any(path in text for text in found), found)
        self.assertTrue(any("of an earlier boot: old" in text for text in found), found)


@world.needs_root
class Own(tool.Case):
    """A user's own machines, with the system's daemon beside the user's."""

    USER = 1
    RUNTIME = "/run/user/1"

    def setUp(self):
        super().setUp()
        for path in self.RUNTIME, "/run/home":
            os.makedirs(path)
            os.chown(path, self.USER, self.USER)
        self.become = ("setpriv", f"--reuid={self.USER}", f"--regid={self.USER}", "--clear-groups")
        self.start("--user", prefix=self.become, env={"XDG_RUNTIME_DIR": self.RUNTIME, "HOME": "/run/home"})
        os.makedirs(tool.RECORDS, exist_ok=True)
        self.leaders = {}

    def register_own(self, name):
        leader = subprocess.Popen([*self.become, "unshare", "--user", "--map-root-user", "sleep", "infinity"])
        self.addCleanup(lambda: (leader.kill(), leader.wait()))
        until(lambda: os.stat(f"/proc/{leader.pid}").st_uid == self.USER, "the leader")
        state = {"id": "8f3c0f5a9d1e77b2", "pid": leader.pid, "annotations": {"io.mymachines.register": name}}
        done = subprocess.run([*self.become, tool.MYMACHINES, "register", "--from", "oci"], input=json.dumps(state), text=True,
                              capture_output=True, timeout=20, env={"PATH": os.environ["PATH"]}, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.leaders[name] = leader.pid

    def as_user(self, *arguments):
        """The rows that the user is told, and the exit status."""
        done = subprocess.run([*self.become, tool.MYMACHINES, *arguments, "--format", "json"], capture_output=True, text=True,
                              timeout=20, env={"PATH": os.environ["PATH"]}, check=False)
        return json.loads(done.stdout), done.returncode

    def listed(self):
        rows, code = self.as_user("list", "--columns", "machine,registry,leader,record")
        self.assertEqual(code, 0)
        return [tuple(row.values()) for row in rows]

    def test_they_are_listed_and_told_to_that_user_alone(self):
        self.register_own("mine")
        leader = self.leader()
        self.made_up("theirs", leader)
        path = f"{self.RUNTIME}/systemd/machines/mine"
        self.assertEqual(self.listed(), [("mine", "user", self.leaders["mine"], path),
                                         ("theirs", "system", leader.pid, f"{tool.RECORDS}/theirs")])
        self.assertEqual([row["machine"] for row in table("list")], ["theirs"])
        told, code = self.as_user("status", "mine")
        self.assertEqual((code, told[0]["leader"], told[0]["registry"]), (0, self.leaders["mine"], "user"))
        self.assertEqual(run("status", "mine").returncode, 2)
        # The process has no group of its own here, by which it would be in a machine of the same group.
        whois, code = self.as_user("whois", "--pid", str(self.leaders["mine"]))
        self.assertEqual((code, [row["machine"] for row in whois]), (0, ["mine"]))
        self.assertEqual(run("whois", "--pid", str(self.leaders["mine"])).returncode, 2)
        completed = subprocess.run([*self.become, tool.MYMACHINES, "--", "mymachines", "status", "mi"], capture_output=True, text=True,
                                   timeout=20, check=False, env={"MYMACHINES_COMPLETE": "bash", "_CLAP_COMPLETE_INDEX": "2"})
        self.assertEqual(completed.stdout.split(), ["mine"])

    def plant(self, name, **fields):
        """A record in the user's registry, as the user's daemon would have it."""
        path = os.path.join(self.RUNTIME, "systemd/machines", name)
        os.rename(self.made_up(name, **fields), path)
        os.chown(path, self.USER, self.USER)
        return path

    def test_their_names_resolve_behind_those_of_the_system(self):
        self.register_own("first")
        leader = self.leader()
        self.plant("mine", leader=leader, ADDRESSES="10.1.0.2")
        self.assertEqual(self.as_user("resolve", "mine"), ([{"address": "10.1.0.2", "machine": "mine"}], 0))
        self.assertEqual(run("resolve", "mine").returncode, 2)
        self.made_up("mine", leader, ADDRESSES="10.1.0.3")
        self.assertEqual(self.as_user("resolve", "mine")[0][0]["address"], "10.1.0.3")
        # What is another user's alone is in nobody's way.
        self.made_up("mine", leader, ADDRESSES="10.1.0.3", UID="2")
        self.assertEqual(self.as_user("resolve", "mine")[0][0]["address"], "10.1.0.2")
        self.assertEqual(self.as_user("status", "mine")[0][0]["registry"], "user")

    def test_one_that_is_registered_with_both_is_told_once(self):
        self.register_own("first")
        leader = self.leader()
        self.plant("both", leader=leader)
        self.made_up("both", leader, UID=str(self.USER))
        self.assertEqual([row[:2] for row in self.listed()], [("both", "system"), ("first", "user")])

    def test_what_is_not_the_users_in_that_directory_is_left_out(self):
        self.register_own("first")
        os.chown(self.plant("planted", leader=self.leader()), 2, 2)
        self.assertEqual([row[0] for row in self.listed()], ["first"])
        self.assertEqual(self.as_user("status", "planted"), ([], 2))

    def test_a_damaged_record_is_named_by_its_path(self):
        self.register_own("first")
        path = self.plant("bad", CLASS="spaceship")
        done = subprocess.run([*self.become, tool.MYMACHINES, "list"], capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"a damaged record: {path}: CLASS", done.stderr)

    def test_users_of_theirs_are_known_by_name(self):
        self.register_own("first")
        self.plant("mine", leader=self.leader(), UIDMAP="0:655360:10", GIDMAP="0:655360:10")
        told, code = self.as_user("whois", "vu-mine-7")
        self.assertEqual((code, told), (0, [{"subject": "vu-mine-7", "kind": "user", "machine": "mine", "inside": 7, "name": "vu-mine-7"}]))
        self.assertEqual(run("whois", "vu-mine-7").returncode, 2)


world.main()
