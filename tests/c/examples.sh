#!/usr/bin/env bash
# examples.sh PROGRAMS LIBRARIES: the examples of libmachine on a machine that is made up, in a /run of its own.
set -euo pipefail
programs=$1 libraries=$2
if [ -z "${3-}" ]; then
  namespace=(unshare --mount --propagation private)
  [ "$(id -u)" = 0 ] || namespace=(unshare --user --map-root-user --mount --propagation private)
  exec "${namespace[@]}" "$0" "$programs" "$libraries" inside
fi
export LD_LIBRARY_PATH=$libraries
mount -t tmpfs tmpfs /run
# Groups only seem to be: nothing is to be found where they would be.
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir -p /run/systemd/machines
sleep 100 &
leader=$!
printf '%s\n' NAME=old CLASS=vm "LEADER=$leader" >/run/systemd/machines/old
"$programs/machine-watch" >/run/watched &
watcher=$!
trap 'kill $leader $watcher' EXIT
seems_in() { printf '1:name=systemd:%s\n0::%s\n' "$2" "$2" >"/run/group-$1" && mount --bind "/run/group-$1" "/proc/$1/cgroup"; }
seems_in 1 /init.scope
seems_in $leader /machine.slice/machine-web.scope
record() {
  printf '%s\n' NAME=web CLASS=container SERVICE=systemd-nspawn SCOPE=machine-web.scope "LEADER=$leader" "ADDRESSES=$1" \
    >/run/systemd/machines/.#web
  mv /run/systemd/machines/.#web /run/systemd/machines/web
}
# until_said LINE: waits for a line of the watcher.
until_said() {
  local i
  for i in $(seq 600); do
    if grep -qxF -- "$1" /run/watched; then echo "ok machine-watch says: $1"; return; fi
    sleep 0.1
  done
  cat /run/watched
  echo "FAILED machine-watch says: $1"
}
until_said "there    old: vm"
until_said '-- that is all; now watching'
record 10.0.0.2
until_said 'new      web: container of systemd-nspawn, 10.0.0.2'
record '"10.0.0.3 fd00::3"'
until_said 'changed  web: container of systemd-nspawn, 10.0.0.3 fd00::3'
ln -s web /run/systemd/machines/unit:machine-web.scope
"$programs/machine-ps" >/run/listed
for line in "$(printf '%7d  %-24s %s' $leader web sleep)" "$(printf '%7d  %-24s %s' $watcher - machine-watch)"; do
  if grep -qxF -- "$line" /run/listed; then echo "ok machine-ps says: $line"; else cat /run/listed; echo "FAILED machine-ps says: $line"; fi
done
rm /run/systemd/machines/web
until_said 'gone     web'
