#!/bin/sh
# Runs cargo: the first one that is new enough for this workspace, with the compiler that belongs to it.
set -eu

usage() {
  cat <<'U'
usage: cargo.sh ARGUMENT...    runs cargo with these arguments
       cargo.sh --which        prints which cargo that is, and fails if there is none
       cargo.sh --needed       prints the oldest version that will do

Looks at $CARGO, the cargo on PATH, the one that rustup installs into the home directory, and Debian's /usr/bin/cargo,
which an older one may hide. The version that is needed is `rust-version` in Cargo.toml.
U
}

root=$(dirname "$(dirname "$(readlink -f "$0")")")
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")

# version PROGRAM: prints what it says its version is. It is asked in the workspace, where rustup may have an override.
version() { (cd "$root" && "$1" --version 2>/dev/null) | sed -n '1s/^[a-z]* \([0-9][0-9.]*\).*/\1/p'; }
new_enough() {
  [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$needed" "$1" | sort -V | head -n1)" = "$needed" ]
}

cargo=
seen=
for candidate in "${CARGO:-}" "$(command -v cargo || true)" "${HOME:-/}/.cargo/bin/cargo" /usr/bin/cargo; do
  if [ -z "$candidate" ] || [ ! -x "$candidate" ]; then continue; fi
  has=$(version "$candidate")
  if new_enough "$has" && new_enough "$(version "$(dirname "$candidate")/rustc")"; then
    cargo=$candidate
    break
  fi
  seen="$seen $candidate (${has:-does not run})"
done

if [ -n "$cargo" ] && [ "$(command -v cargo || true)" != "$cargo" ]; then
  PATH=$(dirname "$cargo"):$PATH
  export PATH
fi
case ${1-} in
  '' | -h | --help) usage; exit 0 ;;
  --needed) echo "$needed"; exit 0 ;;
esac
if [ -z "$cargo" ]; then
  if [ -n "$seen" ]; then
    echo "cargo.sh: cargo $needed or newer is needed, with its rustc; found:$seen" >&2
  else
    echo "cargo.sh: there is no cargo; $needed or newer is needed" >&2
  fi
  echo "cargo.sh: scripts/setup.sh installs Debian's, https://rustup.rs/ the newest" >&2
  exit 1
fi
case $1 in
  --which) echo "$cargo" ;;
  *) exec "$cargo" "$@" ;;
esac
