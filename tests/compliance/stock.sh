#!/usr/bin/env bash
# Runs the compliance bodies in /in against the stock daemon of a booted root (tests/lab/boot.sh --in tests/compliance).
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
flavour=stock$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
failed=0
/in/varlink.py --flavour "$flavour" || failed=1
/in/varlinkctl.sh --flavour "$flavour" || failed=1
exit $failed
