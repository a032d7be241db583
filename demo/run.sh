#!/usr/bin/env bash
# Shows the whole of it on this host without changing it. `make demo` builds first and calls this.
set -euo pipefail

usage() {
  cat <<'U'
usage: run.sh

Starts machined and two containers in private namespaces, and shows what a lookup says of them. Everything it makes
(processes, interfaces, mounts, /run, nsswitch.conf) is in those namespaces and gone when it ends; on this host it
needs a directory below $TMPDIR while it runs. As an ordinary user where the kernel allows user namespaces, with sudo
otherwise. Exits 0 if everything shown was as it should be, 1 if something was not.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac

here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$here")
PATH=$PATH:/usr/sbin:/sbin
fail() {
  printf 'demo: %s\n' "$@" >&2
  exit 1
}
for file in target/release/machined target/nss/libnss_mymachines.so.2; do
  [ -f "$root/$file" ] || fail "$file is not built: run make first"
done
for program in unshare nsenter ip socat getent cc; do
  command -v $program >/dev/null || fail "there is no $program: scripts/setup.sh demo installs it"
done

# What the story runs in: process ids, network, mounts and (where the caller is not root) users of its own. When it
# ends the kernel ends everything in it.
namespaces=(unshare --pid --fork --kill-child --mount --propagation private --mount-proc --net)
refusal=''
allowed() { refusal=$("$@" sh -c 'mount -t tmpfs tmpfs /run && ip link add type veth' 2>&1 >/dev/null </dev/null); }
# What keeps root from it, as far as that can be told.
why_not() {
  echo "the kernel's words: ${refusal:-none}"
  if [ "$(stat -c %d:%i / 2>/dev/null)" != "$(stat -c %d:%i /proc/1/root/. 2>/dev/null)" ]; then
    echo 'this looks like a plain chroot: / is not the root of a mount, and namespaces of mounts need one;'
    echo 'mount it first (mount --bind DIRECTORY DIRECTORY), or use systemd-nspawn or a virtual machine'
  else
    echo 'inside a container, start that with its privileges (podman or docker: --privileged), or use a virtual machine'
  fi
}
if [ "$(id -u)" = 0 ]; then
  who='root'
  allowed "${namespaces[@]}" || {
    mapfile -t reasons < <(why_not)
    fail 'root may make no namespaces here, which the demo runs in' "${reasons[@]}"
  }
elif allowed unshare --user --map-root-user "${namespaces[@]:1}"; then
  who="$(id -un), an ordinary user, who is root in a user namespace only"
  namespaces=(unshare --user --map-root-user "${namespaces[@]:1}")
elif command -v sudo >/dev/null; then
  echo 'This kernel does not let ordinary users make namespaces: the demo goes on with'
  echo 'sudo, which may ask for your password.'
  exec sudo "$here/run.sh"
else
  fail 'this kernel does not let ordinary users make namespaces, and there is no sudo: run it as root'
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/mymachines-demo.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM HUP
cc -O2 -o "$scratch/lookup" "$here/lookup.c"
cp "$root/target/release/machined" "$root/target/nss/libnss_mymachines.so.2" "$scratch"
printf 'passwd: files\ngroup: files\nhosts: mymachines files\n' >"$scratch/nsswitch.conf"
cd "$scratch"
status=0
WHO=$who "${namespaces[@]}" "$here/story.sh" "$scratch" || status=$?
if [ $status = 0 ]; then
  echo
  echo 'That was all. The containers, the daemon and their /run are gone.'
  echo
  echo 'What to do next:'
  echo '  sudo make install     puts it below /usr/local, and starts nothing;'
  echo '                        README.md, "By hand", has the three steps after that'
  echo '  mymachines doctor     says then what is missing, and the command that mends it'
  echo '  make check FAST=1     runs the tests that take a few minutes'
fi
exit $status
