"""Guests of qemu without a disk: it is the network card's own program (iPXE) that leases an address, and runs what it is served."""

import subprocess
import tempfile

import processes
import world


def guest(case, number, bridge="guests0"):
    """A guest whose tap is a port of the bridge, or a network of its own, and its hardware address. It ends with the test."""
    tap, mac = f"tap{number}", f"52:54:00:00:00:{number:02x}"
    processes.batch([f"tuntap add {tap} mode tap", *processes.up(tap, f"master {bridge}" if bridge else "")])
    case.addCleanup(processes.host, "link delete", tap)
    with open(tempfile.mkstemp(dir=world.LOGS)[1], "w") as log:
        emulator = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-nographic", "-nodefaults",
             "-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no",
             "-device", f"virtio-net-pci,netdev=n,mac={mac},bootindex=1"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    case.addCleanup(emulator.wait)
    case.addCleanup(emulator.kill)
    return emulator, mac
