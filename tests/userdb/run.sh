#!/usr/bin/env bash
# Tests of the userdb provider, from outside: raw Varlink, real machines and made-up records.
set -uo pipefail

usage() {
  cat <<'U'
usage: run.sh [--machined FILE] [--userdb FILE] [OPTION...] [PROGRAM...]

Runs PROGRAM (answers, guests, life, passing; all by default) as ../daemon/run.sh runs its own, and takes its other options.

  --machined FILE  the daemon that registers machines; by default it is built
  --userdb FILE    the provider to test; by default it is built (cargo build --release)
  --module FILE    the NSS module, which has to tell the same as the provider
U
}

here=$(dirname "$(readlink -f "$0")")
userdb='' options=() programs=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --userdb) userdb=$(readlink -f "${2:?--userdb needs a file}"); shift ;;
    --module) NSS_MODULE=$(readlink -f "${2:?--module needs a file}"); export NSS_MODULE; shift ;;
    --machined) options+=("$1" "${2:?--machined needs a file}"); shift ;;
    -*) options+=("$1") ;;
    *) programs+=("$1") ;;
  esac
  shift
done
[ ${#programs[@]} -gt 0 ] || programs=(answers guests life passing)
if [ -z "$userdb" ]; then
  (cd "$here/../.." && cargo build --quiet --release --locked -p userdb-machined) || exit 1
  userdb=$(readlink -f "${CARGO_TARGET_DIR:-$here/../../target}/release/userdb-machined")
fi
export USERDB_MACHINED=$userdb
exec "$here/../daemon/run.sh" --in "$here" "${options[@]}" "${programs[@]}"
