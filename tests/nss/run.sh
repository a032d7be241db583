#!/usr/bin/env bash
# Tests libnss_mymachines.so.2 as processes see it.
set -euo pipefail

usage() {
  cat <<'U'
usage: run.sh [--module FILE] [--keep] [--allow-skips]

Tests the NSS module as a process sees it, without a daemon: the tests write the records themselves. Everything runs in
a private mount namespace with its own /run and nsswitch.conf; nothing outside of it and of a temporary directory
changes. Runs as root, or as a user who may make user namespaces. Needs a C compiler, binutils, cargo and valgrind.

  --module FILE   the module to test; by default it is built (cargo) and linked first
  --keep          keep the temporary directory, and say where it is
  --allow-skips   what cannot run here does not count as failed
U
}

module='' keep='' allow_skips=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --module) module=$(readlink -f "${2:?--module needs a file}"); shift ;;
    --keep) keep=yes ;;
    --allow-skips) allow_skips=yes ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

here=$(dirname "$(readlink -f "$0")")
crate=$here/../../nss-mymachines
work=$(mktemp -d "${TMPDIR:-/tmp}/nss-tests.XXXXXX")
if [ -n "$keep" ]; then
  trap 'echo "kept: $work"' EXIT
else
  trap 'rm -rf "$work"' EXIT
fi
chmod 755 "$work"
mkdir "$work/lib" "$work/bin" "$work/out"

if [ -z "$module" ]; then
  (cd "$crate" && cargo build --quiet --release --locked --target-dir "$work/target")
  "$crate/link.sh" "$work/target/release/libnss_mymachines.a" "$work/lib/libnss_mymachines.so.2"
else
  cp "$module" "$work/lib/libnss_mymachines.so.2"
fi
printf 'passwd: files mymachines\ngroup: files mymachines\nhosts: mymachines\n' >"$work/nsswitch.conf"

programs='direct layout records private own resolve users processes hostile'
for program in $programs; do
  "${CC:-gcc}" -std=c11 -O2 -g -Wall -Wextra -Werror -pthread -o "$work/bin/$program" \
    "$here/$program.c" "$here"/{check,world,module,process,filter}.c -ldl
done

# What a test runs in. The module is found as any library is, through the directory.
namespace=(unshare --mount --propagation private)
[ "$(id -u)" = 0 ] || namespace=(unshare --user --map-root-user --mount --propagation private)
inside() {
  # shellcheck disable=SC2016
  timeout -k 5 $((${DEADLINE:-60} * 5)) "${namespace[@]}" sh -euc '
    mount -t tmpfs tmpfs /run
    mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
    export LD_LIBRARY_PATH="$1/lib"
    shift
    exec "$@"' sh "$work" "$@"
}

# step NAME COMMAND...: runs a step whose lines go to a file of its own; a step that ends badly without a word is told.
step() {
  local name=$1 status=0
  shift
  "$@" >"$work/out/$name" 2>&1 </dev/null || status=$?
  if [ "$status" != 0 ] && ! grep -q '^FAILED' "$work/out/$name"; then
    echo "FAILED $name ended with status $status" >>"$work/out/$name"
  fi
}
show() {
  local name
  for name; do
    echo "== $name"
    cat "$work/out/$name"
  done
}

under_valgrind() {
  if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: valgrind is not installed"
    return
  fi
  inside valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
    --show-leak-kinds=definite "$work/bin/resolve" 2>&1 | grep -v '^--'
}
bound_at_once() {
  inside env LD_BIND_NOW=1 "$work/bin/resolve"
}
without_static_tls() {
  inside env GLIBC_TUNABLES=glibc.rtld.optional_static_tls=0 "$work/bin/resolve"
}

# Two at a time: the machine may be small.
step valgrind under_valgrind &
step elf "$here/elf.sh" "$work/lib/libnss_mymachines.so.2"
step proof "$here/proof.sh" "$work"
for program in direct records private own resolve; do step "$program" inside "$work/bin/$program"; done
step clients inside "$here/clients.sh"
step bind-now bound_at_once
step static-tls without_static_tls
wait
step layout inside "$work/bin/layout" &
for program in users processes hostile; do step "$program" inside "$work/bin/$program"; done
wait
show elf proof direct layout records private own resolve clients bind-now static-tls users processes hostile valgrind

count() {
  cat "$work"/out/* | grep -c "^$1" || true
}
passed=$(count 'ok ') failed=$(count FAILED) skipped=$(count SKIPPED)
[ -n "$allow_skips" ] || failed=$((failed + skipped)) skipped=0
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
