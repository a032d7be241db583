#!/usr/bin/env bash
# The RPM packages with their scripts, put in and taken out: runs inside the boot that rpm.sh --test makes.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see rpm.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh

links() { find /etc/systemd -lname '*machined*' -printf '%P -> %l\n' | sort; }
no_new_link() { links | diff /tmp/links -; }
# Those that fail in the lab without any of this do not count.
failed_units() { systemctl --failed --no-legend --plain | awk '{ print $1 }' | sort | diff /tmp/failed -; }
is_listed() { machinectl list --no-legend | grep -q '^box '; }
# The kernel keeps 15 bytes of a name. A call has the original started.
serves() {
  local who
  machinectl list >/dev/null 2>&1
  who=$(busctl --system status org.freedesktop.machine1 2>/dev/null | sed -n 's/^Comm=//p')
  [ "$who" = "$1" ] || { echo "it is '$who'"; return 1; }
}
loads_ours() { says '^ok,module,' mymachines doctor --format csv --no-legend; }
box_runs() { [ "$(systemctl show --value -p MainPID box)" = "$box" ] && systemctl --quiet is-active box; }
# What they depend on is in Debian's packages.
packages() { rpm --nodeps "$@"; }
ours='mymachines nss-mymachines-rs libmachine libmachine-devel'

links >/tmp/links
systemctl --failed --no-legend --plain | awk '{ print $1 }' | sort >/tmp/failed
mkdir -p /var/tmp/box
cp -a /usr/share/machine-template/. /var/tmp/box/
systemd-run --quiet --unit=box --property=Delegate=yes systemd-nspawn -q --keep-unit --register=yes -D /var/tmp/box --machine=box /usr/sbin/init
becomes is_listed
box=$(systemctl show --value -p MainPID box)
check 'the original has a container' is_listed

check 'the packages go in beside the original, with their scripts' packages -i /rpms/*.rpm
check 'nothing of ours runs' not pgrep -x machined
check 'the original serves' serves systemd-machine
check 'no link was made' no_new_link
check 'glibc loads our module' loads_ours
check 'the place is taken' systemctl enable --quiet --now machined
check 'by ours' becomes serves machined
check 'the container is listed' becomes is_listed
before=$(systemctl show --value -p MainPID machined)
check 'the packages are upgraded' packages -U /next/*.rpm
check 'the daemon is a new one' sh -c "[ \$(systemctl show --value -p MainPID machined) != $before ] && systemctl --quiet is-active machined"
check 'of ours' becomes serves machined
check 'the container is listed after it' becomes is_listed
check 'and runs on' box_runs
check 'the module is still ours' loads_ours
# shellcheck disable=SC2086
check 'they are as they were packed' rpm -V --nodeps $ours
# shellcheck disable=SC2086
check 'they are removed' packages -e $ours
check 'nothing of ours runs any more' not pgrep -x machined
check 'no link is left' no_new_link
check 'the original has its place back' becomes serves systemd-machine
check 'with the container' becomes is_listed
check 'which has run all the while' box_runs
check 'nothing failed' failed_units
check 'nothing is left in /run' not test -e /run/machined
check 'and nothing elsewhere' sh -c '! find /usr/bin /usr/sbin /usr/lib /usr/lib64 /usr/share /usr/include /etc \( -name "*mymachines*" -o -name "machined*" \
  -o -name "userdb-machined*" -o -name "resolve-machined*" -o -name "libmachine*" \) 2>/dev/null | grep -v "libnss_mymachines\|libnss-mymachines\|nss-mymachines\|org.freedesktop" | grep .'
finish
