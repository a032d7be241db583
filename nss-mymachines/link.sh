#!/bin/sh
# link.sh ARCHIVE MODULE: links libnss_mymachines.so.2 from the crate's static library.
#
# One mapping for code and constants saves two of four, and the padding between them.
#
# The link is also the proof that the module cannot panic: the panic handler calls a function that does not exist,
# and with -z defs and --gc-sections a panic path that survived optimisation is an undefined symbol.
set -eu
archive=$1 module=$2
here=$(dirname "$0")
entries=$(sed -n 's/.*extern "C" fn \(_nss_mymachines_[a-z0-9_]*\).*/\1/p' "$here"/src/*.rs)
pull=
# A package takes debug information into another one, and strips by itself.
strip=-s
[ -z "${KEEP_SYMBOLS:-}" ] || strip=
for entry in $entries; do pull="$pull -Wl,-u,$entry"; done
# An entry point that is not in the archive is not an error to the linker: see that they are.
present=$("${NM:-nm}" --defined-only "$archive" 2>/dev/null)
for entry in $entries; do
    case $present in
    *" $entry"*) ;;
    *) [ "$entry" = _nss_mymachines_may_panic ] || { echo "link.sh: $archive lacks $entry" >&2; exit 1; } ;;
    esac
done
case $present in *" _nss_mymachines_may_panic"*) ;; *) pull=$(echo "$pull" | sed 's/ -Wl,-u,_nss_mymachines_may_panic//') ;; esac
# shellcheck disable=SC2086
exec "${CC:-cc}" -shared -nostartfiles -o "$module" -Wl,-soname,libnss_mymachines.so.2 \
    -Wl,--version-script="$here/nss.map" -Wl,-z,noseparate-code,-z,defs,-z,nodelete,-z,now,-z,relro,-z,noexecstack \
    -Wl,--gc-sections,--as-needed $strip $pull "$archive" -lc
