#!/usr/bin/env bash
# Runs the body in /in against the stock daemon of a booted root (tests/lab/boot.sh --in tests/dbus
# --in tests/compliance/contract:/contract).
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
/in/open-bus.sh || exit 1
exec /in/body.py --flavour "stock$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
