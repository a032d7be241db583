#!/usr/bin/env bash
# Real container managers that do not register by themselves, and our hooks: LXC, Incus and Podman of a Debian, booted.
set -euo pipefail

usage() {
  cat <<'U'
usage: containers.sh [--out DIR]

Boots the lab's Debian 13 with LXC, Incus and Podman in it, installs what `make` built, and starts containers that are to be
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
with=()
for package in lxc podman crun conmon netavark slirp4netns uidmap fuse-overlayfs dbus-user-session incus-base; do with+=(--with "$package"); done
work=$(mktemp -d "${TMPDIR:-/tmp}/containers-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
out=${out:-$work/out}
status=0
"$top/tests/lab/boot.sh" "${with[@]}" --in "$top:/src" trixie "$out" "$top/tests/tool/containers-inside.sh" 800 || status=$?
cat "$out/log" || { tail -n 30 "$out/console"; status=1; }
exit "$status"
