#!/usr/bin/env bash
# systemd's own test of nss-mymachines and of the hook, as Debian packages it, against the original first and against ours then, in
# a booted sid (tests/lab/boot.sh --with systemd-tests --in .:/src).
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh

own=$(dpkg-query --listfiles systemd-tests | grep '/TEST-13-NSPAWN\.nss-mymachines\.sh$')
[ -n "$own" ] || { echo 'FAILED systemd-tests has no test of nss-mymachines any more'; exit 1; }
# What it makes its containers of.
ln -s machine-template /usr/share/TEST-13-NSPAWN-container-template
systemctl start systemd-resolved.service || exit 1

passes() { timeout 200 bash "$own" >/tmp/own 2>&1 || { tail -n 30 /tmp/own; return 1; }; }
main() { readlink "/proc/$(systemctl show --property=MainPID --value systemd-machined.service)/exe"; }

machinectl list >/dev/null
check 'the original is in charge' [ "$(main)" = /usr/lib/systemd/systemd-machined ]
check 'the original passes its own test' passes
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
systemctl enable --quiet machined && systemctl restart machined
machinectl list >/dev/null
check 'ours is in charge' [ "$(main)" = /usr/local/sbin/machined ]
check 'and its module is the one that is loaded' says '/usr/local/.*libnss_mymachines' ldconfig -p
check 'ours passes the test of the original' passes
check 'the hook that was asked is ours' says resolve-machined varlinkctl info /run/systemd/resolve.hook/io.systemd.Machine
finish
