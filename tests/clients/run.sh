#!/usr/bin/env bash
# Clients that others wrote, on images: go-systemd's own tests of machine1 and import1, python-varlink, gdbus.
set -euo pipefail

usage() {
  cat <<'U'
usage: run.sh [--machined FILE]

Fetches go-systemd (Debian's packages of its source) and python-varlink, builds the former's tests, and runs them in a booted Debian
13, against the stock daemon first and ours then; and python-varlink and gdbus against ours without systemd. One line per test;
the last line counts. Needs root, a build, go, gdbus, pip and the network.
U
}

machined=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --machined) machined=$(readlink -f "${2:?--machined needs a file}"); shift ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../..")
machined=${machined:-$top/target/release/machined}
work=$(mktemp -d "${TMPDIR:-/tmp}/clients.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# Debian's packages of the sources: fetched, and not installed.
mkdir "$work/packages" "$work/clients" "$work/python"
(cd "$work/packages" && apt-get download -q golang-github-coreos-go-systemd-dev golang-dbus-dev >/dev/null 2>&1)
for package in "$work"/packages/*.deb; do dpkg -x "$package" "$work/source"; done
export GOPATH=$work/source/usr/share/gocode GO111MODULE=off GOFLAGS=
for part in machine1 import1; do
  (cd "$GOPATH/src/github.com/coreos/go-systemd" && go test -c -o "$work/clients/$part.test" "./$part")
done
python3 -m pip install --quiet --root-user-action=ignore --no-deps --target "$work/python" varlink==31.0.0

status=0
CLIENTS=$work/python "$top/tests/daemon/run.sh" --machined "$machined" --in "$here" images | tee "$work/daemon" || status=1

printf '#!/bin/sh\nexec /src/tests/system/inside.sh both --groups clients\n' >"$work/script"
"$top/tests/lab/boot.sh" --in "$top:/src" --in "$("$top/tests/lab/root.sh" trixie):/lab-root" --in "$work/clients:/clients" trixie \
  "$work/out" "$work/script" 1000 || status=$?
cat "$work/out/log" || { tail -n 30 "$work/out/console"; status=1; }
exit "$status"
