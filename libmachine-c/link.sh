#!/bin/sh
# link.sh ARCHIVE DIRECTORY: makes DIRECTORY/libmachine.so.0.VERSION, its links, and libmachine.a from the crate's static
# library.
#
# The link is also the proof that the library cannot panic: the panic handler calls a function that does not exist, and
# with -z defs and --gc-sections a panic path that survived optimisation is an undefined symbol. machine.map lists what is
# exported; that all of it is there is seen to here.
set -eu
archive=$1 directory=$2
here=$(dirname "$0")
# A package takes debug information into another one, and strips by itself.
strip=-s
[ -z "${KEEP_SYMBOLS:-}" ] || strip=
version=$(sed -n '/^version = "0\./{s/^version = "0\.\(.*\)"/\1/p;q}' "$here/Cargo.toml")
entries=$(sed -n 's/^    \([a-z_]*\);$/\1/p' "$here/machine.map")
present=$("${NM:-nm}" --defined-only "$archive" 2>/dev/null | sed -n 's/.* T //p')
pull='' keep=$(mktemp)
trap 'rm -f "$keep"' EXIT
for entry in $entries; do
  pull="$pull -Wl,-u,$entry"
  echo "$entry" >>"$keep"
  # An entry point that is not in the archive is not an error to the linker.
  printf '%s\n' "$present" | grep -qx "$entry" || { echo "link.sh: $archive lacks $entry" >&2; exit 1; }
done
# And what is in it, machine.map has.
for entry in $(printf '%s\n' "$present" | grep -E '^(sd|machine|libmachine)_' | sort -u); do
  if [ "$entry" = machine_may_panic ]; then
    # For the proof's own test: it must be reachable for the link to fail.
    pull="$pull -Wl,-u,$entry"
  else
    grep -qx "$entry" "$keep" || { echo "link.sh: machine.map lacks $entry" >&2; exit 1; }
  fi
done
mkdir -p "$directory"
library=libmachine.so.0.$version
# shellcheck disable=SC2086
"${CC:-cc}" -shared -nostartfiles -o "$directory/$library" -Wl,-soname,libmachine.so.0 \
  -Wl,--version-script="$here/machine.map" -Wl,-z,noseparate-code,-z,defs,-z,nodelete,-z,now,-z,relro,-z,noexecstack \
  -Wl,--gc-sections,--as-needed $strip $pull "$archive" -static-libgcc -lc
ln -sf "$library" "$directory/libmachine.so.0"
ln -sf libmachine.so.0 "$directory/libmachine.so"
# For static linking: one object, from which the rest of Rust is gone, and which shows the same names and no others.
object=$directory/libmachine.o
# shellcheck disable=SC2086
"${CC:-cc}" -nostdlib -r -o "$object" -Wl,--gc-sections $pull "$archive"
"${OBJCOPY:-objcopy}" --keep-global-symbols="$keep" --strip-debug "$object"
rm -f "$directory/libmachine.a"
"${AR:-ar}" rcsD "$directory/libmachine.a" "$object"
rm -f "$object"
