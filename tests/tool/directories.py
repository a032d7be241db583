"""The examples that put names of machines into other directories: into a real etcd, and into what is asked as Consul's catalog is."""

import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import urllib.parse

import processes
import tool
import world
from waiting import DEADLINE, until

EXAMPLES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../examples/names")


class Example(tool.Case):
    def setUp(self):
        super().setUp()
        processes.host("link set lo up")
        self.start()
        self.place = tempfile.mkdtemp(dir=world.LOGS)
        os.symlink(tool.MYMACHINES, f"{self.place}/mymachines")

    def run_example(self, name, *arguments, **env):
        environment = {"PATH": f"{self.place}:{os.environ['PATH']}", "NETWORK": r"^10\.9\.", **env}
        running = subprocess.Popen([f"{EXAMPLES}/{name}", *arguments], env=environment, stdin=subprocess.DEVNULL,
                                   start_new_session=True)

        def end():
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()

        self.addCleanup(end)
        return running

    def machines(self):
        """A container with two addresses, of which one is meant, and one with none."""
        web = self.container("10.9.0.2/24", "192.168.122.7/24")
        self.register("web", web)
        self.register("db.prod", self.container("10.9.0.3/24"))
        self.register("libvirt", self.container("192.168.122.8/24"))
        return web

    def check_usage(self, name):
        for arguments, status in ((["--help"], 0), (["a", "b"], 1)):
            done = subprocess.run([f"{EXAMPLES}/{name}", *arguments], capture_output=True, text=True, timeout=20)
            self.assertEqual(done.returncode, status)
            self.assertIn("usage: ", done.stdout + done.stderr)


@world.needs_root
@world.unittest.skipUnless(shutil.which("etcd") and shutil.which("etcdctl") and shutil.which("jq"), "needs etcd, etcdctl and jq")
class Etcd(Example):
    URL = "http://127.0.0.1:2379"

    def setUp(self):
        super().setUp()
        self.serve()

    def serve(self):
        with open(f"{self.place}/log", "a") as log:
            self.etcd = subprocess.Popen(
                ["etcd", "--data-dir", f"{self.place}/data", "--listen-client-urls", self.URL, "--advertise-client-urls", self.URL,
                 "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync"], stdout=log, stderr=log)
        self.addCleanup(self.etcd.wait)
        self.addCleanup(self.etcd.kill)
        until(lambda: self.ctl("endpoint", "health", check=False).returncode == 0, "etcd")

    def ctl(self, *words, check=True):
        return subprocess.run(["etcdctl", "--endpoints", self.URL, *words], capture_output=True, text=True, timeout=30, check=check,
                              env={"PATH": os.environ["PATH"], "ETCDCTL_API": "3"})

    def keys(self):
        lines = self.ctl("get", "--prefix", "").stdout.splitlines()
        return {key: json.loads(value)["host"] for key, value in zip(lines[::2], lines[1::2])}

    def has(self, **machines):
        below, host = "/skydns/example/containers", os.uname().nodename.split(".")[0]
        expected = {f"{below}/{name.replace('__', '/')}/_{host}/{address.replace('.', '-')}": address
                    for name, addresses in machines.items() for address in addresses}
        until(lambda: self.keys() == expected, f"{expected} in etcd, and not {self.keys()}")

    def test_etcd_has_what_there_is(self):
        web = self.machines()
        self.ctl("put", "/other", '{"host": "x"}')
        self.ctl("del", "/other")
        running = self.run_example("to-etcd", "containers.example", ETCDCTL_ENDPOINTS=self.URL)
        self.has(web=["10.9.0.2"], prod__db=["10.9.0.3"])
        web.add("10.9.0.4/24")
        self.has(web=["10.9.0.2", "10.9.0.4"], prod__db=["10.9.0.3"])
        web.kill()
        self.has(prod__db=["10.9.0.3"])
        self.assertIsNone(running.poll())
        # All goes with the lease.
        running.terminate()
        running.wait(DEADLINE)
        self.has()

    def test_what_is_left_goes_with_the_lease(self):
        self.machines()
        running = self.run_example("to-etcd", "containers.example", ETCDCTL_ENDPOINTS=self.URL)
        self.has(web=["10.9.0.2"], prod__db=["10.9.0.3"])
        os.killpg(running.pid, signal.SIGKILL)
        lease = self.ctl("lease", "list").stdout.split()[-1]
        self.assertRegex(self.ctl("lease", "timetolive", lease).stdout, r"granted with TTL\(60s\), remaining\(")
        self.ctl("lease", "revoke", lease)
        self.has()

    def test_a_lease_that_is_lost_ends_it(self):
        running = self.run_example("to-etcd", "containers.example", ETCDCTL_ENDPOINTS=self.URL)
        until(lambda: len(self.ctl("lease", "list").stdout.split()) == 4, "its lease")
        self.ctl("lease", "revoke", self.ctl("lease", "list").stdout.split()[-1])
        self.assertEqual(running.wait(60), 1)

    def test_it_says_how_it_is_used(self):
        self.check_usage("to-etcd")


