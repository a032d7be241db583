#!/usr/bin/env bash
# Debian packages of this tree, in target/deb. `make deb` calls this.
set -euo pipefail

usage() {
  cat <<'U'
usage: deb.sh [--built] [--depends]

Copies the tree to target/deb/mymachines-VERSION, as git knows it if this is a checkout, and builds the packages there
with debhelper. What was compiled there before is used again. The compiler may be any that scripts/cargo.sh finds, so that
Debian's own need not be new enough; with --depends, Debian's packages have to be there, as in debian/control. With --built, nothing is compiled: the packages have
what `make` has built in this tree, without debug packages.
U
}

check=-d built=''
for word; do
  case $word in
    -h | --help) usage; exit 0 ;;
    --depends) check='' ;;
    --built) built=yes ;;
    *) usage >&2; exit 2 ;;
  esac
done
top=$(dirname "$(dirname "$(readlink -f "$0")")")
cd "$top"
for program in dpkg-buildpackage dh dh_installnss; do
  command -v "$program" >/dev/null || { echo "deb.sh: there is no $program: apt-get install dpkg-dev debhelper dh-nss" >&2; exit 1; }
done
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
tree=$top/target/deb/mymachines-$version
mkdir -p "$tree"
# All but what an earlier build compiled.
find "$tree" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
if git rev-parse --git-dir >/dev/null 2>&1; then
  git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference --preserve=mode,timestamps -t "$tree"
else
  find . -mindepth 1 -maxdepth 1 ! -name target -exec cp -a -t "$tree" {} +
fi
cp -a packaging/debian "$tree/debian"
# All symbols are of the first version until one is released: machine.map has which there are, and nodes.
{
  echo 'libmachine.so.0 libmachine0 #MINVER#'
  echo '* Build-Depends-Package: libmachine-dev'
  awk '/^LIBMACHINE_[0-9]+ /{ node = $1; print " " node "@" node " 0.1" } /^    [a-z_0-9]+;$/{ sub(/;/, ""); print " " $1 "@" node " 0.1" }' \
    libmachine-c/machine.map
} >"$tree/debian/libmachine0.symbols"
# The date of the release, so that the same source makes the same packages.
date=$(sed -n "s/^## \[\?$version\]\? - \(....-..-..\)\$/\1/p" CHANGELOG.md | head -n 1)
{
  echo "mymachines ($version-1) unstable; urgency=medium"
  echo
  echo "  * Version $version: see CHANGELOG.md."
  echo
  echo " -- mymachines <mymachines@localhost.invalid>  $(LC_ALL=C date -u -R -d "${date:-now}")"
} >"$tree/debian/changelog"
if [ -n "$built" ]; then
  mkdir -p "$tree"/target/{release,nss,capi/lib}
  # Without their times: they are newer than the sources.
  cp target/release/{machined,userdb-machined,resolve-machined,machined-image-reader,mymachines} "$tree/target/release/"
  cp target/nss/libnss_mymachines.so.2 "$tree/target/nss/"
  cp --no-dereference target/capi/lib/* "$tree/target/capi/lib/"
  touch -h "$tree"/target/release/* "$tree"/target/nss/libnss_mymachines.so.2 "$tree"/target/capi/lib/*
fi
cd "$tree"
dpkg-buildpackage -b -us -uc $check
echo "packages:"
ls -1 "$top"/target/deb/*.deb
