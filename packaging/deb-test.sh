#!/usr/bin/env bash
# The Debian packages on real Debians: beside and in place of the original's, upgraded, removed, purged, with machines running.
set -euo pipefail

usage() {
  cat <<'U'
usage: deb-test.sh [--out DIR] [--from DIR] SUITE...

Lets lintian look at the packages of target/deb, where it is installed. Boots the lab's Debian of each SUITE (bookworm,
trixie, sid) with them, and puts them in, changes and takes them out while a container runs. One line per test; the last line
counts. Needs `make deb`, the lab (../tests/lab/setup.sh) and a mirror, from which the original's package comes back.

  --out DIR   where log and console of the boots go; they are thrown away otherwise
  --from DIR  has the packages of the version before, which are put in first, and upgraded; without it, what is upgraded is
              the same but for its revision
U
}

out='' from=''
while :; do
  case ${1-} in
    -h | --help) usage; exit 0 ;;
    --out) out=${2:?--out needs a directory}; shift 2 ;;
    --from) from=$(readlink -f "${2:?--from needs a directory}"); shift 2 ;;
    -* | '') usage >&2; exit 2 ;;
    *) break ;;
  esac
done
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" ${out:+--out "$out"} ${from:+--from "$from"} "$@"
top=$(dirname "$(dirname "$(readlink -f "$0")")")
work=$(mktemp -d /var/tmp/deb-test.XXXXXX)
trap 'umount -R "$work/root" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
out=${out:-$work/out}
mkdir -p "$work"/{debs,next,root,upper,overlay}
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' "$top/Cargo.toml")
cp "$top"/target/deb/*_"$version"-1_*.deb "$work/debs/"
rm -f "$work"/debs/*-dbgsym_*
passed=0 failed=0
if ! command -v lintian >/dev/null; then
  echo 'SKIPPED: no package was looked at by lintian: apt-get install lintian'
elif lintian --allow-root --fail-on error,warning "$work"/debs/*.deb; then
  echo 'ok lintian has no error and no warning' && passed=1
else
  echo 'FAILED lintian has no error and no warning' && failed=1
fi
# The next revision of the same packages, to upgrade to.
for deb in "$work"/debs/*.deb; do
  dpkg-deb -R "$deb" "$work/unpacked"
  sed -i -e "s/^Version: .*/Version: $version-2/" -e "s/(= $version-1)/(= $version-2)/" "$work/unpacked/DEBIAN/control"
  dpkg-deb --root-owner-group -b "$work/unpacked" "$work/next/" >/dev/null
  rm -r "$work/unpacked"
done
if [ -n "$from" ]; then
  rm "$work"/debs/*.deb
  find "$from" -maxdepth 1 -name '*.deb' ! -name '*-dbgsym_*' -exec cp -t "$work/debs" {} +
fi

# stock ROOT DIRECTORY: the original's packages that come back, from the mirror that the root has.
stock() {
  mount -t overlay overlay -o "lowerdir=$1,upperdir=$work/upper,workdir=$work/overlay" "$work/root"
  # shellcheck disable=SC2016
  unshare --mount --propagation private bash -euo pipefail -c '
    cd "$1"
    rm -f etc/resolv.conf && cp -L /etc/resolv.conf etc/resolv.conf
    echo "hosts: files dns" >etc/nsswitch.conf
    [ ! -e /etc/hosts ] || cp /etc/hosts etc/hosts
    mount -t proc proc proc
    chroot . sh -c "cd /root && apt-get -qq -o Acquire::Check-Valid-Until=false update && apt-get -qq download libnss-mymachines=\$(dpkg-query -W -f \"\\\${Version}\" libnss-mymachines)"
  ' bash "$work/root" >"$work/apt" 2>&1 </dev/null || { tail -n 5 "$work/apt"; return 1; }
  cp "$work"/root/root/libnss-mymachines_*.deb "$2/"
  umount "$work/root"
  rm -rf "$work/upper" "$work/overlay"
  mkdir "$work/upper" "$work/overlay"
}

for suite; do
  root=$("$top/tests/lab/root.sh" "$suite")
  mkdir -p "$work/stock-$suite"
  echo "== $suite"
  stock "$root" "$work/stock-$suite" || echo 'SKIPPED: the mirror does not have the original package of this root any more'
  umount "$work/root" 2>/dev/null || true
  "$top/tests/lab/boot.sh" --in "$top:/src" --in "$work/debs:/debs" --in "$work/next:/next" \
    --in "$work/stock-$suite:/stock" "$root" "$out/$suite" "$top/packaging/deb-inside.sh" 900 || true
  # Its own count is part of the one at the end.
  sed '/^[0-9]* passed, [0-9]* failed$/d' "$out/$suite/log" || tail -n 30 "$out/$suite/console"
  read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$out/$suite/log" | tail -n 1) || { p=0 f=1; }
  passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
