#!/usr/bin/env bash
# Boots a Debian with ours enabled beside one with the original, and compares how that goes.
set -euo pipefail

usage() {
  cat <<'U'
usage: run.sh SUITE

Boots SUITE (see tests/lab/root.sh), once with the original and once with what is built here in its place: as it boots the
first time (/etc/.updated absent, so that systemd-sysusers runs) and ever after; is shut down while somebody looks up
users; is soft-rebooted with a machine that survives; boots with /usr/local absent, and with /var/lib/machines on what never
answers, before it is mounted or after that. Prints one line per test and
"N passed, N failed". Uses sudo when not run as root.
U
}
case ${1-} in -h | --help) usage; exit 0 ;; '' | -*) usage >&2; exit 2 ;; esac
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB,PATH "$0" "$@"

source=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
cd "$source"
root=$(tests/lab/root.sh "$1")
systemd=$(chroot "$root" systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
work=$(mktemp -d /var/tmp/mymachines-boots.XXXXXX)
clean() {
  umount -R "$work/root" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap clean EXIT
passed=0 failed=0
check() { # TEXT COMMAND...
  local text=$1
  shift
  if "$@"; then
    echo "ok $text"
    passed=$((passed + 1))
  else
    echo "FAILED $text"
    failed=$((failed + 1))
  fi
}

# The trees that are laid over the root: ours, installed and enabled as by hand; ours without /usr/local; and what says that
# the system was updated already.
mkdir "$work"/{ours,overlay,root}
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/ours,workdir=$work/overlay" "$work/root"
mkdir "$work/root/src"
mount --bind -o ro "$source" "$work/root/src"
mount -t proc proc "$work/root/proc"
chroot "$work/root" /src/scripts/install.sh install >/dev/null
chroot "$work/root" systemctl enable machined 2>/dev/null
umount "$work/root/src" "$work/root/proc"
rmdir "$work/root/src"
umount "$work/root"
cp -a "$work/ours" "$work/absent"
mv "$work/absent/usr/local" "$work/later"
mkdir -p "$work/updated"/{etc,var}
touch "$work/updated"/{etc,var}/.updated

declare -A made
# boot NAME STAGE OPTION...: $work/NAME has what it left.
boot() {
  local name=$1 stage=$2
  made[$name]=$(printf '%q ' "$@")
  shift 2
  rm -rf "${work:?}/$name"
  mkdir "$work/$name"
  # Itself, and not by way of what is shown of the host, which a soft-reboot takes away.
  { printf '#!/bin/bash\nset -- %s\n' "$stage" && cat tests/boot/inside.sh; } >"$work/script"
  tests/lab/boot.sh "$@" "$root" "$work/$name" "$work/script" 400 || true
  date +%s%3N >"$work/$name/ended"
  echo "-- $name: $(tr '\n' ';' <"$work/$name/facts")" || tail -n 20 "$work/$name/console"
}
value() { awk -v key="$2" '$1 == key { print $2; exit }' "$work/$1"; }
lookup_of() { value "$1/facts" lookup; }
time_of() { echo $(($(value "$1/facts" multi-user) - $(value "$1/facts" userspace))); }
lines() { grep "^$2 " "$work/$1" || true; }
# How much longer it may take than the original; it is a second on a machine with nothing else to do.
is_as_fast() { # WHAT ORIGINAL OURS, in milliseconds
  echo "   $1: the original $2 ms, ours $3 ms"
  [ "$2" -gt 0 ] && [ "$3" -gt 0 ] && [ "$3" -le $((2 * $2 + 1000)) ]
}
# as_fast WHAT MEASURE STOCK OURS: by one boot of each, and by two more of each where the machine was busy with other things.
as_fast() {
  local try
  for try in 1 2 3; do
    [ $try = 1 ] || { again "$3" && again "$4"; }
    if is_as_fast "$1" "$($2 "$3")" "$($2 "$4")"; then return 0; fi
  done
  return 1
}
again() { eval "boot ${made[$1]}"; }
is_same() { [ -s "$work/$1" ] && [ -s "$work/$2" ] && diff <(lines "$1" "$3") <(lines "$2" "$3"); }
has() { grep -qx "$2" "$work/$1"; }
lacks() { [ -s "$work/$1" ] && ! lines "$1" "$2" | grep .; }
is_up() {
  local unit
  for unit in machined.service machined.socket userdb-machined.socket resolve-machined.socket; do has "$1" "unit $unit active" || return; done
}
compare() { # STOCK OURS WHAT
  check "$3: as soon as with the original" as_fast 'time to multi-user' time_of "$1" "$2"
  check "$3: no unit has failed that has not with the original" is_same "$1/facts" "$2/facts" failed
  check "$3: what is ours is there" is_up "$2/facts"
  check "$3: the journal has no complaint" lacks "$2/facts" journal
  check "$3: the journal has it by the original's name" has "$2/facts" 'journal-of-the-name 1'
}
at_once() { # WHAT MEASURE NAME
  local try took
  for try in 1 2 3; do
    [ $try = 1 ] || again "$3"
    took=$($2 "$3")
    echo "   $1: $took ms"
    if [ "$took" -lt 2000 ]; then return 0; fi
  done
  return 1
}

boot stock-first shutdown
boot ours-first shutdown --over "$work/ours"
compare stock-first ours-first 'the first boot'

# The longest lookup, and how long the last one waited that was ended with everything else.
longest() {
  awk -v ended="$(cat "$work/$1/ended")" '
    { at = $2 * 1000 }
    $1 == "begun" { begun = at }
    $1 == "done" { if (at - begun > most) most = at - begun; begun = 0; count++ }
    END { if (!count) most = 999999; print int(most) }' "$work/$1/lookups"
}
down() { echo $(($(cat "$work/$1/ended") - $(cat "$work/$1/asked"))); }
check 'it is shut down as soon as the original while somebody looks up users' \
  as_fast 'time to the end' down stock-first ours-first
check 'each lookup is answered at once until then' at_once 'the longest lookup' longest ours-first

if [ "$systemd" -ge 255 ]; then
  boot stock-next soft --over "$work/updated"
  boot ours-next soft --over "$work/updated" --over "$work/ours"
  compare stock-next ours-next 'the next boot'
  softly() { echo $(($(value "$1/facts-again" multi-user) - $(cat "$work/$1/asked"))); }
  check 'soft-rebooted: as soon as with the original' \
    as_fast 'time to multi-user' softly stock-next ours-next
  check 'soft-rebooted: no unit has failed that has not with the original' \
    is_same stock-next/facts-again ours-next/facts-again failed
  check 'soft-rebooted: what is ours is there' is_up ours-next/facts-again
  check 'soft-rebooted: so is the machine that survived' \
    test "$(cat "$work/ours-next/survivor-again")" = "$(cat "$work/ours-next/survivor")"
else
  echo "SKIPPED soft-reboot: systemd $systemd has none that anything survives"
fi

boot ours-absent absent --over "$work/absent" --in "$work/later:/later"
check '/usr/local is absent: as soon as with the original' \
  as_fast 'time to multi-user' time_of stock-first ours-absent
check '/usr/local is absent: no unit has failed that has not with the original' \
  is_same stock-first/facts ours-absent/facts failed
check '/usr/local is absent: a lookup is answered at once' at_once 'the lookup' lookup_of ours-absent
check '/usr/local is absent: once it is there, it is started as ever' is_up ours-absent/later

# /var/lib/machines is what the machines of a host that needs room have a file system of their own for.
mkdir -p "$work/mounting"/{etc/systemd/system,usr/sbin}
echo 'none /var/lib/machines hanging nofail 0 0' >"$work/mounting/etc/fstab"
printf '#!/bin/sh\nexec sleep infinity\n' >"$work/mounting/usr/sbin/mount.hanging"
chmod +x "$work/mounting/usr/sbin/mount.hanging"
# They wait for that, and multi-user.target for them, with nothing of ours in between.
for unit in machines.target systemd-importd.socket systemd-importd.service; do
  ln -s /dev/null "$work/mounting/etc/systemd/system/$unit"
done
mkdir -p "$work/mounted/etc/systemd/system/sysinit.target.wants"
cat >"$work/mounted/etc/systemd/system/hanging.service" <<'U'
[Unit]
DefaultDependencies=no
# It makes that directory.
After=systemd-tmpfiles-setup.service
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
Environment=PYTHONPATH=/daemon PYTHONDONTWRITEBYTECODE=1
ExecStart=python3 -c 'import fuse; fuse.Hanging("/var/lib/machines")'
U
ln -s ../hanging.service "$work/mounted/etc/systemd/system/sysinit.target.wants/hanging.service"
for what in mounting mounted; do
  boot ours-$what hanging --over "$work/$what" --over "$work/ours" --in tests/daemon:/daemon
  check "/var/lib/machines hangs ($what): as soon as with the original where it does not" \
    as_fast 'time to multi-user' time_of stock-first ours-$what
  check "/var/lib/machines hangs ($what): no unit has failed that has not with the original" \
    is_same stock-first/facts ours-$what/facts failed
  check "/var/lib/machines hangs ($what): what is ours is there" is_up ours-$what/facts
  check "/var/lib/machines hangs ($what): it does hang" has ours-$what/facts hangs
  check "/var/lib/machines hangs ($what): a lookup is answered at once" at_once 'the lookup' lookup_of ours-$what
  check "/var/lib/machines hangs ($what): a machine is registered and listed" has ours-$what/facts 'machine web'
done

echo "$passed passed, $failed failed"
[ $failed = 0 ]
