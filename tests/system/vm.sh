#!/usr/bin/env bash
# What needs a kernel of its own: libvirt, cgroup controllers, AppArmor and Incus on Debian 13, and Debian 12's kernel.
set -euo pipefail

usage() {
  cat <<'U'
usage: vm.sh [--stock] [--out DIR] [PART]...

Boots machines of their own (../lab/vm.sh: qemu, without any help of the processor's) and runs these in them, or those
that are named:

  libvirt   Debian 13: domains of libvirt with qemu and LXC, cgroup controllers, and every registrar, with the stock daemon
            first and with ours then, as run.sh does
  apparmor  Debian 13: a program that AppArmor confines, with our rules for it and without
  incus     Debian 13: virtual machines of Incus, and the follower that registers them
  oldest    Debian 12 with its own kernel, 6.1: the tests of the NSS module and of the daemon

  --stock    only the stock daemon, and libvirt alone
  --out DIR  where the logs and consoles of the boots go; they are thrown away otherwise

One line per test; the last line counts. Some ten minutes. Needs qemu-system-x86_64, the lab and, without --stock, a build;
uses sudo when not run as root.
U
}

arguments=("$@") mode=both out='' parts=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --stock) mode=stock ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    libvirt | apparmor | incus | oldest) parts+=("$1") ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "${arguments[@]}"
[ ${#parts[@]} -gt 0 ] || parts=(libvirt apparmor incus oldest)

top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
work=$(mktemp -d /var/tmp/mymachines-check-vm.XXXXXX)
trap 'rm -rf "$work"' EXIT
out=${out:-$work/out}
failed=0 logs=()

# What the machine sees of this tree: all that is installed and tested, and of the build what is installed.
tree=$work/tree
mkdir -p "$tree/target"
tar -C "$top" --exclude=./target --exclude='./*/target' --exclude=./.git -c . | tar -C "$tree" -x
if [ "$mode" = both ]; then
  find "$top/target" -maxdepth 3 -type f \( -perm /1 -o -name 'lib*.so*' -o -name 'lib*.a' \) \
    -not -path '*/debug/*' -not -path '*/deps/*' -printf '%P\n' | tar -C "$top/target" -c -T - | tar -C "$tree/target" -x
fi

# boot NAME SUITE SECONDS [OPTION]: runs the script on standard input in a machine, and shows what it said.
boot() {
  local name=$1 suite=$2 seconds=$3 status=0
  cat >"$work/$name"
  logs+=("$out/$name/log")
  "$top/tests/lab/vm.sh" ${4+"$4"} --in "$tree:/src" "$suite" "$out/$name" "$work/$name" "$seconds" || status=$?
  echo "== $name"
  cat "$out/$name/log" || tail -n 30 "$out/$name/console"
  [ "$status" = 0 ] || failed=1
  # A boot that ended badly without a word is told.
  [ "$status" = 0 ] || grep -q '^FAILED' "$out/$name/log" || echo "FAILED: $name ended with status $status"
}

for part in "${parts[@]}"; do
  case $part in
    libvirt)
      boot libvirt trixie 3000 <<S
#!/bin/sh
export DEADLINE=200
exec /src/tests/system/inside.sh $mode --groups libvirt,registering
S
      ;;
    apparmor)
      [ "$mode" = both ] || continue
      boot apparmor trixie 1200 <<'S'
#!/bin/sh
exec /src/tests/system/apparmor.sh
S
      ;;
    incus)
      [ "$mode" = both ] || continue
      boot incus trixie 1200 --nested <<'S'
#!/bin/sh
exec /src/tests/tool/incus-inside.sh
S
      ;;
    oldest)
      [ "$mode" = both ] || continue
      boot oldest bookworm 3600 <<'S'
#!/bin/bash
export DEADLINE=600
uname -r
failed=0
# There is no cargo here, which proves something of the build and nothing of the kernel.
/src/tests/nss/run.sh --allow-skips --module /src/target/nss/libnss_mymachines.so.2 || failed=1
/src/tests/daemon/run.sh --machined /src/target/release/machined || failed=1
exit $failed
S
      ;;
  esac
done
count() {
  cat "${logs[@]}" | awk -v word="$1" '
    /^[0-9]+ passed, [0-9]+ failed/ { for (i = 2; i <= NF; i++) if ($i ~ "^" word) sum += $(i - 1) }
    END { print sum + 0 }'
}
echo "$(count passed) passed, $(count failed) failed, $(count skipped) skipped"
exit $failed
