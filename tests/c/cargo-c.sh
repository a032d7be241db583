#!/usr/bin/env bash
# What a packager's `cargo cinstall` makes of libmachine, beside what `make install` does.
set -euo pipefail

usage() {
  cat <<'U'
usage: cargo-c.sh

Installs the library by cargo-c (0.10 or newer) into a temporary directory, links it there with libmachine-c/link.sh as
docs/libmachine.md tells packagers, and compares: the soname and the symbols with their versions, the header, what
pkg-config says, and a program built with that. Says SKIPPED where there is no cargo-c. Needs network or cargo's cache.
U
}

case ${1-} in
  '') ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
cargo=$("$top/scripts/cargo.sh" --which)
export PATH=${cargo%/*}:$PATH
if ! version=$(cargo cinstall --version 2>/dev/null); then
  echo "SKIPPED: cargo-c is not installed beside $cargo (cargo install cargo-c)"
  exit 0
fi
case $version in *' 0.'[0-9].*) echo "SKIPPED: $version is too old for the edition of the crates"; exit 0 ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
ok() { echo "ok $1"; passed=$((passed + 1)); }
bad() { echo "FAILED $1"; failed=$((failed + 1)); }

# same WHAT FILE FILE
same() { if diff "$2" "$3"; then ok "$1"; else bad "$1"; fi; }

cd "$top/libmachine-c"
cargo cinstall --release --locked --target-dir "$work/target" --destdir "$work/root" --prefix /usr --libdir /usr/lib \
  2>"$work/log" || { cat "$work/log" >&2; exit 1; }
lib=$work/root/usr/lib
export PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root

# interface FILE: the soname and the symbols, as the dump has them.
interface() {
  readelf -dW "$1" | sed -n 's/.*(SONAME).*\[\(.*\)\]/soname \1/p'
  nm -D --defined-only --with-symbol-versions "$1" | sed -n 's/.* T /symbol /p' | LC_ALL=C sort
}
abi=$top/libmachine-c/libmachine.abi
grep -E '^soname' "$abi" >"$work/abi"
sed -n 's/^symbol \([^ ]*\) .*/symbol \1/p' "$abi" >>"$work/abi"
interface "$lib/libmachine.so" >"$work/plain"
same 'the soname and the names of the symbols are those of the dump' <(sed 's/@.*//' "$work/abi") "$work/plain"
./link.sh "$lib/libmachine.a" "$lib"
interface "$lib/libmachine.so" >"$work/linked"
same 'linked by link.sh, so are the versions of the symbols' "$work/abi" "$work/linked"
readelf -dW "$lib/libmachine.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >"$work/needed"
same 'it needs the C library alone' <(echo libc.so.6) "$work/needed"
same 'the header is the one that is checked in' "$top/include/machine.h" "$work/root/usr/include/machine.h"
same 'pkg-config tells the version of the header' <(sed -n 's/^#define LIBMACHINE_VERSION "\(.*\)"/\1/p' "$top/include/machine.h") \
  <(pkg-config --modversion libmachine)

# shellcheck disable=SC2046
for way in '' --static; do
  if cc ${way:+-static} -o "$work/program" "$top/tests/c/which.c" $(pkg-config $way --cflags --libs libmachine) &&
    [ "$(LD_LIBRARY_PATH=$lib "$work/program" 1)" = - ]; then
    ok "a program is built with pkg-config${way:+ $way} and runs"
  else
    bad "a program is built with pkg-config${way:+ $way} and runs"
  fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
