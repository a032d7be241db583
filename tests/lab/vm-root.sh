#!/usr/bin/env bash
# A Debian root with a kernel of its own, and with libvirt and qemu, for vm.sh. Kept between runs.
set -euo pipefail

usage() {
  cat <<'U'
usage: vm-root.sh SUITE [DEST]

Builds in DEST what root.sh builds for SUITE, and adds Debian's kernel for clouds, libvirt with qemu and LXC, Incus, and AppArmor
(for bookworm the kernel alone, which is all that is wanted of it). Prints DEST; one that is complete already is only printed. DEST is
$MYMACHINES_LAB/vm-SUITE by default, MYMACHINES_LAB is /var/cache/mymachines-lab by default. Uses sudo when not run as
root.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "$@"

suite=$1
lab=${MYMACHINES_LAB:-/var/cache/mymachines-lab}
dest=${2:-$lab/vm-$suite}
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$(dirname "$dest")"

exec 9>"$dest.lock"
flock 9
packages=(linux-image-cloud-amd64 initramfs-tools)
[ "$suite" = bookworm ] ||
  packages+=(libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-daemon-driver-lxc libvirt-clients qemu-system-x86 ipxe-qemu
    dnsmasq-base nftables apparmor incus ovmf genisoimage qemu-system-modules-spice)
if [ ! -e "$dest/.vm-complete" ]; then
  root=$("$here/root.sh" "$suite" 9>&-)
  rm -rf --one-file-system "$dest"
  cp -a "$root" "$dest"
  echo "building $dest, log in $dest.log" >&2
fi
# What came to the list since it was built, too.
"$here/apt.sh" "$dest" "${packages[@]}" >>"$dest.log" 2>&1 9>&- || {
  tail -n 20 "$dest.log" >&2
  exit 1
}
# What installing writes, and debootstrap does not.
[ -e "$dest/etc/hosts" ] || echo '127.0.0.1 localhost' >"$dest/etc/hosts"
touch "$dest/.vm-complete"
echo "$dest"
