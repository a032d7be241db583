#!/usr/bin/env bash
# Boots a throw-away copy of a Debian root in qemu, with Debian's own kernel, and runs one script inside.
set -euo pipefail

usage() {
  cat <<'U'
usage: vm.sh [--nested] [--in DIR[:AT]]... ROOT OUT SCRIPT [SECONDS]

As boot.sh, but in a machine of its own, emulated by qemu without any help of the processor's: with cgroup controllers and
every module of Debian's kernel, and some ten times slower. ROOT is a directory, or a suite that vm-root.sh knows.

  --nested       ROOT's qemu emulates the machine, which can have virtual machines of its own then, by kvm_amd; they must not
                 take interrupts, by which qemu ends
  --in DIR[:AT]  copies DIR of the host into the machine, at AT (/in by default); may be given several times

What SCRIPT writes to /out comes back in OUT, beside log, rc and console as with boot.sh. The exit code is that of
SCRIPT. Needs qemu-system-x86_64 and mkfs.ext4; uses sudo when not run as root.
U
}

arguments=("$@")
shows=() nested=''
while :; do
  case ${1-} in
    -h | --help) usage; exit 0 ;;
    --nested) nested=yes; shift ;;
    --in) shows+=("${2:?--in needs a directory}"); shift 2 ;;
    -*) usage >&2; exit 2 ;;
    *) break ;;
  esac
done
if [ $# -lt 3 ] || [ $# -gt 4 ]; then usage >&2; exit 2; fi
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "${arguments[@]}"
PATH=$PATH:/usr/sbin:/sbin

root=$1 out=$2 script=$3 seconds=${4:-600}
[ -d "$root" ] || root=$("$(dirname "$0")/vm-root.sh" "$root")
root=$(readlink -f "$root")
mkdir -p "$out"
out=$(readlink -f "$out")
rm -f "$out/log" "$out/rc" "$out/console"

work=$(mktemp -d /var/tmp/mymachines-vm.XXXXXX)
child=''
clean() {
  if [ -n "$child" ]; then
    kill "$child" 2>/dev/null && wait "$child" || true
  fi
  umount "$work/root" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 143' INT TERM
mkdir "$work"/{upper,overlay,root}
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/overlay" "$work/root"
for show in "${shows[@]}"; do
  directory=${show%%:*} at=/in
  case $show in *:*) at=${show#*:} ;; esac
  mkdir -p "$work/root$at"
  cp -a "$directory/." "$work/root$at/"
done
mkdir -p "$work/root/out"
install -m755 "$script" "$work/root/root/lab-script"
# What comes back is written to the second disk, as a tar file without a file system.
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
ExecStopPost=/bin/sh -c 'tar -cf /dev/vdb -C /out . && sync'
ExecStopPost=/bin/systemctl poweroff --force --force
[Install]
WantedBy=multi-user.target
U
ln -sf ../lab.service "$work/root/etc/systemd/system/multi-user.target.wants/lab.service"
truncate -s 8G "$work/disk"
mkfs.ext4 -q -d "$work/root" "$work/disk"
truncate -s 256M "$work/back"

kernels=("$work"/root/boot/vmlinuz-*)
initrds=("$work"/root/boot/initrd.img-*)
emulator=(qemu-system-x86_64)
if [ -n "$nested" ]; then
  # shellcheck disable=SC2016
  emulator=(unshare --mount --propagation private bash -euc '
    root=$1 work=$2
    shift 2
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/var/tmp"
    mkdir "$root/$work"
    mount --rbind "$work" "$root/$work"
    mount --bind /dev "$root/dev"
    exec chroot "$root" qemu-system-x86_64 "$@"' bash "$root" "$work")
fi
timeout -k 5 $((seconds + 180)) "${emulator[@]}" -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 3072 \
  -nographic -no-reboot -nic none -kernel "${kernels[-1]}" -initrd "${initrds[-1]}" \
  -append "root=/dev/vda rw console=ttyS0 quiet" \
  -drive file="$work/disk",if=virtio,format=raw -drive file="$work/back",if=virtio,format=raw \
  >"$out/console" 2>&1 </dev/null &
child=$!
wait "$child" || true
child=
tar -xf "$work/back" -C "$out" 2>/dev/null || true
[ -e "$out/rc" ] || echo 124 >"$out/rc"
exit "$(cat "$out/rc")"
