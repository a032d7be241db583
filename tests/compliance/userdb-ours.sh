#!/usr/bin/env bash
# Runs the bodies of userdb in /in against ours, installed from /src as an administrator does it, in a booted root
# (tests/lab/boot.sh --in tests/compliance --in .:/src).
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
systemctl mask --now systemd-machined.service systemd-machined.socket >/dev/null 2>&1
/src/scripts/install.sh install >/dev/null || exit 1
systemctl start machined.socket machined.service || exit 1
failed=0
/in/userdb.py --flavour ours || failed=1
/in/userdb.sh --flavour ours || failed=1
# The last case of userdb.sh kills machined, which comes back.
for unit in userdb-machined.socket userdb-machined.service; do
  if ! systemctl is-active --quiet $unit; then
    echo "FAILED  $unit is still active"
    failed=1
  fi
done
[ $failed = 0 ] || journalctl -u machined.service -u userdb-machined.service -u userdb-machined.socket --no-pager | tail -40
exit $failed
