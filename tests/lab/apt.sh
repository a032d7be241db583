#!/usr/bin/env bash
# Installs packages into a root that root.sh made, by the apt in it.
set -euo pipefail

usage() {
  cat <<'U'
usage: apt.sh ROOT PACKAGE...

Installs those of the packages that ROOT does not have, and nothing if it has them all. The root sees this host's
resolver meanwhile, and starts no service. Must be run as root.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac
root=$(readlink -f "$1")
shift

missing=()
for package; do
  status=$(dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

# The root's own nsswitch.conf knows no DNS, and its resolv.conf is a link into /run: both are lent, for apt alone, in a
# mount namespace.
# shellcheck disable=SC2016
unshare --mount --propagation private bash -euo pipefail -c '
  root=$1
  shift
  link=$(readlink "$root/etc/resolv.conf" || true)
  resolver=$root/etc/resolv.conf
  case $link in *run/*) resolver=$root/run/${link#*run/} ;; esac
  mount -t tmpfs tmpfs "$root/run"
  mkdir -p "${resolver%/*}" "$root/run/lock"
  [ -e "$resolver" ] || : >"$resolver"
  mount --bind /etc/resolv.conf "$resolver"
  echo "hosts: files dns" >"$root/run/nsswitch.conf"
  mount --bind "$root/run/nsswitch.conf" "$root/etc/nsswitch.conf"
  [ ! -e "$root/etc/hosts" ] || mount --bind /etc/hosts "$root/etc/hosts"
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  export DEBIAN_FRONTEND=noninteractive LC_ALL=C
  unset TMPDIR
  # A mirror that stands still has an index that has expired.
  options="-qq -o Acquire::Check-Valid-Until=false"
  chroot "$root" apt-get $options update
  chroot "$root" apt-get $options install -y --no-install-recommends --no-upgrade "$@"
' bash "$root" "${missing[@]}" </dev/null
rm -f "$root"/var/cache/apt/archives/*.deb
