#!/usr/bin/env bash
# What may be seen of the module without running it.
set -euo pipefail

usage() {
  cat <<'U'
usage: elf.sh MODULE

Checks the file of the NSS module: what it exports, what it needs, and what it must not have. Prints a line for each.
U
}
case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac
module=$1
failed=0

# check SENTENCE ACTUAL EXPECTED
check() {
  if [ "$2" = "$3" ]; then
    echo "ok $1"
  else
    printf '    it is:     %s\n    should be: %s\n' "${2//$'\n'/ }" "${3//$'\n'/ }"
    echo "FAILED $1"
    failed=1
  fi
}

segments=$(readelf -lW "$module")
sections=$(readelf -SW "$module")
dynamic=$(readelf -dW "$module")
exported=$(nm -D --defined-only "$module" | awk '{print $3}' | sort)
undefined=$(nm -D --undefined-only "$module" | awk '{print $2}' | sort)

tagged() {
  sed -n "s/.*($1).*\[\(.*\)\]/\1/p" <<<"$dynamic"
}
matching() {
  grep -E "$1" <<<"$2" || true
}

check 'the soname is libnss_mymachines.so.2' "$(tagged SONAME)" libnss_mymachines.so.2
check 'only the C library is needed' "$(tagged NEEDED)" libc.so.6
check 'the entry points are exported, and nothing else' "$exported" "$(
  printf '_nss_mymachines_%s\n' get{hostbyaddr,hostbyaddr2,hostbyname,hostbyname2,hostbyname3,hostbyname4,pwnam,pwuid,grnam,grgid}_r | sort
)"
check 'there is no thread-local storage' "$(matching ' TLS ' "$segments$sections")" ''
check 'nothing runs when it is loaded or unloaded' \
  "$(matching '\.(init|fini|preinit)(_array)?[[:space:]]|\.ctors|\.dtors' "$sections")$(matching '\((INIT|FINI|PREINIT)' "$dynamic")" ''
check 'there are no variables' "$(matching ' \.(data|bss)[[:space:]]' "$sections")" ''
check 'it is never unloaded' "$(grep -o NODELETE <<<"$dynamic" | head -n1)" NODELETE
check 'its symbols are bound when it is loaded' "$(grep -oE 'FLAGS_1.*\<NOW\>' <<<"$dynamic" | grep -oE '\<NOW\>')" NOW
check 'what is relocated is read-only afterwards' "$(grep -o GNU_RELRO <<<"$segments" | head -n1)" GNU_RELRO
check 'the stack is not executable' "$(awk '$1 == "GNU_STACK" {print $7}' <<<"$segments")" RW
check 'no text is relocated' "$(matching TEXTREL "$dynamic")" ''
# Code and data reach up to a boundary of pages in the file, 28 KiB, and section headers follow: with another page it is 33 KiB.
check 'it is smaller than 32 KiB' "$([ "$(stat -Lc %s "$module")" -lt 32768 ] && echo yes)" yes
check 'no symbol is newer than glibc 2.34' "$(
  sed -n 's/.*@GLIBC_//p' <<<"$undefined" | { cat; echo 2.34; } | sort -V | tail -n1
)" 2.34
check 'it calls nothing of sockets, memory, threads, processes or the loader' "$(matching \
  '^(socket|connect|send|recv|bind|malloc|calloc|realloc|free|mmap|brk|sbrk|pthread_|fork|vfork|clone|posix_spawn|exec|dl|getenv|setenv|secure_getenv|signal|sig|abort|exit|raise|__cxa|_Unwind|syslog|printf|fopen)' \
  "$undefined")" ''
exit $failed
