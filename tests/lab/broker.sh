#!/usr/bin/env bash
# Adds dbus-broker to a Debian root of root.sh, for boots that want it: boot.sh --broker.
set -euo pipefail

usage() {
  cat <<'U'
usage: broker.sh SUITE

Builds a Debian root of SUITE like root.sh, with the package dbus-broker in it, and prints where it is. The system bus of
a boot stays dbus-daemon, unless boot.sh is told otherwise. Uses sudo when not run as root.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "$@"

here=$(dirname "$(readlink -f "$0")")
root=$("$here/root.sh" "$1")
exec 9>"$root.lock"
flock 9
# The package makes itself the bus of the system and of users, the former but for a link that is there already.
link=$root/etc/systemd/system/dbus.service
[ -L "$link" ] || ln -s /usr/lib/systemd/system/dbus.service "$link"
"$here/apt.sh" "$root" dbus-broker >>"$root.log" 2>&1 9>&- || {
  tail -n 20 "$root.log" >&2
  exit 1
}
rm -f "$root/etc/systemd/user/dbus.service"
echo "$root"
