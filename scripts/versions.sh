#!/usr/bin/env bash
# Checks that one version stands in all files that have one, with its date in CHANGELOG.md.
set -euo pipefail
cd "$(dirname "$(dirname "$(readlink -f "$0")")")"
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ -n "$version" ] || { echo 'FAILED there is no version in Cargo.toml'; exit 1; }
passed=0 failed=0

# same FILE FOUND...: what was found in it has to be the version, and something has to be found.
same() {
  local file=$1 found
  shift
  [ $# != 0 ] || set -- 'no version'
  for found; do
    if [ "$found" = "$version" ]; then
      passed=$((passed + 1))
    else
      echo "FAILED $file has $found, and Cargo.toml $version"
      failed=$((failed + 1))
    fi
  done
}

for file in nss-mymachines libmachine-c libmachine-c/header; do
  # shellcheck disable=SC2046
  same $file/Cargo.toml $(sed -n 's/^version = "\(.*\)"/\1/p' $file/Cargo.toml)
done
# Crates of this repository have no source in a lock file.
for file in Cargo.lock nss-mymachines/Cargo.lock libmachine-c/Cargo.lock libmachine-c/header/Cargo.lock; do
  # shellcheck disable=SC2046
  same $file $(awk -v RS= '/^\[\[package\]\]/ && !/\nsource = / { match($0, /\nversion = "[^"]*/); print substr($0, RSTART + 12, RLENGTH - 12) }' $file)
done
# Crates that others may use name each other with their version.
for file in */Cargo.toml; do
  # shellcheck disable=SC2013
  for found in $(sed -n 's/.*path = "\.\.\/.*version = "\([^"]*\)".*/\1/p' "$file"); do same "$file" "$found"; done
done
one() { sed -n "$2" "$1" | head -n 1; }
# shellcheck disable=SC2046
{
  same include/machine.h $(one include/machine.h 's/^#define LIBMACHINE_VERSION "\(.*\)"/\1/p')
  same python/pyproject.toml $(one python/pyproject.toml 's/^version = "\(.*\)"/\1/p')
  same packaging/rpm/mymachines.spec $(one packaging/rpm/mymachines.spec 's/^Version: *//p')
  same packaging/arch/PKGBUILD $(one packaging/arch/PKGBUILD 's/^pkgver=//p')
  same packaging/alpine/APKBUILD $(one packaging/alpine/APKBUILD 's/^pkgver=//p')
  same packaging/void/template $(one packaging/void/template 's/^version=//p')
  # Debian's changelog is made of this one: packaging/deb.sh.
  same CHANGELOG.md $(one CHANGELOG.md 's/^## \([0-9][0-9.]*\) - 20[0-9][0-9]-[01][0-9]-[0-3][0-9]$/\1/p')
}
for file in packaging/gentoo/*.ebuild; do
  found=${file##*/mymachines-}
  same "$file" "${found%.ebuild}"
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
