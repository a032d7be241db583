#!/usr/bin/env bash
# Boots a throw-away copy of a Debian root under real PID 1 and runs one script inside.
set -euo pipefail

usage() {
  cat <<'U'
usage: boot.sh [--broker] [--v1] [--with PACKAGE]... [--in DIR[:AT]]... [--over DIR]... ROOT OUT SCRIPT [SECONDS]

Boots an overlay of ROOT with systemd as PID 1, its own D-Bus and its own network namespace, runs SCRIPT inside as a
service and stops when it is done or when SECONDS (600) have passed. ROOT is a directory, or a suite that root.sh
knows, which is then built if need be. ROOT itself is never changed.

  --broker       the system bus is dbus-broker, in the place of dbus-daemon; ROOT has to have it, as a suite has then
  --v1           control groups are version 1, as systemd before 258 knows them; this host has to have them mounted
  --with PACKAGE ROOT, which has to be a suite then, has this package too
  --in DIR[:AT]  shows DIR of the host inside, read-only, at AT (/in by default); may be given several times
  --over DIR     lays the files of DIR over those of ROOT; may be given several times, the first one is uppermost

What SCRIPT writes to /out comes back in OUT, beside:
  log      what SCRIPT printed
  rc       its exit code, 124 if it did not end in time
  console  what the boot printed
A SCRIPT that leaves a file /out/again ends the boot itself, or soft-reboots it, and is run again then. What is shown of
the host is gone after that, but what SCRIPT writes to /out comes back all the same.
The exit code is that of SCRIPT. /var/tmp inside is a real file system (an overlay cannot lie on an overlay, and knows
no chattr): containers' images belong there. Uses sudo when not run as root.
U
}

arguments=("$@")
shows=() packages=() over='' bus=dbus unify=1
while :; do
  case ${1-} in
    -h | --help) usage; exit 0 ;;
    --broker) bus=dbus-broker; shift ;;
    --v1) unify=0; shift ;;
    --over) over+=$(readlink -f "${2:?--over needs a directory}"):; shift 2 ;;
    --with) packages+=("${2:?--with needs a package}"); shift 2 ;;
    --in) shows+=("${2:?--in needs a directory}"); shift 2 ;;
    -*) usage >&2; exit 2 ;;
    *) break ;;
  esac
done
if [ $# -lt 3 ] || [ $# -gt 4 ]; then usage >&2; exit 2; fi
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "${arguments[@]}"

root=$1 out=$2 script=$3 seconds=${4:-600}
if [ ${#packages[@]} -gt 0 ]; then
  layer=$("$(dirname "$0")/layer.sh" "$root" "${packages[@]}")
  over+=$layer:
fi
maker=root.sh
[ $bus = dbus ] || maker=broker.sh
[ -d "$root" ] || root=$("$(dirname "$0")/$maker" "$root")
root=$(readlink -f "$root")
mkdir -p "$out"
out=$(readlink -f "$out")
rm -f "$out/log" "$out/rc" "$out/console"

work=$(mktemp -d /var/tmp/mymachines-lab.XXXXXX)
groups=() child=''
clean() {
  if [ -n "$child" ]; then
    kill "$child" 2>/dev/null && wait "$child" || true
  fi
  umount -R "$work/root" 2>/dev/null || true
  for group in "${groups[@]}"; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
  # If the unmount failed, the root of the overlay must not be deleted through it.
  rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 143' INT TERM
mkdir "$work"/{upper,overlay,root,var}
mount -t overlay overlay -o "lowerdir=$over$root,upperdir=$work/upper,workdir=$work/overlay" "$work/root"

install -m755 "$script" "$work/root/root/lab-script"
# Forced twice: at once, without waiting for containers that the script left behind. Nothing inside is to be kept.
cat >"$work/root/etc/systemd/system/lab.service" <<U
[Unit]
After=multi-user.target dbus.service
[Service]
Type=oneshot
TimeoutStartSec=$seconds
KillSignal=SIGKILL
WorkingDirectory=/root
Environment=HOME=/root
ExecStart=/bin/bash -c '/root/lab-script >/out/log 2>&1; echo \$? >/out/rc'
ExecStopPost=/bin/sh -c 'test -e /out/again || exec systemctl poweroff --force --force'
[Install]
WantedBy=multi-user.target
U
ln -sf ../lab.service "$work/root/etc/systemd/system/multi-user.target.wants/lab.service"
if [ $bus != dbus ]; then
  ln -sf "/usr/lib/systemd/system/$bus.service" "$work/root/etc/systemd/system/dbus.service"
fi
echo 124 >"$out/rc"

options=(--bind="$out:/out" --bind="$work/var:/var/tmp")
for show in "${shows[@]}"; do
  directory=${show%%:*} at=/in
  case $show in *:*) at=${show#*:} ;; esac
  options+=(--bind-ro="$(readlink -f "$directory"):$at")
done
for device in /dev/loop-control /dev/loop{0..7} /dev/fuse; do
  [ ! -e "$device" ] || options+=(--bind="$device")
done

# Every boot gets a cgroup of its own: nspawn puts its payload below the group it is started in, under a fixed name, so
# that two boots started in the same group would share one tree, and each PID 1 would kill the other's units.
name=mymachines-lab-$$
if [ -d /run/systemd/system ]; then
  within=(systemd-run --quiet --scope --unit="$name" --property=Delegate=yes)
else
  unified=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
  groups=("$unified$(awk -F: '$1 == 0 { print $3 }' /proc/self/cgroup)/$name")
  if [ $unify = 0 ]; then
    old=$(awk '$3 == "cgroup" && $4 ~ /(^|,)name=systemd(,|$)/ { print $2; exit }' /proc/mounts)
    [ -n "$old" ] || { echo 'boot.sh: there is no hierarchy name=systemd here' >&2; exit 1; }
    groups+=("$old$(awk -F: '$2 == "name=systemd" { print $3 }' /proc/self/cgroup)/$name")
  fi
  mkdir "${groups[@]}"
  # shellcheck disable=SC2016
  within=(sh -c 'until [ "$1" = -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done; shift; exec "$@"' sh "${groups[@]}" --)
fi

# --register=no --keep-unit: the host may have no machined and no PID 1 that hands out scopes. The variable: the host
# may be of the hybrid cgroup hierarchy, the lab wants v2, or v1 without it.
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=$unify
timeout -k 10 $((seconds + 60)) "${within[@]}" \
  systemd-nspawn -q --register=no --keep-unit -D "$work/root" --machine="$name" -b --private-network \
  --capability=all "${options[@]}" >"$out/console" 2>&1 </dev/null &
child=$!
wait "$child" || echo "boot.sh: systemd-nspawn ended with status $?" >>"$out/console"
child=
# After a soft-reboot it was a directory like any other.
[ ! -d "$work/upper/out" ] || cp -a "$work/upper/out/." "$out/"
# Whoever had sudo run this is to be able to remove it.
[ -z "${SUDO_UID-}" ] || chown -Rh "$SUDO_UID:$SUDO_GID" "$out"
exit "$(cat "$out/rc")"
