#!/usr/bin/env bash
# What libmachine's lookups cost beside libsystemd's, in one boot of Debian 13.
set -euo pipefail

usage() {
  cat <<'U'
usage: libmachine.sh [--check] [--rounds N] [SUITE]

Boots a Debian (trixie) with what was built (make), and prints figures of libmachine and of the libsystemd there: each is
the median of N rounds (15), which alternate between the two, so that what else runs is the same for both; the ratio is the
median of the rounds' ratios. The floor is what the same system calls cost a program that does nothing else (floor.c): a
figure within 1.3 times that counts as met, whatever the limit. Needs the lab (../lab/setup.sh); uses sudo when not run as root.

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
compile -o floor /in/floor.c
libsystemd=$(ldd stock | awk '/libsystemd/ { print $3 }')
libsystemd=$(readlink -f "$libsystemd")
libmachine=$(readlink -f /build/libmachine.so)

median() { sort -g | awk '{ value[NR] = $1 } END { print NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'; }
divide() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.4f", a / b }'; }
line() { printf '%-60s %9s %9s %7s %6s %8s %7s  %s\n' "$@"; }
# verdict VALUE LIMIT [TIMES THE FLOOR]: a limit of - is none. What costs little more than its system calls is as good as it can be.
verdict() {
  if [ "$2" = - ]; then echo; else
    awk -v value="$1" -v limit="$2" -v times="${3:-9}" \
      'BEGIN { print value <= limit ? "ok" : times <= 1.3 ? "ok: 1.3 floors" : "MISSED" }'
  fi
}
# compare NAME UNIT LIMIT OURS STOCK [FLOOR]: the last three are shell commands that print a number; a stock of : is none.
compare() {
  local name=$1 limit=$3 i a b c ours='' stock='' floors='' ratios='' times='' ratio='' floor='' multiple=''
  for ((i = 0; i < rounds; i++)); do
    if ((i % 2)); then a=$(eval "$4"); b=$(eval "$5"); else b=$(eval "$5"); a=$(eval "$4"); fi
    ours+=$a$'\n'
    [ -z "$b" ] || stock+=$b$'\n' ratios+=$(divide "$a" "$b")$'\n'
    [ -n "${6-}" ] || continue
    c=$(eval "$6")
    floors+=$c$'\n' times+=$(divide "$a" "$c")$'\n'
  done
  ours=$(printf %s "$ours" | median)
  [ -z "$stock" ] || stock=$(printf %s "$stock" | median) ratio=$(printf %s "$ratios" | median)
  [ -z "$floors" ] || floor=$(printf %s "$floors" | median) multiple=$(printf %s "$times" | median)
  line "$name, $2" "$ours" "$stock" "$ratio" "$limit" "$floor" "$multiple" "$(verdict "${ratio:-$ours}" "$limit" "$multiple")"
}

line "Debian's libsystemd $(dpkg-query -W -f '${Version}' libsystemd0), Linux $(uname -r)" ours stock ratio limit floor times ''

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
compare 'sd_pid_get_machine_name, a process in a machine' us 0.35 "./ours pid $inside m0" "./stock pid $inside m0" \
  "./floor pid $inside /run/systemd/machines/unit:m0.scope"
compare 'the same, in a group below' us 0.65 "./ours pid $payload m0" "./stock pid $payload m0"
compare 'sd_pid_get_machine_name, a process outside' us 0.35 "./ours pid $outside -" "./stock pid $outside -" \
  "./floor pid $outside -"
compare 'the same, in a group below' us 0.65 "./ours pid $below -" "./stock pid $below -"
kill $payload $below
rmdir /sys/fs/cgroup/machine.slice/m0.scope/payload 2>/dev/null || true
compare 'machine_batch_new, 2000 processes in 200 machines, each' us 0.10 './ours many 2000 <flat' './stock many 2000 <flat' \
  './floor many 200 10 <flat'
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
compare 'machine_name_by_uid, 10000 machines' us 4.1 './ours uids 1048576 10000' : './floor uids 1048576 10000'

compare 'dlopen' ns - "./load $libmachine" "./load $libsystemd"
size() { stat -c %s "$1"; }
relocations() { readelf -rW "$1" | grep -c R_; }
for figure in size relocations; do
  ours=$($figure "$libmachine") stock=$($figure "$libsystemd")
  line "$figure" "$ours" "$stock" "$(divide "$ours" "$stock")" - '' '' ''
done
