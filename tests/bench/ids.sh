#!/usr/bin/env bash
# How long it takes to find whose a uid is, at any number of machines.
set -euo pipefail

usage() {
  cat <<'U'
usage: ids.sh [--check] [MACHINES...]

Builds the NSS module and the userdb provider as they are released, makes up MACHINES (1, 100, 1000 and 10000) with 65,536
ids each in a /run of its own, and prints how long it takes to ask for one of them, or for nobody: the median and the
99th of a hundred calls, in microseconds, each beside its target.

  mymachines  getpwuid and its like, nsswitch.conf saying `passwd: mymachines`: at most 10 us
  frozen      the same while the provider is stopped (no daemon runs): the same
  socket      GetUserRecord on a new connection to the provider: at most 80 us
  systemd     getpwuid and its like, `passwd: systemd`, through nss-systemd to the provider: at most 1.2 times what the
              first number of machines took. In a copy of the lab's Debian 13 (../lab/root.sh), so as root only

  --check  end with status 3 if a target is missed
U
}

check='' sizes=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --check) check=yes ;;
    -*) usage >&2; exit 2 ;;
    *) sizes+=("$1") ;;
  esac
  shift
done
[ ${#sizes[@]} -gt 0 ] || sizes=(1 100 1000 10000)

here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../..")
crate=$top/nss-mymachines
work=$(mktemp -d "${TMPDIR:-/tmp}/ids.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"
(cd "$crate" && cargo build --quiet --release --locked --target-dir "$work/target")
(cd "$top" && cargo build --quiet --release --locked -p userdb-machined)
mkdir "$work/lib" "$work/root"
"$crate/link.sh" "$work/target/release/libnss_mymachines.a" "$work/lib/libnss_mymachines.so.2"
cp "$top/target/release/userdb-machined" "$work/provider"
"${CC:-gcc}" -std=c11 -O2 -Wall -Wextra -Werror -o "$work/ids" "$here/ids.c" "$here/../nss/world.c"
for module in mymachines systemd; do
  printf 'passwd: %s\ngroup: %s\nhosts: files\n' $module $module >"$work/nsswitch-$module"
done

namespace=(unshare --mount --propagation private)
[ "$(id -u)" = 0 ] || namespace=(unshare --user --map-root-user --mount --propagation private)
# shellcheck disable=SC2016
on_host='
  mount -t tmpfs tmpfs /run
  mount --bind "$1/nsswitch-mymachines" /etc/nsswitch.conf
  LD_LIBRARY_PATH="$1/lib" exec "$1/ids" "$2" "$3" "$4" "$1/provider"'
# shellcheck disable=SC2016
in_lab='
  mount -t tmpfs tmpfs "$1/root"
  mkdir "$1/root/upper" "$1/root/over" "$1/root/lab"
  mount -t overlay overlay -o "lowerdir=$5,upperdir=$1/root/upper,workdir=$1/root/over" "$1/root/lab"
  cd "$1/root/lab"
  mount -t proc proc proc
  mount -t tmpfs tmpfs run
  cp "$1/ids" "$1/provider" .
  cp "$1/nsswitch-systemd" etc/nsswitch.conf
  exec chroot . /ids "$2" "$3" "$4" /provider'
lab=''
if [ "$(id -u)" = 0 ]; then
  lab=$("$here/../lab/root.sh" trixie)
else
  echo "SKIPPED: through nss-systemd: only root can enter the lab's Debian" >&2
fi
for size in "${sizes[@]}"; do
  for way in mymachines:20000 frozen:2000 socket:5000; do
    "${namespace[@]}" sh -euc "$on_host" sh "$work" "$size" "${way%:*}" "${way#*:}"
  done
  [ -z "$lab" ] || "${namespace[@]}" sh -euc "$in_lab" sh "$work" "$size" systemd 2000 "$lab"
done >"$work/figures"

awk -F'\t' -v check="$check" '
  BEGIN { printf "%8s  %-10s  %-27s %8s %8s  %s\n", "machines", "through", "question", "median", "99th", "target" }
  !(($2, $3) in first) { first[$2, $3] = $4 }
  {
    limit = $2 == "socket" ? 80 : $2 == "systemd" ? 1.2 * first[$2, $3] : 10
    target = $2 == "systemd" ? sprintf("1.2 x %.1f, is %.2f", first[$2, $3], $4 / first[$2, $3]) : limit
    verdict = ""
    if ($4 > limit) { verdict = "  MISSED"; missed++ }
    printf "%8s  %-10s  %-27s %8.1f %8.1f  %s%s\n", $1, $2, $3, $4, $5, target, verdict
  }
  END {
    printf "%d of %d targets missed\n", missed, NR
    if (check && missed) exit 3
  }' "$work/figures"
