#!/usr/bin/env bash
# The tests of the daemon under systemd as process 1: runs inside a throw-away boot (tests/lab/boot.sh --in .:/src),
# with the project at /src, built. One line per test; the last line counts.
set -uo pipefail
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/src/tests/daemon
# Both want to be the same service; the hand-over has tests of its own.
systemctl mask --now systemd-machined.service systemd-machined.socket >/dev/null 2>&1
rm -f /run/systemd/machine/io.systemd.Machine*
mkdir -p /usr/local/share/polkit-1/actions
cp /src/policy/mymachines.policy /usr/local/share/polkit-1/actions
cp /src/policy/mymachines.conf /etc/dbus-1/system.d
busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
[ $# -gt 0 ] || set -- units polkit
for program; do
  echo "== $program"
  timeout -k 5 300 python3 "/src/tests/lifecycle/$program.py" >"/tmp/$program.out" 2>&1 </dev/null || {
    status=$?
    grep -q '^FAILED' "/tmp/$program.out" || echo "FAILED $program ended with status $status" >>"/tmp/$program.out"
  }
  cat "/tmp/$program.out"
done | tee /tmp/all
passed=$(grep -c '^ok ' /tmp/all) failed=$(grep -c '^FAILED' /tmp/all)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
