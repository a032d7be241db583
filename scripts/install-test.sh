#!/usr/bin/env bash
# Tests make install and make uninstall where they can do no harm.
set -euo pipefail

usage() {
  cat <<'U'
usage: install-test.sh [SUITE|--in-root|--in-boot]

Installs what was built into a DESTDIR, into a throw-away copy of a Debian with the original's packages (chroot), and
into one that is booted; of SUITE, trixie (the default) or newer. Prints a line for each check and how many passed; exits 1 if one
failed. Needs root or sudo, and what tests/lab/setup.sh installs. --in-root and --in-boot are the parts that run inside.
U
}

root=$(dirname "$(dirname "$(readlink -f "$0")")")
module=libnss_mymachines.so.2
passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
said=$work/said
# check SENTENCE COMMAND...: a command that fails, and what it said, is told. In a function that it calls, errors end nothing
# by themselves (set -e): what may fail there is joined by &&.
check() {
  local sentence=$1
  shift
  if "$@" >"$said" 2>&1 </dev/null; then
    passed=$((passed + 1))
    echo "ok $sentence"
  else
    failed=$((failed + 1))
    sed 's/^/    /' "$said"
    echo "FAILED $sentence"
  fi
}

# links_lead DIRECTORY: relative links of the Markdown below it, of which there are some.
links_lead() {
  local page link some='' wrong=''
  while IFS=: read -r page link; do
    some=yes
    [ -e "$(dirname "$page")/$link" ] || { echo "$page: $link" && wrong=yes; }
  done < <(find "$1" -name '*.md' -exec grep -Ho '\]([^)#:]*[)#]' {} + | sed 's/:\](/:/; s/[)#]$//')
  [ -n "$some" ] && [ -z "$wrong" ]
}
not() { ! "$@"; }
# says PATTERN COMMAND...: it prints that, and its exit status does not matter.
says() {
  local pattern=$1 printed
  shift
  printed=$("$@" 2>&1 || true)
  grep -qE -- "$pattern" <<<"$printed" || { printf 'not in it: %s\n%s\n' "$pattern" "$printed"; return 1; }
}
prints_nothing() {
  local printed
  printed=$("$@" 2>&1)
  [ -z "$printed" ] || { echo "$printed"; return 1; }
}
is_same() { diff "$1" <("$2"); }
refuses() { # PATTERN COMMAND...: fails, says why, and changes nothing.
  local before rc=0
  before=$(listing)
  "${@:2}" >"$said.refused" 2>&1 || rc=$?
  cat "$said.refused"
  [ $rc = 1 ] && grep -qE -- "$1" "$said.refused" && diff <(echo "$before") <(listing)
}
finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}

