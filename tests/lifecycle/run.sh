#!/usr/bin/env bash
# The tests of the daemon under systemd as process 1: runs inside a throw-away boot (tests/lab/boot.sh --in .:/src), with
# the project at /src, built, and installs it there. One line per test; the last line counts.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/src/tests/daemon
[ $# -gt 0 ] || set -- handover together units left_over hanging crashes polkit journal bus
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
# What installing says to do, where polkit looks in one place only.
link=$(sed -n 's/^ *ln -s /ln -s /p' /tmp/install)
[ -z "$link" ] || $link || exit 1
for program; do
  echo "== $program"
  timeout -k 5 600 python3 "/src/tests/lifecycle/$program.py" >"/tmp/$program.out" 2>&1 </dev/null || {
    status=$?
    grep -q '^FAILED' "/tmp/$program.out" || echo "FAILED $program ended with status $status" >>"/tmp/$program.out"
  }
  cat "/tmp/$program.out"
done | tee /tmp/all
systemctl enable --quiet machined && systemctl restart machined && systemctl is-active --quiet machined.service
is_running=$?
/src/scripts/install.sh uninstall >/tmp/uninstalled 2>&1
if [ $is_running != 0 ] || grep -v '^removed ' /tmp/uninstalled || pgrep -ax machined || pgrep -ax userdb-machined; then
  echo 'FAILED it is uninstalled while it runs, and complains of nothing'
else
  echo 'ok it is uninstalled while it runs, and complains of nothing'
fi | tee -a /tmp/all
passed=$(grep -c '^ok ' /tmp/all) failed=$(grep -c '^FAILED' /tmp/all)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
