#!/usr/bin/env bash
# The program in Go of docs/languages.md, by cgo against the built libmachine (make), in a /run without machines and with one.
set -euo pipefail
root=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
command -v go >/dev/null || { echo 'SKIPPED: golang-go is not installed'; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
DESTDIR=$work/root PREFIX=/opt/machine LIBDIR=/opt/machine/lib "$root/scripts/install.sh" install >/dev/null
lib=$work/root/opt/machine/lib
export PKG_CONFIG_LIBDIR=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root LD_LIBRARY_PATH=$lib
export GOPATH=$work/go GOCACHE=$work/cache GO111MODULE=off GOFLAGS=
sed -n '/^```go$/,/^```$/p' "$root/docs/languages.md" | grep -v '^```' >"$work/machines.go"
(cd "$work" && go build -o machines machines.go)
namespace=(unshare --mount --propagation private)
[ "$(id -u)" = 0 ] || namespace=(unshare --user --map-root-user --mount --propagation private)
# shellcheck disable=SC2016
"${namespace[@]}" sh -euc '
  mount -t tmpfs tmpfs /run
  mkdir -p /run/systemd/machines
  [ "$("$1")" = "no machines" ]
  echo "ok the Go of docs/languages.md runs"
  printf "NAME=web\nCLASS=container\nLEADER=$$\n" >/run/systemd/machines/web
  [ "$("$1")" = "web container" ]
  echo "ok and lists a machine"' sh "$work/machines"
echo '2 passed, 0 failed, 0 skipped'
