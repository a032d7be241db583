#!/usr/bin/env bash
# A Debian whose process 1 is sysvinit, with our service files: the daemons as services, their restart, the shutdown.
set -euo pipefail

usage() {
  cat <<'U'
usage: no-systemd.sh [--out DIR]

Boots the lab's Debian 13 with sysvinit-core in the place of systemd, installs what `make` built, and runs
no-systemd-inside.sh there. One line per test; the last line counts. Needs the lab (../lab/setup.sh) and a build.

  --out DIR  where the log and the console of the boot go; they are thrown away otherwise
U
}

out=''
case ${1-} in
  -h | --help) usage; exit 0 ;;
  --out) out=${2:?--out needs a directory} ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "$@"
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
lab=${MYMACHINES_LAB:-/var/cache/mymachines-lab}
plain=$("$top/tests/lab/root.sh" trixie)
root=$lab/trixie-sysvinit
exec 9>"$root.lock"
flock 9
if [ ! -e "$root/.lab-complete" ] || [ "$plain/.lab-complete" -nt "$root/.lab-complete" ]; then
  rm -rf --one-file-system "$root"
  cp -a "$plain" "$root"
  rm "$root/.lab-complete"
  "$top/tests/lab/apt.sh" "$root" --allow-remove-essential sysvinit-core sysv-rc initscripts runit systemd-sysv- \
    >"$root.log" 2>&1 9>&- || { tail -n 20 "$root.log" >&2; exit 1; }
  touch "$root/.lab-complete"
fi
work=$(mktemp -d /var/tmp/no-systemd.XXXXXX)
trap 'umount -R "$work/root" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
mkdir -p "$work"/{upper,overlay,root}
out=${out:-$work/out}
mkdir -p "$out"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/overlay" "$work/root"
: >"$work/root/root/lab-script"
# Nothing but what is tested: no terminals.
cat >"$work/root/etc/inittab" <<'I'
id:2:initdefault:
si::sysinit:/etc/init.d/rcS
l0:0:wait:/etc/init.d/rc 0
l2:2:wait:/etc/init.d/rc 2
lb:2:once:/bin/bash -c '/src/tests/tool/no-systemd-inside.sh >/out/log 2>&1 </dev/null; echo $? >/out/rc; exec /sbin/init 0'
I
rm -f "$out/log" "$out/rc"
status=0
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout -k 5 800 systemd-nspawn -q --register=no --keep-unit -D "$work/root" \
  --machine="no-systemd-$$" --private-network --capability=all --bind="$out:/out" --bind-ro="$top:/src" \
  --kill-signal=SIGKILL /sbin/init >"$out/console" 2>&1 </dev/null || true
cat "$out/log" || { tail -n 30 "$out/console"; status=1; }
[ "$(cat "$out/rc" 2>/dev/null)" = 0 ] || status=1
# What the shutdown said.
if grep -q 'machined.*fail' "$out/console"; then
  echo 'FAILED the shutdown stops the services'
  status=1
fi
exit "$status"
