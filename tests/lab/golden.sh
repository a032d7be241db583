#!/usr/bin/env bash
# Regenerates registry/testdata/golden from the stock daemons.
set -euo pipefail

usage() {
  cat <<'U'
usage: golden.sh

Boots trixie (systemd 257) and sid (systemd 262), registers machines in many ways with the stock daemon (golden.py) and
replaces registry/testdata/golden/VERSION by what it recorded. Pids, times and identifiers differ from run to run.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac

here=$(dirname "$(readlink -f "$0")")
for pair in trixie=257 sid=262; do
  suite=${pair%=*} version=${pair#*=}
  golden=$here/../../registry/testdata/golden/$version
  out=$(mktemp -d)
  "$here/boot.sh" "$suite" "$out" "$here/golden.py" 120 || { cat "$out/log"; exit 1; }
  rm -rf "$golden"
  mkdir -p "$(dirname "$golden")"
  cp -r "$out/golden" "$golden"
  rm -rf "$out"
  echo "$golden: $(find "$golden" -name '*.json' | wc -l) machines"
done
