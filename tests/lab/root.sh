#!/usr/bin/env bash
# A Debian root with the stock systemd of one suite, enough to boot and to serve stock clients. Kept between runs.
set -euo pipefail

usage() {
  cat <<'U'
usage: root.sh SUITE [DEST]

Builds a Debian root of SUITE (bookworm: systemd 252, trixie: 257, sid: the newest) in DEST and prints DEST. One that is complete
already is only printed; a half-built one is built again. DEST is $MYMACHINES_LAB/SUITE by default, MYMACHINES_LAB
is /var/cache/mymachines-lab by default.

The root has, under /usr/share/machine-template, a small file tree to start containers from (bash, coreutils, ip and
an init that only sleeps), and a user `testuser` with uid 4711. Needs setup.sh; uses sudo when not run as root.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "$@"

suite=$1
dest=${2:-${MYMACHINES_LAB:-/var/cache/mymachines-lab}/$suite}
mkdir -p "$(dirname "$dest")"

packages=(
  systemd systemd-sysv systemd-container libnss-mymachines libnss-systemd libpam-systemd systemd-userdbd
  systemd-resolved systemd-journal-remote dbus polkitd
  procps iproute2 bsdutils diffutils e2fsprogs openssh-client socat jq python3 python3-dbus valgrind
  gcc libc6-dev libsystemd-dev pkgconf
)

# Two test runs that start together must not build the same root twice.
exec 9>"$dest.lock"
flock 9
if [ -e "$dest/.lab-complete" ]; then
  # What came to the list since it was built.
  "$(dirname "$(readlink -f "$0")")/apt.sh" "$dest" "${packages[@]}" >>"$dest.log" 2>&1 9>&- || {
    tail -n 20 "$dest.log" >&2
    exit 1
  }
  echo "$dest"
  exit 0
fi
rm -rf --one-file-system "$dest"

# The mirror that apt on this host uses for Debian itself; other repositories name no Debian suite.
mirror=$(
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^[[:space:]]*#' | grep -oE 'https?://[^] ]+/debian/?( |$)' | tr -d ' ' | head -n1 || true
)
mirror=${mirror:-http://deb.debian.org/debian}

include=$(IFS=,; echo "${packages[*]}")
echo "building $dest from $mirror, log in $dest.log" >&2
debootstrap --variant=minbase --include="$include" "$suite" "$dest" "$mirror" >"$dest.log" 2>&1 9>&- || {
  tail -n 20 "$dest.log" >&2
  exit 1
}
rm -f "$dest"/var/cache/apt/archives/*.deb

# The container template: nothing but what these programs and their libraries need.
template=$dest/usr/share/machine-template
mkdir -p "$template"/{usr/bin,usr/sbin,usr/lib,usr/lib64,etc,proc,sys,dev,run,tmp,var,root}
for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$template/$dir"; done
for program in bash sleep touch cat ls echo env id ip sh mkdir rm stat grep tr test true false mount umount kill date getent; do
  # `command -v` names builtins without a path.
  path=$(chroot "$dest" sh -c "command -v $program" || true)
  case $path in /*) ;; *) path=/usr/bin/$program ;; esac
  [ -e "$dest$path" ] || continue
  cp -L "$dest$path" "$template/usr/bin/$program"
  chroot "$dest" ldd "$path" 2>/dev/null | grep -oE '/[^ ]+' | while read -r library; do
    [ -e "$template$library" ] || install -D -m755 "$dest$library" "$template$library"
  done
done
cat >"$template/usr/sbin/init" <<'I'
#!/bin/bash
exec sleep infinity
I
chmod 755 "$template/usr/sbin/init"
cp -L "$dest/etc/os-release" "$template/usr/lib/os-release"
ln -s ../usr/lib/os-release "$template/etc/os-release"
cp "$dest/etc/passwd" "$dest/etc/group" "$template/etc/"

chroot "$dest" useradd -m -u 4711 -s /bin/bash testuser
# Machines by name, and no resolver: a lab has no network of its own.
sed -i 's/^hosts:.*/hosts: mymachines files/' "$dest/etc/nsswitch.conf"
# networkd would take the veth links of the test containers into its hands.
ln -sf /dev/null "$dest/etc/systemd/system/systemd-networkd.service"
ln -sf /dev/null "$dest/etc/systemd/system/systemd-networkd-wait-online.service"
ln -sf /dev/null "$dest/etc/systemd/system/systemd-firstboot.service"
echo lab >"$dest/etc/hostname"
: >"$dest/etc/machine-id"

touch "$dest/.lab-complete"
echo "$dest"
