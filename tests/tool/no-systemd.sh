#!/usr/bin/env bash
# Debians whose process 1 is no systemd, with our service files: the daemons as services, their restart, the shutdown.
set -euo pipefail

usage() {
  cat <<'U'
usage: no-systemd.sh [--out DIR] [INIT]...

Boots the lab's Debian 13 with sysvinit-core in the place of systemd, once for each INIT (sysvinit, runit, s6 and openrc; all by
default), installs what `make` built, and runs no-systemd-inside.sh there. OpenRC replaces the scripts of sysvinit; runit and s6
supervise beside them. One line per test; the last line counts. Needs the lab (../lab/setup.sh) and a build.

  --out DIR  where the log and the console of each boot go; they are thrown away otherwise
U
}

arguments=("$@") out='' inits=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    sysvinit | runit | s6 | openrc) inits+=("$1") ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "${arguments[@]}"
[ ${#inits[@]} -gt 0 ] || inits=(sysvinit runit s6 openrc)
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
plain=$("$top/tests/lab/root.sh" trixie)
work=$(mktemp -d /var/tmp/no-systemd.XXXXXX)
trap 'umount -R "$work"/*/root 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
out=${out:-$work/out}
status=0

# boot INIT: runs the script for it in a Debian of its own.
boot() {
  local init=$1 layer place=$work/$1 out=$out/$1 packages=(sysvinit-core initscripts systemd-sysv-)
  case $init in
    openrc) packages+=(openrc) ;;
    *) packages+=(sysv-rc runit s6) ;;
  esac
  layer=$("$top/tests/lab/layer.sh" trixie --allow-remove-essential "${packages[@]}")
  mkdir -p "$place"/{upper,overlay,root} "$out"
  mount -t overlay overlay -o "lowerdir=$layer:$plain,upperdir=$place/upper,workdir=$place/overlay" "$place/root"
  : >"$place/root/root/lab-script"
  # Nothing but what is tested: no terminals.
  cat >"$place/root/etc/inittab" <<I
id:2:initdefault:
si::sysinit:/etc/init.d/rcS
l0:0:wait:/etc/init.d/rc 0
l2:2:wait:/etc/init.d/rc 2
lb:2:once:/bin/bash -c '/src/tests/tool/no-systemd-inside.sh $init >/out/log 2>&1 </dev/null; echo \$? >/out/rc; exec /sbin/init 0'
I
  rm -f "$out/log" "$out/rc"
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout -k 5 400 systemd-nspawn -q --register=no --keep-unit -D "$place/root" \
    --machine="no-systemd-$$" --private-network --capability=all --bind="$out:/out" --bind-ro="$top:/src" \
    --kill-signal=SIGKILL /sbin/init >"$out/console" 2>&1 </dev/null || true
  echo "== $init"
  cat "$out/log" || { tail -n 30 "$out/console"; status=1; }
  [ "$(cat "$out/rc" 2>/dev/null)" = 0 ] || status=1
  # What the shutdown said.
  if grep -q 'machined.*fail' "$out/console"; then
    echo 'FAILED the shutdown stops the services'
    status=1
  fi
}

for init in "${inits[@]}"; do boot "$init"; done
exit "$status"
