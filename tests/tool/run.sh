#!/usr/bin/env bash
# Tests of the command line tool, from outside: with real machines and made-up records, whatever the daemon's state.
set -uo pipefail

usage() {
  cat <<'U'
usage: run.sh [--tool FILE] [OPTION...] [PROGRAM...]

Runs PROGRAM (reading, calling, hooks, owned, whose: all by default; dns and directories, which need servers that setup.sh long
installs) as ../daemon/run.sh runs its own, and takes its other options.

  --tool FILE      the program to test; by default it is built (cargo build --release)
U
}

here=$(dirname "$(readlink -f "$0")")
tool='' options=() programs=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --tool) tool=$(readlink -f "${2:?--tool needs a file}"); shift ;;
    --machined) options+=("$1" "${2:?--machined needs a file}"); shift ;;
    -*) options+=("$1") ;;
    *) programs+=("$1") ;;
  esac
  shift
done
[ ${#programs[@]} -gt 0 ] || programs=(reading calling hooks owned whose)
if [ -z "$tool" ]; then
  (cd "$here/../.." && cargo build --quiet --release --locked -p mymachines) || exit 1
  tool=$(readlink -f "${CARGO_TARGET_DIR:-$here/../../target}/release/mymachines")
fi
# Other users run it, too, and this may be below a directory that is not theirs, as /root.
place=$(mktemp -d "${TMPDIR:-/tmp}/tool.XXXXXX")
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
cp "$tool" "$place/mymachines"
export MYMACHINES=$place/mymachines
"$here/../daemon/run.sh" --in "$here" "${options[@]}" "${programs[@]}"
