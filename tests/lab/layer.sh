#!/usr/bin/env bash
# Adds packages to a Debian root of root.sh without a change to it, for boots that want them: boot.sh --with.
set -euo pipefail

usage() {
  cat <<'U'
usage: layer.sh SUITE PACKAGE...

Makes a directory with what the packages add to the Debian root of SUITE (see root.sh), unless it is there, and prints
where it is: a layer that is laid over that root. Uses sudo when not run as root.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;
esac
[ $# -gt 1 ] || { usage >&2; exit 2; }
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "$@"

here=$(dirname "$(readlink -f "$0")")
root=$("$here/root.sh" "$1")
shift
layer=$root-with-$(IFS=-; echo "$*")
exec 9>"$layer.lock"
flock 9
if [ ! -e "$layer.complete" ] || [ "$root/.lab-complete" -nt "$layer.complete" ]; then
  rm -rf --one-file-system "$layer" "$layer.complete"
  work=$(mktemp -d "$layer.XXXXXX")
  trap 'umount -R "$work/root" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
  mkdir "$work"/{root,work,upper}
  mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" "$work/root"
  "$here/apt.sh" "$work/root" "$@" >"$layer.log" 2>&1 9>&- || {
    tail -n 20 "$layer.log" >&2
    exit 1
  }
  umount "$work/root"
  # What apt knows of the mirror is half of it.
  rm -rf "$work/upper/var/lib/apt/lists" "$work/upper/var/cache/apt"
  mv "$work/upper" "$layer"
  touch "$layer.complete"
fi
echo "$layer"
