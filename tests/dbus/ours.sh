#!/usr/bin/env bash
# Runs the body in /in against our daemon, /build/machined, in the place of the stock one of a booted root
# (tests/lab/boot.sh --in tests/dbus --in tests/compliance/contract:/contract --in target/release:/build
# --in policy:/policy).
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
/in/open-bus.sh || exit 1
systemctl mask --now systemd-machined.service systemd-machined.socket >/dev/null 2>&1
rm -f /run/systemd/machine/io.systemd.Machine*
mkdir -p /usr/local/share/polkit-1/actions
cp /policy/mymachines.policy /usr/local/share/polkit-1/actions
cat >/run/systemd/system/machined.service <<'U'
[Service]
Type=notify
BusName=org.freedesktop.machine1
ExecStart=/build/machined
U
systemctl daemon-reload
systemctl start machined || exit 1
# The bus is joined in its own time.
timeout 60 sh -c 'until busctl status org.freedesktop.machine1 >/dev/null 2>&1; do sleep 0.05; done' || exit 1
/in/body.py --flavour ours
code=$?
[ $code = 0 ] || journalctl -u machined --no-pager | tail -20
exit $code
