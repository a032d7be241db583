#!/usr/bin/env bash
# Tests of the daemon, from outside: real processes, namespaces, control groups and files, and nothing of the host's.
set -uo pipefail

usage() {
  cat <<'U'
usage: run.sh [--machined FILE] [--in DIR] [--keep] [PROGRAM...]

Runs PROGRAM (life, restart, misuse, ...; all by default), each in mount, PID, network and control group namespaces of
its own with a tmpfs on /run: as root by unshare(1), in a user namespace otherwise. The host's /run is not touched.
Needs python3 and iproute2. One line per test; the last line counts.

  --machined FILE  the daemon to test; by default it is built (cargo build --release)
  --in DIR         where the programs are; by default they are those of this directory
  --keep           keep what the daemons logged, and say where it is
U
}

here=$(dirname "$(readlink -f "$0")")
machined='' keep='' in=$here programs=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --machined) machined=$(readlink -f "${2:?--machined needs a file}"); shift ;;
    --in) in=$(readlink -f "${2:?--in needs a directory}"); shift ;;
    --keep) keep=yes ;;
    -*) usage >&2; exit 2 ;;
    *) programs+=("$1") ;;
  esac
  shift
done
[ ${#programs[@]} -gt 0 ] || programs=(terminals bus restart crashes misuse operations life full users names addresses guests hostile service machine1 closing published images moves subscribe own inside bounds)

if [ -z "$machined" ]; then
  (cd "$here/../.." && cargo build --quiet --release --locked -p machined) || exit 1
  machined=$(readlink -f "${CARGO_TARGET_DIR:-$here/../../target}/release/machined")
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/daemon-tests.XXXXXX")
chmod 755 "$work"

# The control group that the tests take for the root of all.
unified=''
for mount in /sys/fs/cgroup /sys/fs/cgroup/unified; do
  [ "$(stat -f -c %T "$mount" 2>/dev/null)" = cgroup2fs ] && unified=$mount && break
done
tidy() {
  if [ -n "$unified" ]; then
    find "$unified/${work##*/}" -depth -type d -exec rmdir {} \; 2>/dev/null
  fi
  if [ -n "$keep" ]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap tidy EXIT

namespace=(unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net --cgroup)
[ "$(id -u)" = 0 ] || namespace+=(--user --map-root-user)

# The program as a child of a shell: process 1 has to reap what loses its parent.
# shellcheck disable=SC2016
inside='
  ip link set lo up
  mount -t tmpfs tmpfs /run || exit 1
  if [ -n "$GROUP" ] && mount --bind "$GROUP" "$UNIFIED"; then export CGROUP="$UNIFIED"; fi
  "$@"
  exit $?'

run() {
  local program=$1 group="$unified/${work##*/}/$1" status=0
  mkdir "$work/$program"
  (
    { [ -n "$unified" ] && mkdir -p "$group" && echo "$BASHPID" >"$group/cgroup.procs"; } 2>/dev/null || group=''
    MACHINED=$machined LOGS=$work/$program UNIFIED=$unified GROUP=$group PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here:$here/../dbus \
      exec timeout -k 5 $((${DEADLINE:-120} * 5)) "${namespace[@]}" sh -c "$inside" sh python3 "$in/$program.py"
  ) >"$work/$program/out" 2>&1 </dev/null || status=$?
  # A program that ends badly without a word is told.
  if [ "$status" != 0 ] && ! grep -q '^FAILED' "$work/$program/out"; then
    echo "FAILED $program ended with status $status" >>"$work/$program/out"
  fi
}

# Two at a time: the machine may be small.
running=0
for program in "${programs[@]}"; do
  [ "$running" -lt 2 ] || { wait -n; running=$((running - 1)); }
  run "$program" &
  running=$((running + 1))
done
wait

for program in "${programs[@]}"; do
  echo "== $program"
  cat "$work/$program/out"
done
count() { for program in "${programs[@]}"; do cat "$work/$program/out"; done | grep -c "^$1"; }
# What is skipped has not passed.
passed=$(count 'ok ') failed=$(($(count FAILED) + $(count SKIPPED)))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
