#!/usr/bin/env bash
# In a booted Debian with its libsystemd: the same test body against both libraries, and processes in real machines.
# /in is tests/, /include the header, /build the library.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
export LD_LIBRARY_PATH=/build
passed=0 failed=0
count() { passed=$((passed + $(grep -c '^ok ' "$1"))) failed=$((failed + $(grep -c '^FAILED' "$1"))); }
run() { # NAME COMMAND...
  local name=$1 rc=0
  shift
  "$@" >"/tmp/$name.said" 2>&1 || rc=$?
  [ $rc = 0 ] || grep -q '^FAILED' "/tmp/$name.said" || echo "FAILED $name ended with status $rc" >>"/tmp/$name.said"
  echo "== $name"
  cat "/tmp/$name.said"
  count "/tmp/$name.said"
}
private() { unshare --mount --propagation private sh -c 'mount -t tmpfs tmpfs /run; exec "$@"' sh "$@"; }

version=$(pkg-config --modversion libsystemd | sed 's/[^0-9].*//')
sources='/in/c/same.c /in/c/group.c /in/nss/check.c /in/nss/world.c /in/nss/process.c'
# shellcheck disable=SC2086
compile() { gcc -std=gnu11 -g -O2 -Wall -Wextra -Werror -pthread "$@"; }
# shellcheck disable=SC2086
run compile-stock compile -DSYSTEMD="$version" $sources -o /tmp/stock -lsystemd
# shellcheck disable=SC2086
run compile-ours compile -I/include $sources -o /tmp/ours /build/libmachine.so
run "libsystemd-$version" private /tmp/stock
run libmachine private /tmp/ours
# What the tests said of one they must say of the other.
run same diff <(grep -E '^(ok|FAILED)' "/tmp/libsystemd-$version.said") <(grep -E '^(ok|FAILED)' /tmp/libmachine.said)

# Machines of the original, its records, real groups: more processes than machines, and fewer.
run compile-batch compile -I/include /in/c/batch.c -o /tmp/batch /build/libmachine.so
# Where it has no socket that starts it.
systemctl start systemd-machined
socket=/run/systemd/machine/io.systemd.Machine
for i in 1 2 3; do
  systemd-run --quiet --slice=machine.slice --unit="box$i" -p Delegate=yes sh -c \
    'mkdir /sys/fs/cgroup/machine.slice/'"box$i"'.service/inner; (echo $$ >/sys/fs/cgroup/machine.slice/'"box$i"'.service/inner/cgroup.procs; exec sleep 1000) & sleep 1000 & exec sleep 1000'
  for _ in $(seq 600); do
    leader=$(systemctl show -P MainPID "box$i")
    [ "$(cat /sys/fs/cgroup/machine.slice/box$i.service/{,inner/}cgroup.procs 2>/dev/null | wc -l)" = 3 ] && break
    sleep 0.1
  done
  varlinkctl call $socket io.systemd.Machine.Register "{\"name\":\"box$i\",\"class\":\"container\",\"leader\":$leader}" >/dev/null ||
    varlinkctl call $socket io.systemd.Machine.Register "{\"name\":\"box$i\",\"class\":\"container\",\"leaderProcessId\":{\"pid\":$leader}}"
done
run batch /tmp/batch 9
for i in $(seq 1 200); do printf 'NAME=many%s\nCLASS=vm\n' "$i" >/run/systemd/machines/many"$i"; done
run batch-one-by-one /tmp/batch 9
echo "$passed passed, $failed failed"
[ $failed = 0 ]