into_destdir() {
  scratch=$work/destdir
  mkdir "$scratch"
  local destdir=$scratch/dest
  listing() { find "$scratch/dest" -printf '%p %m %s %T@\n' 2>/dev/null | sort; }
  mkdir "$destdir"
  check 'make install goes into a DESTDIR' make -C "$root" install DESTDIR="$destdir"
  for file in bin/mymachines share/man/man1/mymachines.1 share/bash-completion/completions/mymachines sbin/machined lib/systemd/system/machined.service lib/systemd/system/machined.socket \
    sbin/userdb-machined lib/systemd/system/userdb-machined.service lib/systemd/system/userdb-machined.socket \
    sbin/resolve-machined lib/systemd/system/resolve-machined.service lib/systemd/system/resolve-machined.socket \
    share/doc/mymachines/README.md share/mymachines/installed include/machine.h \
    share/polkit-1/actions/mymachines.policy share/dbus-1/system-services/org.freedesktop.machine1.service \
    lib/systemd/user/machined.service lib/systemd/user/machined.socket lib/systemd/user/machine.slice \
    lib/systemd/user/machines.target share/dbus-1/services/mymachines-user.service \
    share/mymachines/selinux/mymachines.te share/mymachines/selinux/mymachines.fc \
    lib/systemd/system/systemd-machined.service.d/bus-name.conf; do
    check "DESTDIR has $file" test -f "$destdir/usr/local/$file"
  done
  check "DESTDIR has the policy of the bus" test -f "$destdir/etc/dbus-1/system.d/mymachines.conf"
  check 'DESTDIR has the NSS module, once' says '^1$' sh -c "find $destdir -name $module | wc -l"
  check 'DESTDIR has libmachine, shared, static, and as pkg-config knows it' says '^4$' sh -c \
    "find $destdir -name libmachine.so -xtype f -o -name 'libmachine.so.0.*' -o -name libmachine.a -o -name libmachine.pc | wc -l"
  check 'nothing is left to be replaced for pkg-config' not grep -r '@[A-Z]*@' --include=libmachine.pc "$destdir/usr/local"
  check 'links in the pages lead to what is installed' links_lead "$destdir/usr/local/share"
  check 'nothing is left to be replaced in the units' not grep -r '@[A-Z]*@' "$destdir/usr/local/lib/systemd"
  check 'the service starts what was installed' grep -q '^ExecStart=/usr/local/sbin/machined$' \
    "$destdir/usr/local/lib/systemd/system/machined.service"
  check 'installing again is fine' make -C "$root" install DESTDIR="$destdir"
  check 'uninstalling takes it back' make -C "$root" uninstall DESTDIR="$destdir"
  check 'DESTDIR is empty again' prints_nothing find "$destdir" -mindepth 1
  check 'there is nothing to uninstall twice' refuses 'nothing was installed' "$root/scripts/install.sh" uninstall
  check 'a package may be made of it: PREFIX=/usr' make -C "$root" install PREFIX=/usr DESTDIR="$destdir"
  check 'and has the module where Debian has them' \
    test -f "$destdir/usr/lib/$(cc -print-multiarch)/$module"
  make -s -C "$root" uninstall PREFIX=/usr DESTDIR="$destdir" >/dev/null
  mkdir -p "$destdir/usr/local/sbin"
  echo mine >"$destdir/usr/local/sbin/machined"
  export DESTDIR=$destdir
  check 'a file that is not ours is not overwritten' \
    refuses 'is there already' "$root/scripts/install.sh" install
  unset DESTDIR
  rm -rf "$scratch"
}

# What a host is made of, less what every ldconfig writes anew.
listing() {
  find / -xdev \( -path /proc -o -path /run -o -path /src -o -path /tmp -o -path /etc/ld.so.cache -o -path /var/cache/ldconfig \) -prune -o \
    \( -type f -printf '%p %m %U %G %s %T@\n' -o -type l -printf '%p -> %l\n' -o -printf '%p %y %m %U %G\n' \) | sort
  ldconfig -p
}
loads() { LD_DEBUG=libs getent ahosts nobody-has-this-name; }

in_root() {
  local install=/src/scripts/install.sh before verified multiarch
  multiarch=$(basename "$(dirname "$(find /usr/lib -name $module)")")
  check "the original's package is installed" dpkg -s libnss-mymachines
  before=$work/before verified=$work/verified
  ldconfig
  dpkg -V >"$verified" || true
  listing >"$before"
  check "before, glibc loads the original's module" says "calling init: (/usr)?/lib/$multiarch/$module" loads

  check 'PREFIX=/usr is refused without DESTDIR' refuses 'set DESTDIR too' env PREFIX=/usr $install install
  mkdir -p /usr/local/sbin
  echo mine >/usr/local/sbin/machined
  check 'a file of somebody else is not overwritten' refuses 'is there already' $install install
  rm /usr/local/sbin/machined
  cp -p /var/lib/dpkg/info/base-files.list /tmp/saved.list
  echo /usr/local/sbin/machined >>/var/lib/dpkg/info/base-files.list
  check 'nor is one that a package owns' refuses 'belongs to a package .base-files' $install install
  cp -p /tmp/saved.list /var/lib/dpkg/info/base-files.list
  check 'somebody who is not root is told so' refuses 'as root' setpriv --reuid=65534 --regid=65534 --clear-groups $install install
  check 'once for each directory' prints_nothing sh -c \
    "setpriv --reuid=65534 --regid=65534 --clear-groups $install install 2>&1 | sort | uniq -d"
  mount -t tmpfs -o size=64k tmpfs /usr/local/sbin
  check 'a full disk leaves nothing behind' refuses 'No space left' $install install
  umount /usr/local/sbin

  check 'it installs' $install install
  check 'it does not touch nsswitch.conf but says what to write' says 'mymachines' $install install
  check 'no file of a package has changed' is_same "$verified" 'verify'
  # The NSS module has no constructor, so what is asked is which file was opened.
  check 'now glibc loads ours' says "/usr/local/lib/($multiarch/)?$module" loads
  check "and the original's no more" not says "[[:space:]](/usr)?/lib/$multiarch/$module" loads
  check 'programs find libmachine' says "libmachine.so.0 .* => /usr/local/lib/" ldconfig -p
  check 'the daemon runs' says '^machined [0-9]' /usr/local/sbin/machined --version
  check 'so does the userdb provider' says '^userdb-machined [0-9]' /usr/local/sbin/userdb-machined --version
  check 'the units are valid' systemd-analyze verify --man=no machined.service machined.socket \
    {userdb,resolve}-machined.{service,socket,timer} machined-takeover.service
  check 'nothing is enabled' prints_nothing find /etc/systemd -name '*machined*'
  check 'a part of an older install goes when a newer one lacks it' forgotten $install
  check 'it uninstalls' $install uninstall
  check 'the host is as before' is_same "$before" listing
  check 'and dpkg finds it so' is_same "$verified" verify
  check "glibc loads the original's module again" says "[[:space:]](/usr)?/lib/$multiarch/$module" loads

  check 'who asks a module that is gone is told to ask no more' says 'take the word out' without_the_originals "$install"

  $install install >/dev/null
  echo '# mine' >>/usr/local/lib/systemd/system/machined.service
  check 'a file that was changed since is left alone' says 'left alone: .*machined.service' $install uninstall
  check 'it is there' grep -q '# mine' /usr/local/lib/systemd/system/machined.service
}
verify() { dpkg -V || true; }
without_the_originals() {
  local other
  other=$(find /usr/lib -name $module)
  mv "$other" /tmp/module
  "$1" install
  "$1" uninstall
  mv /tmp/module "$other"
  ldconfig
}
forgotten() {
  echo old >/usr/local/sbin/machined-old
  echo "$(sha256sum </usr/local/sbin/machined-old | cut -d' ' -f1) /usr/local/sbin/machined-old" >>/usr/local/share/mymachines/installed
  "$1" install && [ ! -e /usr/local/sbin/machined-old ]
}

