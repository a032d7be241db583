"""Figures of images over D-Bus: listed, cloned, removed, and what is in a raw one. Both daemons take turns under one name."""

import pathlib
import shutil
import statistics
import subprocess
import time

import world
from bus import DROP_IN, Bus, Taking
from figures import MS, figure

POOL = pathlib.Path("/var/lib/machines")
# A raw image with ext4, made where there is mkfs.ext4.
DISK = pathlib.Path("/build/disk.raw")
MANY, FILES = 1000, 10_000


class Client(Bus):
    def __init__(self, daemon):
        self.daemon = daemon
        self.process = subprocess.Popen([world.WORK / "images"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        """The time of the call that is answered: the original's children hold an image for a moment after their answer."""
        until = time.monotonic() + 30
        while True:
            try:
                return super().ask(*words)
            except RuntimeError as error:
                if "EBUSY" not in str(error) or time.monotonic() > until:
                    raise RuntimeError(f"{self.daemon.name}: {' '.join(words)}: {error}") from error


def tree():
    """An image of many files, of all sizes from none to 4 KiB."""
    for number in range(FILES):
        directory = POOL / "tree" / str(number // 100)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / str(number)).write_bytes(b"x" * (number % 4096))


def files_of(image):
    return sum(1 for path in (POOL / image).rglob("*") if path.is_file())


def images(options, *_):
    world.run("gcc", "-O2", "-o", world.WORK / "images", "/in/images.c", "-lsystemd")
    world.run("systemctl", "stop", "bench-machined.service")
    daemons = Taking("ours"), Taking("stock")
    lists, clones, removals, insides, shown = ({daemon.name: [] for daemon in daemons} for _ in range(5))
    POOL.mkdir(parents=True, exist_ok=True)
    tree()
    shutil.copy(DISK, POOL / "disk.raw")
    for number in range(MANY - 2):
        (POOL / f"many-{number}").mkdir()
    try:
        for turn in range(options.rounds):
            for daemon in daemons:
                daemon.take()
                client = Client(daemon)
                for again in range(6):
                    took, listed = client.ask("list")
                    # The host is one.
                    if listed != MANY + 1:
                        raise RuntimeError(f"{daemon.name} listed {listed}")
                    if again:
                        lists[daemon.name].append(took * MS)
                clones[daemon.name].append(client.ask("clone", "tree", "copy")[0] * MS)
                if turn == 0 and files_of("copy") != FILES:
                    raise RuntimeError(f"{daemon.name} copied {files_of('copy')} files")
                removals[daemon.name].append(client.ask("remove", "copy")[0] * MS)
                if (POOL / "copy").exists():
                    raise RuntimeError(f"{daemon.name} left the copy")
                for _ in range(3):
                    took, fields = client.ask("os-release", "disk")
                    if fields != 2:
                        raise RuntimeError(f"{daemon.name} found {fields} fields in the raw image")
                    insides[daemon.name].append(took * MS)
                    began = time.perf_counter()
                    printed = world.run("machinectl", "--no-pager", "image-status", "disk")
                    shown[daemon.name].append((time.perf_counter() - began) * MS)
                    if "bench 1" not in printed:
                        raise RuntimeError(f"{daemon.name}: image-status: {printed}")
                client.close()
        for title, taken, target in (
            (f"ListImages of {MANY}", lists, 0.5),
            (f"CloneImage of {FILES} files", clones, 1),
            (f"RemoveImage of {FILES} files", removals, 1),
            ("GetImageOSRelease of a raw ext4", insides, 0.1),
        ):
            figure("images", title, "ms", taken["ours"], taken["stock"], target=target)
        figure("images", "machinectl image-status of a raw ext4", "ms", shown["ours"], shown["stock"])
        # What machinectl itself takes, which asks the same of both, is most of ours.
        least = min(statistics.median(insides["ours"]), statistics.median(shown["ours"]))
        print(f"images: of machinectl's {statistics.median(shown['ours']):.3g} ms the image takes {least:.3g}", flush=True)
    finally:
        for path in POOL.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        DROP_IN.unlink(missing_ok=True)
        world.run("systemctl", "daemon-reload")
        world.run("systemctl", "restart", "systemd-machined.service")
        world.run("systemctl", "start", "bench-machined.service")
