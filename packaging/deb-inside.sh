#!/usr/bin/env bash
# The Debian packages, put in and taken out: runs inside the boots that deb-test.sh makes.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see deb-test.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
export DEBIAN_FRONTEND=noninteractive
multiarch=$(dpkg --print-architecture | sed 's/amd64/x86_64/;s/arm64/aarch64/')-linux-gnu
module=/usr/lib/$multiarch/libnss_mymachines.so.2

links() { find /etc/systemd/system -lname '*machined*' -printf '%P -> %l\n' | sort; }
# Those that fail in the lab without any of this do not count.
failed_units() { systemctl --failed --no-legend --plain | awk '{ print $1 }' | sort | diff /tmp/failed -; }
is_listed() { machinectl list --no-legend | grep -q '^box '; }
# Missing files, and those with other contents: dpkg knows no more of them.
is_whole() { dpkg -V 2>/dev/null | diff /tmp/verified -; }
# The kernel keeps 15 bytes of a name.
# A call has the original started.
who_serves() { machinectl list >/dev/null 2>&1; busctl --system status org.freedesktop.machine1 2>/dev/null | sed -n 's/^Exe=\|^Comm=//p' | head -n 1; }
serves() { [ "$(who_serves)" = "$1" ] || { who_serves; return 1; }; }
loads_ours() { says '^ok,module,' mymachines doctor --format csv --no-legend; }
box_runs() { [ "$(systemctl show --value -p MainPID box)" = "$box" ] && systemctl --quiet is-active box; }

dpkg -V 2>/dev/null >/tmp/verified
links >/tmp/links
systemctl --failed --no-legend --plain | awk '{ print $1 }' | sort >/tmp/failed
# As on a host with a network.
sed -i 's/^hosts:.*/hosts: files mymachines dns/' /etc/nsswitch.conf
cp /etc/nsswitch.conf /tmp/nsswitch
mkdir -p /var/tmp/box
cp -a /usr/share/machine-template/. /var/tmp/box/
systemd-run --quiet --unit=box --property=Delegate=yes systemd-nspawn -q --keep-unit --register=yes -D /var/tmp/box --machine=box /usr/sbin/init
becomes is_listed
box=$(systemctl show --value -p MainPID box)
check 'the original has a container' is_listed

check 'the packages go in beside the original' dpkg -i /debs/machined_*.deb /debs/mymachines-tools_*.deb /debs/libmachine0_*.deb /debs/libmachine-dev_*.deb
check 'which is neither replaced nor joined' sh -c '! systemctl --quiet is-active machined && ! systemctl --quiet is-enabled machined'
check 'nothing of ours runs' not pgrep -x machined
check 'the original serves' serves systemd-machine
check 'and lists the container' is_listed
check 'no link was made' sh -c 'find /etc/systemd/system -lname "*machined*" -printf "%P -> %l\n" | sort | diff /tmp/links -'
check 'no file of a package was changed' is_whole
check 'the tool lists the container' says '^box ' mymachines list --no-legend
echo '#include <machine.h>
int main(void) { char **names; return sd_get_machine_names(&names) == 1 ? 0 : 1; }' >/tmp/one.c
check 'a program is built with libmachine-dev' sh -c 'cc -o /tmp/one /tmp/one.c $(pkg-config --cflags --libs libmachine)'
check 'and runs with libmachine0' /tmp/one
check 'the pages are there' sh -c 'ls /usr/share/man/man8/machined.8.gz /usr/share/man/man5/machine-record.5.gz /usr/share/man/man1/mymachines.1.gz'

check 'the module comes in the place of the original package' dpkg -i /debs/libnss-mymachines-rs_*.deb
check 'which is removed' sh -c '! dpkg -s libnss-mymachines 2>/dev/null | grep -q "^Status: install ok installed"'
check 'glibc loads ours' loads_ours
check 'hosts, passwd and group ask it' sh -c 'cat /etc/nsswitch.conf; grep -c "^\(hosts\|passwd\|group\):.*mymachines" /etc/nsswitch.conf | grep -qx 3'

check 'the place is taken' systemctl enable --quiet --now machined
check 'by ours' becomes serves machined
check 'the container is listed' becomes is_listed
check 'and runs on' box_runs
check 'nothing failed' failed_units
systemctl start --quiet dbus
before=$(systemctl show --value -p MainPID machined)
check 'the packages are upgraded' dpkg -i /next/machined_*.deb /next/mymachines-tools_*.deb /next/libmachine0_*.deb /next/libmachine-dev_*.deb /next/libnss-mymachines-rs_*.deb
check 'the daemon is a new one' sh -c "[ \$(systemctl show --value -p MainPID machined) != $before ] && systemctl --quiet is-active machined"
check 'of ours' becomes serves machined
check 'the container is listed after it' becomes is_listed
check 'and runs on after it' box_runs
check 'no file of a package was changed by it' is_whole
check 'glibc loads the new module' loads_ours
check 'what this version has more is enabled with it' systemctl enable --quiet --now machined
check 'and runs' systemctl --quiet is-active resolve-machined.socket userdb-machined.socket
check 'and the container' box_runs

check 'machined is removed' dpkg -r machined
check 'nothing of ours runs any more' not pgrep -x machined
check 'the original has its place back' becomes serves systemd-machine
check 'with the container' becomes is_listed
check 'which runs on' box_runs
check 'no link is left' sh -c 'find /etc/systemd/system -lname "*machined*" -printf "%P -> %l\n" | sort | diff /tmp/links -'
check 'nothing failed by that' failed_units
check 'nothing is left in /run' not test -e /run/machined
check 'it is installed again' dpkg -i /next/machined_*.deb
check 'and enabled' systemctl enable --quiet --now machined
check 'serves again' becomes serves machined
check 'all are purged' dpkg -P machined mymachines-tools libmachine-dev libmachine0 libnss-mymachines-rs
check 'the original serves again' becomes serves systemd-machine
check 'and has the container' becomes is_listed
for deb in /stock/libnss-mymachines_*.deb; do
  if [ -e "$deb" ]; then
    check 'the original module comes back' dpkg -i "$deb"
    check 'in its place' test -f "$module"
    check 'nsswitch.conf is as it was' sh -c 'for word in hosts passwd group; do grep "^$word:" /tmp/nsswitch; done >/tmp/a; for word in hosts passwd group; do grep "^$word:" /etc/nsswitch.conf; done >/tmp/b; diff /tmp/a /tmp/b'
  fi
done
check 'no file of any package is changed at the end' is_whole
check 'nothing of ours is left' sh -c '! find / -xdev \( -path /proc -o -path /src -o -path /debs -o -path /next -o -path /var/tmp -o -path /tmp \) -prune -o \( -name "*mymachines*" -o -name "machined*" -o -name "userdb-machined*" -o -name "resolve-machined*" \) -print | grep -v "libnss.mymachines\|nss-mymachines\|/var/lib/dpkg/\|/var/log\|/sys/\|/var/lib/systemd/deb-systemd" | grep .'
check 'the container has run all the while' box_runs
finish
