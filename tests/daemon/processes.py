"""Leaders of machines: plain processes, and containers with namespaces of their own."""

import ctypes
import os
import signal
import subprocess

from waiting import until

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_BIND, MS_REC = 0x1000, 0x4000
SYS_CLONE3 = 435


def checked(result):
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


class CloneArguments(ctypes.Structure):
    """struct clone_args, clone(2)."""

    _fields_ = [(name, ctypes.c_uint64) for name in (
        "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls", "set_tid", "set_tid_size")]


def fork_as(pid):
    """Makes a child that does nothing, with this process id, which has to be free."""
    wanted = (ctypes.c_int * 1)(pid)
    arguments = CloneArguments(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(wanted), set_tid_size=1)
    # By a library that gives up no lock, which a child of a bare system call would not have.
    made = ctypes.PyDLL(None, use_errno=True).syscall(SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if made == 0:
        try:
            while True:
                signal.pause()
        finally:
            os._exit(1)
    if made < 0:
        raise OSError(ctypes.get_errno(), "clone3")


def is_gone(pid):
    """Neither running nor a zombie."""
    return not os.path.exists(f"/proc/{pid}")


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_running(pid):
    return state(pid) not in (None, "Z", "X")


def pidfd_id(pid):
    """The number that tells a process from all others; 0 before Linux 6.9, where all pidfds have the same."""
    pidfd, own = os.pidfd_open(pid), os.pidfd_open(1)
    try:
        one, other = os.fstat(pidfd), os.fstat(own)
        return one.st_ino if pid == 1 or one.st_ino != other.st_ino else 0
    finally:
        os.close(pidfd)
        os.close(own)


class Process:
    """A child that does nothing, or what `body` does."""

    def __init__(self, body=None):
        if body is None:
            self.pid = os.posix_spawn("/bin/sleep", ["sleep", "infinity"], os.environ)
            return
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(reader)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                body()
                os.write(writer, b"x")
                os.close(writer)
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert pipe.read(1) == b"x", "a child could not get ready"

    def tell(self, number):
        """Sends it a signal."""
        if self.pid:
            os.kill(self.pid, number)

    def kill(self):
        """Ends it, and reaps it: when this returns there is no such process."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def reap(self):
        """Waits for it to end by itself; returns the signal (negative) or the exit code."""
        pid, told = self.pid, []

        def ended():
            found, status = os.waitpid(pid, os.WNOHANG)
            told.append(status)
            return found

        until(ended, f"the end of process {pid}")
        self.pid = 0
        return os.waitstatus_to_exitcode(told[-1])


def zombie():
    """A child that has ended and is not reaped."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return child


def batch(commands):
    """Runs commands of ip(8) in the host's network."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, timeout=60)


def host(*words):
    """Runs a command of ip(8) in the host's network."""
    batch([" ".join(map(str, words))])


def up(link, how=""):
    """Commands of ip(8) that bring an interface up without an address of its link. Two: older kernels bring it up first."""
    return [f"link set {link} addrgenmode none", f"link set {link} {how} up"]


class Container:
    """A process in a user, network and PID namespace of its own. The host has a pair of interfaces that leads there, and a
    route for each address that is added by these methods, over that or the bridge that it is a port of."""

    def __init__(self, *addresses, bridge=None):
        command = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child",
                   "sleep", "infinity"]
        # What it says of its own end is not worth reading.
        self.outer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        children = f"/proc/{self.outer.pid}/task/{self.outer.pid}/children"

        def inner():
            with open(children) as file:
                pids = file.read().split()
            if not pids:
                return None
            with open(f"/proc/{pids[0]}/comm") as file:
                return int(pids[0]) if file.read() == "sleep\n" else None

        self.pid = until(inner, "the container")
        self.end = f"c{self.pid}"
        host("link add", self.end, "type veth peer name host0 netns", self.pid)
        batch(up(self.end, f"master {bridge}" if bridge else ""))
        self.way = bridge or self.end
        self.ip("link set lo up", *up("host0"))
        self.add(*addresses)

    def ip(self, *commands, force=False):
        """Runs commands of ip(8) in its network."""
        nsenter = ["nsenter", "--target", str(self.pid), "--net", "ip", *(["-force"] if force else []), "-batch", "-"]
        subprocess.run(nsenter, input="\n".join(commands), text=True, check=not force, timeout=60,
                       stderr=subprocess.DEVNULL if force else None)

    def add(self, *addresses):
        batch([f"route replace {address.split('/')[0]} dev {self.way}" for address in addresses])
        self.ip(*(f"address add {address} dev lo nodad" if ":" in address else f"address add {address} dev lo"
                  for address in addresses))

    def remove(self, *addresses):
        self.ip(*(f"address delete {address} dev lo" for address in addresses))

    def kill(self):
        if self.outer.poll() is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.outer.wait()
