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
        self.assertEqual(len(table("list", "--columns", "all")[0]), 22)

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


world.main()
