#!/usr/bin/env bash
# The C interface as it is checked in: include/machine.h, its pages in docs/man, and libmachine-c/libmachine.abi.
set -euo pipefail

usage() {
  cat <<'U'
usage: interface.sh check|write

check: compares what is checked in with what the source and the built library (make) say, prints the differences, and exits
1 if there are any. write: writes it anew.

The dump has the soname, each symbol with its version and prototype, the layout of each structure, and each constant. A line
that goes or changes breaks programs that exist: it needs another soname.
U
}

case ${1-} in
  check | write) ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
cd "$(dirname "$(readlink -f "$0")")"
library=../target/capi/lib/libmachine.so.0
[ -f "$library" ] || { echo "interface.sh: $library is not built: run make first" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd header && ../../scripts/cargo.sh run --quiet --release --locked --target-dir ../../target/header -- .. "$work/machine.h" "$work/man")

# The header as the compiler sees it, a declaration a line.
cc -E -P -I"$work" -x c "$work/machine.h" | tr '\n' ' ' | sed 's/; */;\n/g; s/  */ /g' |
  sed 's/^ //' | grep -E '^(const|struct|char|int|uint32_t) [^{]*[a-z]_[a-z_]*\(.*\);$' >"$work/prototypes"
{
  readelf -dW "$library" | sed -n 's/.*(SONAME).*\[\(.*\)\]/soname \1/p'
  nm -D --defined-only --with-symbol-versions "$library" | sed -n 's/.* T //p' | LC_ALL=C sort | while read -r symbol; do
    name=${symbol%%@*}
    prototype=$(grep -E "[ *]$name\\(" "$work/prototypes") ||
      { echo "interface.sh: the header lacks $name" >&2; exit 1; }
    echo "symbol $symbol $prototype"
  done
  grep -E '^#define (MACHINE|LIBMACHINE)_[A-Z_]* [0-9]' "$work/machine.h" | LC_ALL=C sort | sed 's/^#define /constant /'
  structures=$(sed -n 's/^struct \(machine_[a-z_]*\) {$/\1/p' "$work/machine.h")
  {
    echo '#include <stdio.h>'
    echo "#include \"$work/machine.h\""
    echo 'int main(void) {'
    for structure in $structures; do
      echo "printf(\"struct $structure size %zu\\n\", sizeof(struct $structure));"
      sed -n "/^struct $structure {/,/^};/p" "$work/machine.h" |
        sed -n 's/^  [a-z].*[ *]\([a-z_]*\)\(\[[0-9]*\]\)*;$/\1/p' | while read -r field; do
          echo "printf(\"struct $structure $field at %zu size %zu\\n\", offsetof(struct $structure, $field),"
          echo "  sizeof(((struct $structure *)0)->$field));"
        done
    done
    echo 'return 0; }'
  } >"$work/layout.c"
  cc -o "$work/layout" "$work/layout.c"
  "$work/layout"
} >"$work/libmachine.abi"

if [ "$1" = write ]; then
  cp "$work/machine.h" ../include/machine.h
  cp "$work/libmachine.abi" libmachine.abi
  mkdir -p ../docs/man
  rm -f ../docs/man/*machine*.3*
  cp "$work"/man/* ../docs/man/
else
  diff -u ../include/machine.h "$work/machine.h"
  diff -u libmachine.abi "$work/libmachine.abi"
  for page in "$work"/man/*; do diff -u "../docs/man/${page##*/}" "$page"; done
  for page in ../docs/man/*machine*.3*; do diff -u "$page" "$work/man/${page##*/}"; done
  echo 'include/machine.h, the manual pages and libmachine.abi are what the source says'
fi
