#!/usr/bin/env bash
# Lets everybody on the system bus of a throw-away root call org.freedesktop.machine1: what is tested is the daemon, and
# what it refuses itself.
set -euo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
cat >/etc/dbus-1/system.d/zz-tests.conf <<'X'
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <policy context="default">
    <allow send_destination="org.freedesktop.machine1"/>
  </policy>
</busconfig>
X
busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
