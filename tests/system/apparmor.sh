#!/usr/bin/env bash
# A program that AppArmor confines with the abstraction of the name service, in a kernel that enforces it: runs inside a machine of
# its own (vm.sh), with the project at /src, built, and installs it there. One line per test; the last line counts.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see vm.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
check 'the kernel has AppArmor, and it is on' grep -qx Y /sys/module/apparmor/parameters/enabled
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
rules=/etc/apparmor.d/abstractions/nameservice.d/mymachines
check 'installing puts our rules where the abstraction includes them' test -s $rules
systemctl enable --now --quiet machined
# That of the original would answer in the place of ours, which cannot be loaded.
rm -f /usr/lib/x86_64-linux-gnu/libnss_mymachines.so.2
ldconfig
sed -i 's/^hosts:.*/hosts: mymachines files/; s/^passwd:.*/passwd: files mymachines/' /etc/nsswitch.conf

systemd-run --quiet --unit=web --service-type=exec unshare --net --user --map-users 0:700000:65536 --map-groups 0:700000:65536 sleep infinity
leader=$(systemctl show --value --property=MainPID web)
is_mapped() { grep -q 700000 "/proc/$leader/uid_map"; }
becomes is_mapped
ip link add ve-web type veth peer name host0 netns "$leader"
ip addr add 10.91.1.1/24 dev ve-web && ip link set ve-web up
nsenter -t "$leader" -n ip addr add 10.91.1.2/24 dev host0
nsenter -t "$leader" -n ip link set host0 up
check 'a machine is registered' becomes mymachines register web --leader "$leader" --interface ve-web
check 'its name resolves' becomes says '^10.91.1.2 ' getent ahosts web

install -m755 /usr/bin/getent /usr/local/bin/reader
cat >/etc/apparmor.d/lab-reader <<'P'
abi <abi/4.0>,
include <tunables/global>
profile lab-reader /usr/local/bin/reader {
  include <abstractions/base>
  include <abstractions/nameservice>
  /usr/local/bin/reader mr,
}
P
load() { apparmor_parser --replace --skip-cache /etc/apparmor.d/lab-reader; }
denied() { journalctl --quiet --dmesg --boot | grep 'apparmor="DENIED"' | grep 'profile="lab-reader"'; }
all_resolve() {
  check "$1, it resolves the name" says '^10.91.1.2 ' reader ahosts web
  check "$1, and the address" says ' web$' reader hosts 10.91.1.2
  check "$1, and a user" says '^vu-web-7:' reader passwd 700007
}
check 'a program is confined' load
check 'and is so in the kernel' grep -q '^lab-reader (enforce)' /sys/kernel/security/apparmor/profiles
all_resolve 'with our rules'
check 'and nothing was denied' not denied
mv $rules /root/rules
check 'without our rules it is confined anew' load
check 'and cannot load the module' exits 2 reader ahosts web
check 'nor know a user' exits 2 reader passwd 700007
check 'the kernel says what it denied' becomes says 'libnss_mymachines.so.2' denied
check 'and so does the doctor' says '^WRONG,denials,.*libnss_mymachines.so.2' mymachines doctor --format csv --no-legend
check 'who knows that it is our rules that are missing' says '^note,denials,AppArmor keeps the module' mymachines doctor --format csv --no-legend
mv /root/rules $rules
check 'with our rules it is confined again' load
all_resolve 'again with our rules'
/src/scripts/install.sh uninstall >/tmp/uninstall 2>&1
check 'our rules go with what was installed' not test -e $rules
check 'and the profile is as good as before' load
finish
