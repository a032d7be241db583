#!/usr/bin/env bash
# How long it takes to find whose a uid is, at any number of machines.
set -euo pipefail

usage() {
  cat <<'U'
usage: ids.sh [--check] [MACHINES...]

Builds the NSS module as it is released, makes up MACHINES (1, 100, 1000 and 10000) with 65,536 ids each in a /run of its
own, and prints how long getpwuid and its like take through glibc with `passwd: mymachines`: the median and the 99th of
20,000 calls, in microseconds. No daemon runs: nothing is asked of one.

  --check  end with status 3 if a median is above 10 microseconds
U
}

limit=1000000 sizes=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --check) limit=10 ;;
    -*) usage >&2; exit 2 ;;
    *) sizes+=("$1") ;;
  esac
  shift
done
[ ${#sizes[@]} -gt 0 ] || sizes=(1 100 1000 10000)

here=$(dirname "$(readlink -f "$0")")
crate=$here/../../nss-mymachines
work=$(mktemp -d "${TMPDIR:-/tmp}/ids.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
(cd "$crate" && cargo build --quiet --release --locked --target-dir "$work/target")
mkdir "$work/lib"
"$crate/link.sh" "$work/target/release/libnss_mymachines.a" "$work/lib/libnss_mymachines.so.2"
"${CC:-gcc}" -std=c11 -O2 -Wall -Wextra -Werror -o "$work/ids" "$here/ids.c" "$here/../nss/world.c"
printf 'passwd: mymachines\ngroup: mymachines\nhosts: mymachines\n' >"$work/nsswitch.conf"

namespace=(unshare --mount --propagation private)
[ "$(id -u)" = 0 ] || namespace=(unshare --user --map-root-user --mount --propagation private)
status=0
printf '%8s  %-30s %8s %8s\n' machines question median 99th
for size in "${sizes[@]}"; do
  # shellcheck disable=SC2016
  "${namespace[@]}" sh -euc '
    mount -t tmpfs tmpfs /run
    mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
    LD_LIBRARY_PATH="$1/lib" exec "$1/ids" "$2" "$3"' sh "$work" "$size" "$limit" || status=$?
done
exit "$status"
