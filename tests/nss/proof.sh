#!/usr/bin/env bash
# Proves that the link of the module would fail if something in it could panic.
set -euo pipefail

usage() {
  cat <<'U'
usage: proof.sh DIRECTORY

Builds the NSS module twice under DIRECTORY: as it is, which must link, and with a function that may panic
(--features may-panic), which must not, for lack of nss_module_can_panic. Prints a line for each.
U
}
case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac
crate=$(dirname "$(readlink -f "$0")")/../../nss-mymachines
target=$(readlink -f "$1")/target
if ! command -v cargo >/dev/null; then
  echo 'SKIPPED: cargo is not installed'
  exit 0
fi

# attempt FEATURES: builds and links; what the linker says goes to standard output, its status is the result.
attempt() {
  (cd "$crate" && cargo build --quiet --release --locked --target-dir "$target" --features "$1") >&2
  "$crate/link.sh" "$target/release/libnss_mymachines.a" "$target/module.so" 2>&1
}

failed=0
if said=$(attempt ''); then
  echo 'ok the module links, so nothing in it can panic'
else
  printf '%s\nFAILED the module links, so nothing in it can panic\n' "$said"
  failed=1
fi
if ! said=$(attempt may-panic) && grep -q 'undefined reference to `nss_module_can_panic' <<<"$said"; then
  echo 'ok a module with a function that may panic does not link'
else
  printf '%s\nFAILED a module with a function that may panic does not link\n' "$said"
  failed=1
fi
exit $failed
