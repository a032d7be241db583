"""Users who want to harm others: what they do to a Varlink server, and what others notice of it meanwhile."""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import threading
import time

HOST = b'{"method":"org.varlink.service.GetInfo"}\0'
FIRST_UID = 4001
PER_USER = 128


def call(method, parameters=None, **flags):
    return json.dumps({"method": method, "parameters": parameters or {}, **flags}).encode() + b"\0"


class Crowd:
    """The connections of one attacker, who sends the same over all of them and reads what comes, or does not."""

    def __init__(self, path, data, reads=True, connections=PER_USER):
        self.path, self.data, self.reads, self.connections = path, data, reads, connections
        self.epoll, self.open = select.epoll(), {}

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            return False
        self.open[sock.fileno()] = (sock, b"")
        self.epoll.register(sock, select.EPOLLOUT | (select.EPOLLIN if self.reads else 0))
        return True

    def drop(self, number):
        sock, _ = self.open.pop(number)
        with contextlib.suppress(OSError):
            self.epoll.unregister(sock)
        sock.close()

    def run(self):
        while True:
            while len(self.open) < self.connections and self.connect():
                pass
            for number, event in self.epoll.poll(0.05, 64):
                sock, rest = self.open[number]
                try:
                    if event & select.EPOLLIN and not sock.recv(1 << 16):
                        raise ConnectionResetError
                    rest = rest or self.data
                    self.open[number] = (sock, rest[sock.send(rest):])
                except BlockingIOError:
                    # A deaf one has done what it can.
                    if not self.reads:
                        self.epoll.modify(sock, 0)
                except OSError:
                    self.drop(number)


def idle(path, connections=PER_USER):
    """Connects, and does nothing more."""
    held = []
    while True:
        while len(held) < connections:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            try:
                sock.connect(path)
            except OSError:
                sock.close()
                break
            held.append(sock)
        time.sleep(0.05)
        kept = []
        for sock in held:
            try:
                if sock.recv(1) == b"":
                    raise ConnectionResetError
            except BlockingIOError:
                kept.append(sock)
            except OSError:
                sock.close()
        held = kept


def churn(path):
    """Connects, calls and leaves, without a pause."""
    while True:
        sock = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            sock.settimeout(1)
            sock.connect(path)
            sock.send(HOST)
        sock.close()


class Attack:
    """Processes of other users that all do the same. Ends with the `with` block."""

    def __init__(self, work, users=8, first=FIRST_UID, uids=(), lead=1.0):
        self.work, self.uids, self.lead, self.pids = work, uids or range(first, first + users), lead, []

    def __enter__(self):
        self.pids = []
        for uid in self.uids:
            pid = os.fork()
            if pid == 0:
                try:
                    os.setgroups([])
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                    self.work()
                finally:
                    os._exit(1)
            self.pids.append(pid)
        # What it does at once is not what it does in the long run.
        time.sleep(self.lead)
        return self

    def __exit__(self, *_):
        ended = [pid for pid in self.pids if os.waitpid(pid, os.WNOHANG)[0]]
        for pid in set(self.pids) - set(ended):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert not ended, f"{len(ended)} attackers gave up"


def echo_server(path):
    """The pid of a bare server on a socket, which answers each message with one byte and does nothing else."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(4096)
    pid = os.fork()
    if pid == 0:
        epoll = select.epoll()
        epoll.register(listener, select.EPOLLIN)
        clients = {}
        while True:
            for number, _ in epoll.poll():
                if number == listener.fileno():
                    client, _ = listener.accept()
                    clients[client.fileno()] = client
                    epoll.register(client, select.EPOLLIN)
                    client.setblocking(False)
                else:
                    try:
                        if not clients[number].recv(4096):
                            raise ConnectionResetError
                        clients[number].send(b"\0")
                    except BlockingIOError:
                        pass
                    except OSError:
                        clients.pop(number).close()
    listener.close()
    return pid


def ask(path, message, patience):
    """How long one call on a new connection takes, in seconds; the patience if it is not answered in that time."""
    began = time.perf_counter()
    with socket.socket(socket.AF_UNIX) as sock:
        # It blocks, as clients do: who waits for a place in the queue so is let in in order.
        for option in socket.SO_SNDTIMEO, socket.SO_RCVTIMEO:
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", patience, 0))
        try:
            sock.connect(path)
            sock.sendall(message)
            data = b""
            while not data.endswith(b"\0"):
                got = sock.recv(1 << 16)
                if not got:
                    return patience
                data += got
        except OSError:
            return patience
    return time.perf_counter() - began


def latencies(places, seconds, patience=10, least=100):
    """What calls of each of these take, (path, message) by name, asked one after the other for some seconds."""
    taken = {name: [] for name in places}
    end = time.monotonic() + seconds
    # One that is slow is asked often enough for a percentile, too, but not for ever.
    while (now := time.monotonic()) < end or (len(next(iter(taken.values()))) < least and now < end + 3 * seconds):
        for name, (path, message) in places.items():
            taken[name].append(ask(path, message, patience))
        time.sleep(0.005)
    return taken


def slowness():
    """How many seconds pass in one of processor time: one, unless the machine has other things to do as well."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < 0.2:
        pass
    return (time.perf_counter() - began) / (time.process_time() - used)


def latencies_of_many(callers, places, seconds, patience=10):
    """The same of many at a time, where one call takes so long that a single caller tells little."""
    taken = {name: [] for name in places}

    def call_on():
        for name, values in latencies(places, seconds, patience, 100 // callers).items():
            taken[name] += values
    threads = [threading.Thread(target=call_on) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def deep(depth):
    """The pid of a process that many others are between, and of their first; which takes the rest with it when killed."""
    reader, writer = os.pipe()
    first = os.fork()
    if first == 0:
        os.setpgid(0, 0)
        for _ in range(depth):
            if os.fork():
                signal.pause()
        os.write(writer, f"{os.getpid()}".encode())
        signal.pause()
    os.close(writer)
    last = int(os.read(reader, 10))
    os.close(reader)
    return last, first
