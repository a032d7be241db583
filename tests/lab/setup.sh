#!/usr/bin/env bash
# Installs what the lab needs on the host: debootstrap and systemd-nspawn.
set -euo pipefail

usage() {
  cat <<'U'
usage: setup.sh

Installs debootstrap and systemd-container with apt, unless they are there.
For a Debian 12 or 13 host; uses sudo when not run as root.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac

if command -v debootstrap >/dev/null && command -v systemd-nspawn >/dev/null; then
  exit 0
fi
[ "$(id -u)" = 0 ] || exec sudo "$0"

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends debootstrap systemd-container
