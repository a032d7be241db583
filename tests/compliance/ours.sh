#!/usr/bin/env bash
# Runs the compliance bodies in /in against our daemon, /build/machined, in the place of the stock one of a booted root
# (tests/lab/boot.sh --in tests/compliance --in target/release:/build --in policy:/policy).
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
systemctl mask --now systemd-machined.service systemd-machined.socket >/dev/null 2>&1
rm -f /run/systemd/machine/io.systemd.Machine*
mkdir -p /usr/local/share/polkit-1/actions
cp /policy/mymachines.policy /usr/local/share/polkit-1/actions
systemd-run --quiet --unit=machined --service-type=notify --property=SyslogFacility=auth /build/machined || exit 1
failed=0
/in/varlink.py --flavour ours || failed=1
/in/varlinkctl.sh --flavour ours || failed=1
if ! systemctl is-active --quiet machined; then
  echo "FAILED  the daemon is still running"
  journalctl -u machined --no-pager | tail -20
  failed=1
fi
exit $failed
