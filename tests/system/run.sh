#!/usr/bin/env bash
# The system test: a booted Debian whose stock tools are the clients, of the stock daemon first and of ours then.
set -euo pipefail

usage() {
  cat <<'U'
usage: run.sh [--stock] [--broker] [--out DIR] [--with PACKAGE]... [--groups GROUPS] [--files N] [SUITE]

Boots the lab's Debian of SUITE (trixie by default), runs the body of tests against the stock daemon, installs what
`make` built, puts our daemon into the stock one's place while machines run, runs the same body against it, and gives the
stock one back. One line per test; the last line counts.

  --stock    only the stock daemon; nothing is installed
  --broker   under dbus-broker
  --out DIR  where the log and the console of the boot go; they are thrown away otherwise
  --with PACKAGE   the booted Debian has this package, too
  --groups GROUPS  only these of the groups, separated by commas; see README.md
  --files N  how many files very many are, for who copies and cancels them; 20,000 otherwise

Needs the lab (../lab/setup.sh) and, without --stock, a build. Uses sudo when not run as root.
U
}

arguments=("$@") mode=both boot=() out='' suite=trixie groups='' files=20000
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --stock) mode=stock ;;
    --broker) boot+=(--broker) ;;
    --with) boot+=(--with "${2:?--with needs a package}"); shift ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    --groups) groups=${2:?--groups needs names}; shift ;;
    --files) files=${2:?--files needs a number}; shift ;;
    -*) usage >&2; exit 2 ;;
    *) suite=$1 ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB,DEADLINE "$0" "${arguments[@]}"

top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
if [ "$mode" = both ] && [ ! -x "$top/target/release/machined" ]; then
  echo "FAILED: there is no $top/target/release/machined: run make first"
  exit 1
fi
root=$("$top/tests/lab/root.sh" "$suite")
work=$(mktemp -d "${TMPDIR:-/tmp}/system-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
out=${out:-$work/out}
printf '#!/bin/sh\nexport TRAPPED_FILES=%s DEADLINE=%s\nexec /src/tests/system/inside.sh %s%s\n' \
  "$files" "${DEADLINE:-40}" "$mode" "${groups:+ --groups $groups}" >"$work/script"
# Pools on file systems of their own: the booted Debian has no mkfs.btrfs, and an overlay no subvolumes.
mkdir "$work/pools"
for kind in btrfs ext4; do
  PATH=$PATH:/usr/sbin command -v "mkfs.$kind" >/dev/null || continue
  truncate -s 512M "$work/pools/$kind"
  PATH=$PATH:/usr/sbin "mkfs.$kind" -q "$work/pools/$kind" 2>/dev/null
done
status=0
"$top/tests/lab/boot.sh" ${boot[@]+"${boot[@]}"} --in "$top:/src" --in "$root:/lab-root" --in "$work/pools:/pools" "$suite" "$out" "$work/script" 1300 || status=$?
cat "$out/log" || { tail -n 30 "$out/console"; status=1; }
exit "$status"
