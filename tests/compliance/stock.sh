#!/usr/bin/env bash
# Runs the compliance bodies in /in against the stock daemon of a booted root (tests/lab/boot.sh --in tests/compliance).
set -uo pipefail
flavour=stock$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
failed=0
/in/varlink.py --flavour "$flavour" || failed=1
/in/varlinkctl.sh --flavour "$flavour" || failed=1
exit $failed
