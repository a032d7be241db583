#!/usr/bin/env bash
# What libmachine's lookups cost beside libsystemd's, in one boot of Debian 13.
set -euo pipefail

usage() {
  cat <<'U'
usage: libmachine.sh [--check] [--rounds N] [SUITE]

Boots a Debian (trixie) with what was built (make), and prints figures of libmachine and of the libsystemd there: each is
the median of N rounds (15), which alternate between the two, so that what else runs is the same for both; the ratio is the
median of the rounds' ratios. Needs the lab (../lab/setup.sh); uses sudo when not run as root.

  --check  end with status 1 if a limit is not kept
U
}

check='' rounds=15 suite=trixie
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --check) check=yes ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift ;;
    --inside) rounds=$2; shift; inside=yes ;;
    -*) usage >&2; exit 2 ;;
    *) suite=$1 ;;
  esac
  shift
done

if [ -z "${inside-}" ]; then
  here=$(dirname "$(readlink -f "$0")")
  top=$(readlink -f "$here/../..")
  [ -e "$top/target/capi/lib/libmachine.so.0" ] || { echo 'libmachine.sh: libmachine is not built: run make first' >&2; exit 2; }
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  printf '#!/bin/bash\nexec /in/libmachine.sh --inside %s\n' "$rounds" >"$work/script"
  "$here/../lab/boot.sh" --in "$here" --in "$top/include:/include" --in "$top/target/capi/lib:/build" \
    "$suite" "$work/out" "$work/script" 900 || { tail -n 30 "$work/out/log" >&2; exit 2; }
  cat "$work/out/log"
  [ -z "$check" ] || ! grep -q 'MISSED$' "$work/out/log"
  exit
fi

cd /tmp
compile() { gcc -std=gnu11 -O2 -Wall -Wextra -Werror -Wno-unused-result "$@"; }
compile -o crowd /in/crowd.c
compile -I/include -o ours /in/libmachine.c /build/libmachine.so -Wl,-rpath,/build
compile -DSYSTEMD -o stock /in/libmachine.c -lsystemd
compile -o load /in/load.c -ldl
libsystemd=$(ldd stock | awk '/libsystemd/ { print $3 }')
libsystemd=$(readlink -f "$libsystemd")
libmachine=$(readlink -f /build/libmachine.so)

median() { sort -g | awk '{ value[NR] = $1 } END { print NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'; }
line() { printf '%-58s %10s %10s %7s %8s  %s\n' "$@"; }
# verdict VALUE LIMIT: a limit of - is none.
verdict() {
  if [ "$2" = - ]; then echo; else awk -v value="$1" -v limit="$2" 'BEGIN { print value <= limit ? "ok" : "MISSED" }'; fi
}
# compare NAME UNIT LIMIT OURS STOCK: both are shell commands that print a number.
compare() {
  local name=$1 limit=$3 i a b ours='' stock='' ratios=''
  for ((i = 0; i < rounds; i++)); do
    if ((i % 2)); then a=$(eval "$4"); b=$(eval "$5"); else b=$(eval "$5"); a=$(eval "$4"); fi
    ours+=$a$'\n' stock+=$b$'\n' ratios+=$(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.4f", a / b }')$'\n'
  done
  local ratio
  ratio=$(printf %s "$ratios" | median)
  line "$name, $2" "$(printf %s "$ours" | median)" "$(printf %s "$stock" | median)" "$ratio" "$limit" "$(verdict "$ratio" "$limit")"
}

line "Debian's libsystemd $(dpkg-query -W -f '${Version}' libsystemd0), Linux $(uname -r)" ours stock ratio limit ''

: >flat
./crowd processes 200 10 >flat &
crowd=$!
until [ "$(wc -l <flat)" = 2000 ] && [ -e /run/systemd/machines/unit:m199.scope ]; do sleep 0.1; done
# The caller's own group is its unit's. Whose group is below a unit's costs more: see Group::root.
inside=$(head -n1 flat) outside=$$
mkdir -p /sys/fs/cgroup/machine.slice/m0.scope/payload /sys/fs/cgroup/system.slice/below.service/inner
sleep 1000 &
echo $! >/sys/fs/cgroup/machine.slice/m0.scope/payload/cgroup.procs
payload=$!
sleep 1000 &
echo $! >/sys/fs/cgroup/system.slice/below.service/inner/cgroup.procs
below=$!
compare 'sd_pid_get_machine_name, a process in a machine' us 0.65 "./ours pid $inside m0" "./stock pid $inside m0"
compare 'the same, in a group below' us 0.65 "./ours pid $payload m0" "./stock pid $payload m0"
compare 'sd_pid_get_machine_name, a process outside' us 0.65 "./ours pid $outside -" "./stock pid $outside -"
compare 'the same, in a group below' us 0.65 "./ours pid $below -" "./stock pid $below -"
kill $payload $below
rmdir /sys/fs/cgroup/machine.slice/m0.scope/payload 2>/dev/null || true
compare 'machine_batch_new, 2000 processes in 200 machines, each' us 0.15 './ours many 2000 <flat' './stock many 2000 <flat'
kill $crowd
wait $crowd 2>/dev/null || true
until [ -z "$(cat /sys/fs/cgroup/machine.slice/*/cgroup.procs 2>/dev/null)" ]; do sleep 0.1; done
find /sys/fs/cgroup/machine.slice -mindepth 1 -depth -type d -exec rmdir {} +
rm -r /run/systemd/machines
: >nested
./crowd processes 200 10 nested >nested &
crowd=$!
until [ "$(wc -l <nested)" = 2000 ] && [ -e /run/systemd/machines/unit:m199.scope ]; do sleep 0.1; done
compare 'machine_batch_new, half of them in a group below, each' us - './ours many 2000 <nested' './stock many 2000 <nested'
kill $crowd
rm -r /run/systemd/machines

./crowd records 1000
compare 'sd_get_machine_names, 1000 machines' us 1.00 './ours names 1000' './stock names 1000'
rm -r /run/systemd/machines

./crowd uids 1048576 10000
for ((i = 0; i < rounds; i++)); do ./ours uids 1048576 10000; done | median >uids
line 'machine_name_by_uid, 10000 machines, us' "$(cat uids)" '' '' 5 "$(verdict "$(cat uids)" 5)"

compare 'dlopen' ns - "./load $libmachine" "./load $libsystemd"
size() { stat -c %s "$1"; }
relocations() { readelf -rW "$1" | grep -c R_; }
for figure in size relocations; do
  ours=$($figure "$libmachine") stock=$($figure "$libsystemd")
  line "$figure" "$ours" "$stock" "$(awk -v a="$ours" -v b="$stock" 'BEGIN { printf "%.4f", a / b }')" - ''
done
