#!/usr/bin/env bash
# The package of packaging/arch, by Debian's makepkg. `make check-all` calls this.
set -euo pipefail

usage() {
  cat <<'U'
usage: pkgbuild.sh

Packs what `make` has built by packaging/arch/PKGBUILD, as a user who may do nothing else, and looks at what is in the package:
one line per test; the last line counts. A distribution builds from the PKGBUILD itself, with the archive of
packaging/vendor.sh as the second source. Needs root and makepkg (apt-get install makepkg), which is not installed as a
package here: no other package of Arch Linux is looked at.
U
}

case ${1-} in
  '') ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
top=$(dirname "$(dirname "$(readlink -f "$0")")")
cd "$top"
for program in makepkg bsdtar; do
  command -v "$program" >/dev/null || { echo "SKIPPED: there is no $program: apt-get install makepkg libarchive-tools"; exit 0; }
done
[ "$(id -u)" = 0 ] || { echo 'SKIPPED: makepkg wants a user without privileges, which root alone can become here'; exit 0; }
make all
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/mymachines-arch.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/mymachines-$version
mkdir -p "$tree"/target/{release,nss,capi/lib} "$work/vendored"/{vendor,.cargo} "$work/build"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference --preserve=mode,timestamps -t "$tree"
cp target/release/{machined,userdb-machined,resolve-machined,machined-image-reader,mymachines} "$tree/target/release/"
cp target/nss/libnss_mymachines.so.2 "$tree/target/nss/"
cp --no-dereference target/capi/lib/* "$tree/target/capi/lib/"
touch -h "$tree"/target/release/* "$tree"/target/nss/libnss_mymachines.so.2 "$tree"/target/capi/lib/*
tar -C "$work" -czf "$work/build/mymachines-$version.tar.gz" "mymachines-$version"
# Nothing is compiled, so that no crates are needed.
tar -C "$work/vendored" -cJf "$work/build/mymachines-$version-vendor.tar.xz" vendor .cargo
cp packaging/arch/PKGBUILD packaging/arch/mymachines.install "$work/build/"
chown -R nobody "$work/build"
chmod 755 "$work"

passed=0 failed=0
check() { # SENTENCE COMMAND...
  local sentence=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    echo "ok $sentence" && passed=$((passed + 1))
  else
    sed 's/^/    /' "$work/said"
    echo "FAILED $sentence" && failed=$((failed + 1))
  fi
}
# As nobody, without dependencies, which are packages of Arch Linux: there is no pacman that knows any.
as_packager() {
  setpriv --reuid nobody --clear-groups env -C "$work/build" HOME="$work/build" PACMAN=true PKGEXT=.pkg.tar makepkg "$@"
}
check 'makepkg builds the package' as_packager --nodeps --nocheck
package=$(find "$work/build" -maxdepth 1 -name '*.pkg.tar' | head -n 1)
[ -n "$package" ] || { echo '0 passed, 1 failed'; exit 1; }
bsdtar -tf "$package" >"$work/listed"
listed() { grep -qxF "$1" "$work/listed"; }
for file in usr/bin/machined usr/bin/userdb-machined usr/bin/resolve-machined usr/bin/machined-image-reader usr/bin/mymachines \
  usr/lib/mymachines/libnss_mymachines.so.2 usr/lib/libmachine.so.0 usr/include/machine.h usr/lib/systemd/system/machined.service \
  usr/share/licenses/mymachines/LICENSE-MIT etc/ld.so.conf.d/00-mymachines.conf .INSTALL; do
  check "$file is in it" listed "$file"
done
unlisted() { ! grep -xE "$1" "$work/listed"; } # PATTERN
check 'no file is in a place of systemd'"'"'s own' \
  unlisted 'usr/lib/libnss_mymachines.so.2|usr/lib/systemd/system/systemd-machined.service|usr/share/dbus-1/system-services/.+'
check 'nor the record of make uninstall' unlisted usr/share/mymachines/installed
check 'the unit starts what is there' \
  sh -c "bsdtar -xOf '$package' usr/lib/systemd/system/machined.service | grep '^ExecStart=/usr/bin/machined'"
bsdtar -tvf "$package" --numeric-owner | awk '$3 != 0 || $4 != 0' >"$work/others"
check 'all of it is of root' diff /dev/null "$work/others"
# What it does to a running host is by its script, which runs here without systemd.
bsdtar -xOf "$package" .INSTALL >"$work/script"
check 'each unit that runs is told of a removal' sh -c "for unit in \$(cd systemd && ls machined*.in userdb*.in resolve*.in); do \
  grep -q \"\${unit%.in}\" '$work/script' || { echo \$unit; exit 1; }; done"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