class Catalog(http.server.BaseHTTPRequestHandler):
    """What Consul's documentation says of /v1/catalog/{register,deregister,nodes,node}, and no more."""

    nodes, wrong, token = {}, [], None

    def log_message(self, *_):
        pass

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def is_right(self, condition):
        if not condition or self.headers["X-Consul-Token"] != self.token:
            self.wrong.append((self.command, self.path, dict(self.headers)))
            self.send_error(400)
        return condition

    def do_PUT(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/catalog/register":
            if self.is_right(set(body) == {"Node", "Address", "NodeMeta"} and all(
                    isinstance(value, str) for value in [body["Node"], body["Address"], *body["NodeMeta"].values()])):
                self.nodes[body["Node"]] = body
                self.answer(True)
        elif self.is_right(self.path == "/v1/catalog/deregister" and set(body) == {"Node"}):
            self.nodes.pop(body["Node"], None)
            self.answer(True)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/v1/catalog/nodes":
            key, _, value = urllib.parse.parse_qs(url.query)["node-meta"][0].partition(":")
            self.answer([{"Node": name, "Address": node["Address"], "Meta": node["NodeMeta"]}
                         for name, node in self.nodes.items() if node["NodeMeta"].get(key) == value])
        elif self.is_right(url.path.startswith("/v1/catalog/node/")):
            node = self.nodes.get(url.path.rpartition("/")[2])
            self.answer(node and {"Node": {"Node": node["Node"], "Address": node["Address"], "Meta": node["NodeMeta"]}, "Services": {}})


@world.needs_root
@world.unittest.skipUnless(shutil.which("curl") and shutil.which("jq"), "needs curl and jq")
class Consul(Example):
    def setUp(self):
        super().setUp()
        Catalog.nodes, Catalog.wrong, Catalog.token = {}, [], "secret"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 8500), Catalog)
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.addCleanup(lambda: self.assertEqual(Catalog.wrong, []))

    def has(self, **machines):
        there = lambda: {name: node["Address"] for name, node in Catalog.nodes.items()}
        expected = {name.replace("__", "."): address for name, address in machines.items()}
        until(lambda: there() == expected, f"{expected} in the catalog, and not {there()}")

    def test_the_catalog_has_what_there_is(self):
        web = self.machines()
        host = os.uname().nodename.split(".")[0]
        Catalog.nodes["old"] = {"Node": "old", "Address": "10.9.0.9", "NodeMeta": {"mymachines": host}}
        Catalog.nodes["beta"] = {"Node": "beta", "Address": "10.9.0.8", "NodeMeta": {"mymachines": "beta"}}
        Catalog.nodes["db.prod"] = {"Node": "db.prod", "Address": "10.9.0.7", "NodeMeta": {}}
        self.run_example("to-consul", CONSUL_HTTP_TOKEN="secret")
        self.has(web="10.9.0.2", beta="10.9.0.8", db__prod="10.9.0.7")
        self.assertEqual(Catalog.nodes["web"]["NodeMeta"],
                         {"external-node": "true", "external-probe": "false", "mymachines": host})
        web.remove("10.9.0.2/24")
        web.add("10.9.0.5/24")
        self.has(web="10.9.0.5", beta="10.9.0.8", db__prod="10.9.0.7")
        web.kill()
        self.has(beta="10.9.0.8", db__prod="10.9.0.7")

    def test_it_ends_when_the_catalog_is_away(self):
        self.machines()
        running = self.run_example("to-consul", CONSUL_HTTP_ADDR="127.0.0.1:8501")
        self.assertNotEqual(running.wait(60), 0)

    def test_it_says_how_it_is_used(self):
        self.check_usage("to-consul")


world.main()
