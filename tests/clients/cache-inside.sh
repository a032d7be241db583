#!/usr/bin/env bash
# Users of machines in a static program, built with musl, which asks a cache of names: runs inside a throw-away boot with that
# cache, musl-tools and the project at /src, built. The original first, and then ours. One line per test; the last line counts.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see run.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
cache=$1
musl-gcc -static -Wall -Wextra -Werror -o /tmp/user /src/tests/clients/user.c || exit 1
systemd-run --quiet --unit=box --service-type=exec unshare --user --map-users 0:700000:65536 --map-groups 0:700000:65536 sleep infinity
is_mapped() { grep -q 700000 "/proc/$(systemctl show --value --property=MainPID box)/uid_map"; }
becomes is_mapped
leader=$(systemctl show --value --property=MainPID box)

# look MODULE WHOSE: with this module in nsswitch.conf.
look() {
  sed -i "s/^passwd:.*/passwd: files $1/; s/^group:.*/group: files $1/" /etc/nsswitch.conf
  systemctl restart "$cache"
  check "$2: $cache serves" becomes test -S /run/nscd/socket
  check "$2: a user is found by the id" becomes says '^vu-box-7 700007$' /tmp/user uid 700007
  check "$2: and by the name" becomes says '^vu-box-8 700008$' /tmp/user user vu-box-8
  check "$2: a group is found by the id" becomes says '^vg-box-7 700007$' /tmp/user gid 700007
  check "$2: and by the name" becomes says '^vg-box-8 700008$' /tmp/user group vg-box-8
  check "$2: who is in no machine is not found" exits 2 /tmp/user uid 800000
  check "$2: what glibc is told is the same" says '^vu-box-7:x:700007:65534:' getent passwd 700007
  systemctl stop "$cache"
  check "$2: without $cache nobody tells a static program" exits 2 /tmp/user uid 700009
}

busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager RegisterMachine sayssus box 0 clients \
  container "$leader" '' >/dev/null || exit 1
look systemd 'the original'
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
systemctl enable --now --quiet machined
check 'ours has the machine' becomes says '^box ' /usr/local/bin/mymachines list --no-legend
look mymachines ours
finish
