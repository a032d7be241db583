#!/usr/bin/env bash
# Figures of ours beside the original, taken in one boot of Debian 13 and printed as ratios.
set -euo pipefail

usage() {
  cat <<'U'
usage: run.sh [--groups LIST] [--rounds N] [--machines N] [--out DIR] [--check]

Builds the daemon and the NSS module as they are released, boots Debian 13 with its stock systemd, runs both daemons
there side by side, and prints a table: what was measured, ours, the original's (or that of `hosts: files`), the ratio,
the target, and whether it is met. The same goes to DIR/figures.json. README.md says how it is measured.

  --groups LIST  which groups, separated by commas; all by default:
                 lookup    names of machines, of none, and of addresses, through getaddrinfo and getnameinfo
                 dlopen    loading the module
                 register  Register on a kept connection
                 users     Register and RegisterMachine as users call them: a new connection each, and leaders that have
                           namespaces and scopes of their own; at the 10th, the 1000th and the 10,000th machine
                 many      List, memory, restart and latency with many machines
                 stopped   a lookup while the daemon is stopped
                 bus       both over D-Bus, one after the other under the one name: registering, listing, restart,
                           the end of many, and the limit of descriptors
                 attack    what root and another user wait while eight users attack, beside a server that only echoes
                 inside    terminals, shells and copies in containers, over D-Bus likewise; beside cp as well
                 images    likewise: images listed, cloned and removed, and what is in a raw one
  --rounds N     how often every measurement is repeated, alternating (7)
  --machines N   how many machines are many (1000)
  --out DIR      where figures.json and the logs of the boot go (target/bench)
  --check        end with status 1 if a target is missed; without it, a miss is only told

Needs cargo, a C compiler, mkfs.ext4 and the lab (../lab/setup.sh); uses sudo when not run as root. Takes some ten minutes.
U
}

here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../..")
arguments=() out=$top/target/bench check=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --groups | --rounds | --machines) arguments+=("$1" "${2:?$1 needs a value}"); shift ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    --check) check=yes ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
# A wrong option is told before anything is built.
"$here/measure.py" --dry-run "${arguments[@]}"
mkdir -p "$out"
out=$(readlink -f "$out")
work=$(mktemp -d "${TMPDIR:-/tmp}/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT

(cd "$top" && cargo build --quiet --release --locked -p machined -p image-reader)
(cd "$top/nss-mymachines" && cargo build --quiet --release --locked --target-dir "$work/target")
mkdir "$work/build"
cp "$top/target/release/machined" "$top/target/release/machined-image-reader" "$work/build/"
mkdir -p "$work/disk/etc"
printf 'ID=bench\nPRETTY_NAME="bench 1"\n' >"$work/disk/etc/os-release"
PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -d "$work/disk" "$work/build/disk.raw" 64M >/dev/null
"$top/nss-mymachines/link.sh" "$work/target/release/libnss_mymachines.a" "$work/build/libnss_mymachines.so.2"

{
  echo '#!/bin/bash'
  printf '%q ' exec /in/measure.py "${arguments[@]}"
  echo
} >"$work/script"
rm -f "$out/figures.json"
root=$("$here/../lab/root.sh" trixie)
status=0
"$here/../lab/boot.sh" --in "$here" --in "$here/../daemon:/daemon" --in "$work/build:/build" --in "$here/../system:/system" --in "$root:/lab-root" trixie "$out" "$work/script" 3000 || status=$?
if [ "$status" != 0 ] || [ ! -e "$out/figures.json" ]; then
  echo "the measurement ended with status $status; what it printed:" >&2
  tail -n 40 "$out/log" >&2
  exit 1
fi
"$here/report.py" ${check:+--check} "$out/figures.json"
