#!/usr/bin/env bash
# Real container managers that do not register by themselves, and our hooks: LXC and Podman of a Debian, booted.
set -euo pipefail

usage() {
  cat <<'U'
usage: containers.sh [--out DIR]

Boots the lab's Debian 13 with LXC and Podman in it, installs what `make` built, and starts containers that are to be
registered by the hooks. One line per test; the last line counts. Needs the lab (../lab/setup.sh) and a build.

  --out DIR  where the log and the console of the boot go; they are thrown away otherwise
U
}

out=''
case ${1-} in
  -h | --help) usage; exit 0 ;;
  --out) out=${2:?--out needs a directory} ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "$@"
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
lab=${MYMACHINES_LAB:-/var/cache/mymachines-lab}
plain=$("$top/tests/lab/root.sh" trixie)
root=$lab/trixie-containers
exec 9>"$root.lock"
flock 9
if [ ! -e "$root/.lab-complete" ] || [ "$plain/.lab-complete" -nt "$root/.lab-complete" ]; then
  rm -rf --one-file-system "$root"
  cp -a "$plain" "$root"
  rm "$root/.lab-complete"
fi
"$top/tests/lab/apt.sh" "$root" lxc podman crun conmon netavark slirp4netns uidmap fuse-overlayfs dbus-user-session >"$root.log" 2>&1 9>&- ||
  { tail -n 20 "$root.log" >&2; exit 1; }
touch "$root/.lab-complete"
work=$(mktemp -d "${TMPDIR:-/tmp}/containers-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
out=${out:-$work/out}
status=0
"$top/tests/lab/boot.sh" --in "$top:/src" "$root" "$out" "$top/tests/tool/containers-inside.sh" 800 || status=$?
cat "$out/log" || { tail -n 30 "$out/console"; status=1; }
exit "$status"
