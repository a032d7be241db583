#!/usr/bin/env bash
# Clients that others wrote, each against the original first and then against ours.
set -euo pipefail

usage() {
  cat <<'U'
usage: run.sh [--machined FILE] [PART]...

Fetches clients that others wrote, and builds those that have to be; what cannot be had is skipped, and said so. The parts, all by
default:

  images    without systemd, and ours alone: python-varlink and gdbus on images
  programs  in a booted Debian 13: go-systemd's own tests of machine1 and import1 and zlink's of machined (without what it says of the
            vendor), varlink-cli, pydbus, dbus-next, GLib and Net::DBus, and mkosi's way to register
  caches    nscd, unscd and nsncd, each in a boot of its own, asked by a static program with musl
  control   a made-up manager at the control address of a machine, and machinectl of sid

The other clients are elsewhere: libvirt in ../system/vm.sh (make check-vm), procps in ../c/procps.sh, LXC, Podman and
Incus in ../tool. One line per test; the last line counts. Needs root, a build, cargo, go, gdbus, pip, the lab and the network.
U
}

machined='' parts=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --machined) machined=$(readlink -f "${2:?--machined needs a file}"); shift ;;
    images | programs | caches | control) parts+=("$1") ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] || parts=(images programs caches control)
here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../..")
machined=${machined:-$top/target/release/machined}
# Between runs: what is built of crates.
built=$top/target/clients
work=$(mktemp -d "${TMPDIR:-/tmp}/clients.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/clients"
status=0
failed() { status=1; }

# had WHAT COMMAND...: fetches something; where that fails it is skipped.
had() {
  local what=$1
  shift
  if ! "$@" >"$work/said" 2>&1; then
    tail -n 10 "$work/said" | sed 's/^/    /'
    echo "SKIPPED: $what could not be fetched or built"
  fi
}

# unpacked DIRECTORY PACKAGE...: Debian's packages, fetched and not installed.
unpacked() {
  local directory=$1 package
  shift
  mkdir "$work/debs" && (cd "$work/debs" && apt-get download -q "$@") || return
  for package in "$work"/debs/*.deb; do dpkg -x "$package" "$directory"; done
  rm -r "$work/debs"
}

go_systemd() {
  unpacked "$work/source" golang-github-coreos-go-systemd-dev golang-dbus-dev || return
  export GOPATH=$work/source/usr/share/gocode GO111MODULE=off GOFLAGS=
  local part
  for part in machine1 import1; do
    (cd "$GOPATH/src/github.com/coreos/go-systemd" && go test -c -o "$work/clients/$part.test" "./$part") || return
  done
}

# The source of a crate, by cargo.
crate() { # NAME VERSION
  mkdir -p "$built/fetch/src" && : >"$built/fetch/src/lib.rs"
  printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n[dependencies]\n%s = "=%s"\n' "$1" "$2" >"$built/fetch/Cargo.toml"
  (cd "$built/fetch" && "$cargo" fetch --quiet && "$cargo" metadata --format-version 1 --offline) |
    python3 -c 'import json, os, sys; print(*[os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == sys.argv[1]])' "$1"
}

zlink() {
  local source copy=$built/zlink test
  source=$(crate zlink 0.8.0) && [ -n "$source" ] || return
  rm -rf "$copy" && cp -r "$source" "$copy" || return
  # It is to be systemd's own daemon there, and its org.varlink.service that of zlink, which has an error more than systemd's:
  # that alone is left out.
  sed -i '/assert_eq!(info.vendor,/d; /assert!(info.product.contains("systemd"))/d; /assert_eq!(info.url,/d; /assert_eq!(&interface, varlink_service::DESCRIPTION)/d' \
    "$copy/tests/machined_proxy_e2e.rs"
  [ "$(diff "$source/tests/machined_proxy_e2e.rs" "$copy/tests/machined_proxy_e2e.rs" | grep -c '^<')" = 4 ] || return
  printf '\n[workspace]\n' >>"$copy/Cargo.toml"
  test=$("$cargo" test --quiet --no-run --manifest-path "$copy/Cargo.toml" --target-dir "$built/target" --features idl-parse \
    --test machined_proxy_e2e --message-format json | sed -n 's/.*"executable":"\([^"]*machined_proxy_e2e[^"]*\)".*/\1/p') || return
  cp "$test" "$work/clients/zlink.test"
}

# The program `varlink`, of those who have designed Varlink.
varlink_cli() {
  "$cargo" install --quiet --locked --root "$built/varlink-cli" --target-dir "$built/target" varlink-cli@5.0.0 || return
  cp "$built/varlink-cli/bin/varlink" "$work/clients"
}

# Of the Debian that is booted, as that Debian's apt knows it: an older one registers nothing.
mkosi() {
  local root
  root=$("$top/tests/lab/root.sh" trixie) && mkdir -p "$work/cache" || return
  local -x APT_CONFIG=$work/apt.conf
  printf '%s\n' "Dir::Etc::sourcelist \"$root/etc/apt/sources.list\";" 'Dir::Etc::sourceparts "/dev/null";' "Dir::Cache \"$work/cache\";" \
    "Dir::State::lists \"$root/var/lib/apt/lists\";" "Dir::State::status \"$root/var/lib/dpkg/status\";" >"$APT_CONFIG"
  unpacked "$work/mkosi" mkosi && cp -r "$work/mkosi/usr/lib/python3/dist-packages" "$work/clients/mkosi"
}

# boot SUITE [OPTION]... SCRIPT: in a booted Debian; what was said there.
boot() {
  local suite=$1 script=${*: -1} rc=0
  "$top/tests/lab/boot.sh" --in "$top:/src" "${@:2:$#-2}" "$suite" "$work/out" "$script" 1000 || rc=$?
  cat "$work/out/log" || tail -n 30 "$work/out/console"
  [ $rc = 0 ] || failed
  # A boot that ended badly without a word is told.
  [ $rc = 0 ] || grep -q '^FAILED' "$work/out/log" || echo "FAILED: the boot of $suite ended with status $rc"
}

# groups SUITE GROUPS [OPTION]...: tests of ../system.
groups() {
  local suite=$1
  printf '#!/bin/sh\nexec /src/tests/system/inside.sh both --groups %s\n' "$2" >"$work/script"
  boot "$suite" --in "$("$top/tests/lab/root.sh" "$suite"):/lab-root" "${@:3}" "$work/script"
}

for part in "${parts[@]}"; do
  echo "== $part"
  case $part in
    images)
      had python-varlink python3 -m pip install --quiet --root-user-action=ignore --no-deps --target "$work/python" varlink==31.0.0
      [ ! -e "$work/python" ] || CLIENTS=$work/python "$top/tests/daemon/run.sh" --machined "$machined" --in "$here" images || failed
      ;;
    programs)
      cargo=$("$top/scripts/cargo.sh" --which)
      had go-systemd go_systemd
      had zlink zlink
      had varlink-cli varlink_cli
      had mkosi mkosi
      with=()
      for package in python3-pydbus python3-dbus-next python3-gi libnet-dbus-perl libglib2.0-bin; do with+=(--with "$package"); done
      groups trixie clients --in "$work/clients:/clients" "${with[@]}"
      ;;
    caches)
      for cache in nscd unscd nsncd; do
        printf '#!/bin/sh\nexec /src/tests/clients/cache-inside.sh %s\n' $cache >"$work/script"
        boot trixie --with $cache --with musl-tools "$work/script"
      done
      ;;
    control) groups sid controlled ;;
  esac
done
exit "$status"
