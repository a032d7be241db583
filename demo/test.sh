#!/usr/bin/env bash
# Tests the demo: as root and as an ordinary user, that it leaves the host alone, and that it can fail.
set -euo pipefail

usage() {
  cat <<'U'
usage: test.sh

Runs the demo (which must be built) as the caller, and where the caller is root as the user nobody too; compares what
the host has before and after. Prints a line for each check and how many passed; exits 1 if one failed.
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
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
mkdir -m 1777 "$scratch/tmp"
export TMPDIR=$scratch/tmp
passed=0 failed=0
check() { # SENTENCE COMMAND...
  local sentence=$1
  shift
  if "$@" >"$scratch/said" 2>&1; then
    passed=$((passed + 1))
    echo "ok $sentence"
  else
    failed=$((failed + 1))
    sed 's/^/    /' "$scratch/said"
    echo "FAILED $sentence"
  fi
}

# What a demo that went astray would change.
host() {
  sha256sum /etc/nsswitch.conf /etc/hosts /etc/ld.so.cache
  find /etc -xdev -newer "$scratch/start" -type f
  find /run/systemd/machine /run/systemd/machines /run/machined -printf '%p %y %T@\n' 2>/dev/null | sort
  ip -o link show type veth | grep -E '\<(ve-web|ve-db|host0)\>' || true
  awk '$5 == "/run" || $5 == "/etc/nsswitch.conf"' /proc/self/mountinfo
  find "$TMPDIR" -mindepth 1
  # The containers' processes and ours, by what they run.
  grep -lsF -e mymachines-demo. -e "$here/story.sh" /proc/[0-9]*/cmdline || true
}
shows() { [ "$(grep -c '^ *\$ ' "$scratch/$1")" -gt 30 ] && grep -q 'That was all' "$scratch/$1"; }
fits() { ! awk 'length > 80' "$scratch/$1" | grep .; }
is_told() { diff <(echo "$before") <(host); }

touch "$scratch/start"
before=$(host)
tell() { # NAME COMMAND...
  local name=$1 rc=0
  shift
  timeout -k 5 300 "$@" >"$scratch/$name" 2>&1 </dev/null || rc=$?
  check "the demo succeeds as $name" sh -c "[ $rc = 0 ] || { cat $scratch/$name; false; }"
  check "it shows the whole story as $name" shows "$name"
  check "its lines fit into 80 columns as $name" fits "$name"
  check "the host is as before as $name" is_told
}

tell "$(id -un)" "$here/run.sh"
if [ "$(id -u)" = 0 ]; then
  # The checkout of root may be out of another user's sight.
  mkdir -p "$scratch/copy/target/release" "$scratch/copy/target/nss"
  cp -r "$here" "$scratch/copy/"
  cp "$root/target/release/machined" "$scratch/copy/target/release/"
  cp "$root/target/nss/libnss_mymachines.so.2" "$scratch/copy/target/nss/"
  if setpriv --reuid=65534 --regid=65534 --clear-groups unshare --user --map-root-user --net --mount true 2>/dev/null; then
    tell nobody setpriv --reuid=65534 --regid=65534 --clear-groups "$scratch/copy/demo/run.sh"
    check 'as nobody it needs no privileges' grep -q 'an ordinary user' "$scratch/nobody"
  else
    echo 'SKIPPED: this kernel lets no ordinary user make namespaces'
  fi
fi

check 'it says what to do next' grep -q '^What to do next:' "$scratch/$(id -un)"

if [ "$(id -u)" = 0 ]; then
  # What root may not do there, a chroot without privileges may not either.
  rc=0
  setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$here/run.sh" >"$scratch/refused" 2>&1 </dev/null || rc=$?
  check 'where namespaces are refused it fails' [ $rc = 1 ]
  check 'and says so in the words of the kernel' grep -q "kernel's words: unshare: .*Operation not permitted" "$scratch/refused"
  check 'and what would help' grep -q 'virtual machine' "$scratch/refused"
fi

# A module that answers nothing.
mkdir -p "$scratch/broken/target/release" "$scratch/broken/target/nss"
cp -r "$here" "$scratch/broken/"
cp "$root/target/release/machined" "$scratch/broken/target/release/"
echo 'int nothing;' | "${CC:-cc}" -shared -x c -o "$scratch/broken/target/nss/libnss_mymachines.so.2" -
rc=0
"$scratch/broken/demo/run.sh" >"$scratch/out" 2>&1 </dev/null || rc=$?
check 'a module that finds nothing makes it fail' [ $rc = 1 ]
check 'it says what it missed' grep -q '^demo: FAILED: ' "$scratch/out"
check 'the host is as before when it failed' is_told

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