in_boot() {
  local socket=/run/systemd/machine/io.systemd.Machine userdb=/run/systemd/userdb/io.systemd.Machine hook=/run/systemd/resolve.hook/io.systemd.Machine leader told
  state() { systemctl show -P "$1" "$2"; }
  check 'it installs on a running system' /src/scripts/install.sh install
  check 'systemd knows the service, and it is disabled' says '^disabled$' systemctl is-enabled machined.service
  check 'it says how it takes the place of the original, and gives it back' \
    says '^    systemctl disable machined$' /src/scripts/install.sh install
  check 'it does not start beside the original' not systemctl start machined.service
  check 'it is enabled in the place of the original' systemctl enable machined.service
  check 'the socket starts' systemctl start machined.socket
  check 'the daemon is not running yet' not systemctl is-active machined.service
  check 'the socket has its second name' test -S /run/systemd/machine/io.systemd.MachineImage
  systemd-run --quiet --service-type=exec --slice=machine.slice --unit=box -p PrivateNetwork=yes sleep infinity
  leader=$(state MainPID box)
  ip link add ve-box type veth peer name host0 netns "$leader"
  nsenter -t "$leader" -n sh -c 'ip link set host0 up; ip addr add 10.92.0.3/24 dev host0'
  # An address has a name only where the host would reach it at the machine.
  ip link set ve-box up && ip addr add 10.92.0.1/24 dev ve-box
  check 'a call starts the daemon and registers' varlinkctl call $socket io.systemd.Machine.Register \
    "{\"name\":\"box\",\"class\":\"container\",\"leader\":$leader}"
  check 'it is active, so it said that it is ready' \
    timeout 60 sh -c 'until systemctl --quiet is-active machined.service; do sleep 0.05; done'
  check 'it is ours' says 'mymachines|0\.' varlinkctl info $socket
  check 'the name resolves' timeout 60 sh -c 'until getent ahosts box | grep -q "^10.92.0.3 "; do sleep 0.05; done'
  check 'and the address' timeout 60 sh -c 'until getent hosts 10.92.0.3 | grep -q box; do sleep 0.05; done'
  nsenter -t "$leader" -n ip addr add 10.92.0.4/24 dev host0
  check 'an address that changes is heard of under the restrictions of the unit' \
    timeout 60 sh -c 'until getent ahosts box | grep -q "^10.92.0.4 "; do sleep 0.05; done'
  check 'a restart loses nothing' sh -c "systemctl restart machined.service && varlinkctl call $socket io.systemd.Machine.List '{\"name\":\"box\"}'"
  check 'killed, it is started again' killed_and_back
  check 'nor is anything lost then' varlinkctl call $socket io.systemd.Machine.List '{"name":"box"}'
  check 'users of containers are known to userdb, and so to glibc' user_in_userdb
  check 'the provider was started for that' systemctl is-active userdb-machined.service
  check 'it is ours' says 'userdb-machined' varlinkctl info $userdb
  check 'it is nobody' says '^Uid:[[:space:]]*65534[[:space:]]*65534' cat "/proc/$(state MainPID userdb-machined.service)/status"
  check 'it is sandboxed: systemd-analyze security says at most 1.5' at_most 1.5 exposure userdb-machined.service
  check 'the hook of systemd-resolved is sandboxed as much' at_most 1.5 exposure resolve-machined.service
  check 'its socket listens' systemctl is-active resolve-machined.socket
  check 'and it answers' says '"box"' varlinkctl call $hook io.systemd.Resolve.Hook.QueryFilter '{}'
  check 'it is there after a restart of machined' sh -c "systemctl restart machined.service && getent -s systemd passwd 500000"
  check 'it stays when machined is killed' stays_without_machined
  check 'frozen, it is replaced, and whoever asked meanwhile is answered' frozen_and_answered
  check 'killed, it is started again' killed_and_back userdb-machined.service
  check 'it answers again' says '^vu-ids-0:' getent passwd 500000
  check 'it is not privileged beyond its unit' says '^NoNewPrivs:[[:space:]]*1' cat "/proc/$(state MainPID machined.service)/status"
  check 'disabled, it gives the place to the original' \
    sh -c 'systemctl disable machined.service && systemctl restart systemd-machined.service'
  check 'ours is stopped then' timeout 60 sh -c 'while pgrep -x machined; do sleep 0.05; done'
  check 'and gives the place in userdb back' says 'systemd .systemd-machined' varlinkctl info $userdb
  check 'its provider and its hook are stopped too' timeout 60 bash -c \
    'while systemctl --quiet is-active {userdb,resolve}-machined.{socket,service}; do sleep 0.05; done'
  check 'it comes back' sh -c 'systemctl enable machined.service && systemctl restart machined.service'
  check 'and takes the place in userdb' serves_userdb
  check 'enabled, it is uninstalled all the same' /src/scripts/install.sh uninstall
  check 'and complains of nothing' not grep -v '^removed ' "$said"
  check 'it is stopped' not pgrep -x machined
  check 'so is the provider' not pgrep -x userdb-machined
  check 'and the hook' not pgrep -x resolve-machine
  check 'no link is left' prints_nothing find /etc/systemd -name '*machined*'
  check 'the sockets are gone' not ls $socket $userdb $hook
  check 'so is what it kept' not ls /run/machined
  check 'systemd knows the service no more' says '^not-found$' state LoadState machined.service
  check 'it installs elsewhere' env PREFIX=/opt/mymachines /src/scripts/install.sh install
  told=$(cat "$said")
  check 'it says first how its units become known' test "$(grep -oE 'systemctl (link|enable)' <<<"$told" | head -n1)" = 'systemctl link'
  check 'what it says then makes its units known' sh -c "$(sed -n 's/^systemd does not look into .*: //p' <<<"$told")"
  check 'all of them are linked' says '^(linked ){9}$' linked_units
  check 'it uninstalls there' env PREFIX=/opt/mymachines /src/scripts/install.sh uninstall
  check 'no link to its units is left' prints_nothing find /etc/systemd -name '*machined*'
  check 'nothing was denied to it' not says 'audit|SECCOMP|Operation not permitted' journalctl -u machined.service --no-pager
  check 'nor to the hook' not says 'audit|SECCOMP|ermitted|annot' journalctl -u resolve-machined.service --no-pager
  check 'nor to the provider' not says 'audit|SECCOMP|ermitted|annot|Special user' journalctl -u userdb-machined.service --no-pager
}
killed_and_back() {
  local unit=${1-machined.service} old
  old=$(systemctl show -P MainPID "$unit")
  [ "$old" != 0 ] && kill -KILL "$old" &&
    timeout 60 sh -c "until [ \$(systemctl show -P MainPID $unit) -ne $old ] && systemctl is-active $unit; do sleep 0.05; done"
}
user_in_userdb() {
  local leader
  systemd-run --quiet --service-type=exec --slice=machine.slice --unit=ids unshare --user sleep infinity || return
  leader=$(systemctl show -P MainPID ids)
  timeout 60 sh -c "until [ \$(cat /proc/$leader/comm) = sleep ]; do sleep 0.05; done" || return
  echo 0 500000 65536 >"/proc/$leader/uid_map"
  echo 0 500000 65536 >"/proc/$leader/gid_map"
  varlinkctl call /run/systemd/machine/io.systemd.Machine io.systemd.Machine.Register \
    "{\"name\":\"ids\",\"class\":\"container\",\"leader\":$leader}" || return
  says '^vu-ids-0:x:500000:65534:UID 0 of Container ids:/:/usr/sbin/nologin$' getent -s systemd passwd 500000
}
linked_units() { systemctl is-enabled {,userdb-,resolve-}machined.{service,socket} {userdb,resolve}-machined.timer machined-takeover.service | tr '\n' ' '; }
serves_userdb() { timeout 60 sh -c 'until varlinkctl info /run/systemd/userdb/io.systemd.Machine | grep userdb-machined; do sleep 0.05; done'; }
exposure() { systemd-analyze security --no-pager "$1" | sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p'; }
at_most() { # LIMIT COMMAND...: it prints a number, which is no larger.
  local number
  number=$("${@:2}")
  echo "it is ${number:-nothing}"
  awk -v number="$number" -v limit="$1" 'BEGIN { exit !(number != "" && number + 0 <= limit) }'
}
stays_without_machined() {
  local old
  getent -s systemd passwd 500000 || return
  old=$(systemctl show -P MainPID userdb-machined.service)
  killed_and_back && [ "$old" != 0 ] &&
    [ "$(systemctl show -P MainPID userdb-machined.service)" = "$old" ] &&
    getent -s systemd passwd 500000
}
frozen_and_answered() {
  local old
  old=$(systemctl show -P MainPID userdb-machined.service)
  [ "$old" != 0 ] && kill -STOP "$old" &&
    timeout 60 getent -s systemd passwd 500000 &&
    [ "$(systemctl show -P MainPID userdb-machined.service)" != "$old" ]
}

# A copy of the lab's Debian in a mount namespace of its own. Runs in it: unshare --mount.
in_overlay() {
  local lower=$1 over=/run
  mount -t tmpfs tmpfs $over
  mkdir $over/upper $over/work $over/root
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$over/upper,workdir=$over/work" $over/root
  mount -t proc proc $over/root/proc
  mount --bind /dev $over/root/dev
  mkdir $over/root/src
  mount --bind "$root" $over/root/src
  mount -o remount,bind,ro $over/root/src
  chroot $over/root /src/scripts/install-test.sh --in-root
}

part() { # NAME COMMAND...: a part that runs elsewhere; its lines are ours, its last one is added up.
  local log rc=0 counts
  log=$(mktemp)
  "${@:2}" >"$log" 2>&1 </dev/null || rc=$?
  [ "$1" != boot ] || cp "$scratch/log" "$log" 2>/dev/null || true
  grep -v '^[0-9]* passed, [0-9]* failed$' "$log" || true
  counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n1 || true)
  [ -n "$counts" ] || echo "FAILED the part $1 did not come to its end: status $rc"
  read -r p _ f _ <<<"${counts:-0 passed, 1 failed}"
  passed=$((passed + p)) failed=$((failed + f))
  [ $rc = 0 ] || [ "$f" != 0 ] || failed=$((failed + 1))
  rm "$log"
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  --in-root | --in-boot)
    [ -e /.lab-complete ] || { echo "$0 $1 changes the system that it runs on: leave the option out" >&2; exit 2; }
    if [ "$1" = --in-root ]; then in_root; else in_boot; fi
    finish
    exit
    ;;
  --in-overlay) in_overlay "$2"; exit ;;
  -*) usage >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB,PATH "$0" "$@"
suite=${1:-trixie}

into_destdir
lab=$("$root/tests/lab/root.sh" "$suite")
part root unshare --mount --propagation private "$0" --in-overlay "$lab"
scratch=$work/boot
mkdir "$scratch"
cat >"$scratch/script" <<'S'
#!/bin/sh
exec /src/scripts/install-test.sh --in-boot
S
part boot "$root/tests/lab/boot.sh" --in "$root:/src" "$suite" "$scratch" "$scratch/script" 600
finish
