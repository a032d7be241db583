#!/usr/bin/env bash
# ps of procps-ng with packaging/procps.patch, and htop with packaging/htop.patch: they name machines by libmachine.
set -euo pipefail

usage() {
  cat <<'U'
usage: procps.sh [--out DIR]

Fetches the source of Debian 13's procps, and builds its ps in a booted Debian 13, as it is and with packaging/procps.patch
against what `make` built; and htop with packaging/htop.patch. They are asked about machines. One line per test; the last line counts. Needs the lab
(../lab/setup.sh), a build, and a mirror.

  --out DIR  where log and console of the boot go; they are thrown away otherwise
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
work=$(mktemp -d "${TMPDIR:-/var/tmp}/procps-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
out=${out:-$work/out}
root=$("$top/tests/lab/root.sh" trixie)
mkdir -p "$work/lists/partial" "$work/source"
sed -n 's/^deb /deb-src /p' "$root/etc/apt/sources.list" >"$work/sources.list"
apt=(apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists"
  -o Dir::Cache::pkgcache='' -o Dir::Cache::srcpkgcache='' -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false
  -o Dir::Etc::trusted=/dev/null -o Dir::Etc::trustedparts="$root/etc/apt/trusted.gpg.d")
"${apt[@]}" update
(cd "$work/source" && "${apt[@]}" source --download-only procps)
# What Debian adds is not needed, and is not always on every mirror.
(cd "$work/source" && "${apt[@]}" source --download-only htop) || ls "$work"/source/htop_*.orig.tar.* >/dev/null
for name in procps htop; do
  mkdir "$work/$name"
  tar -C "$work/$name" --strip-components=1 -xf "$work/source/$name"_*.orig.tar.*
done
status=0
"$top/tests/lab/boot.sh" --with autoconf --with automake --with libtool --with gettext --with autopoint --with make --with patch --with libncurses-dev \
  --in "$top:/src" --in "$work/procps:/procps" --in "$work/htop:/htop" trixie "$out" "$top/tests/c/procps-inside.sh" 800 || status=$?
cat "$out/log" || { tail -n 30 "$out/console"; status=1; }
exit "$status"
