#!/usr/bin/env bash
# Inside the booted Debian: the body against the stock daemon, and then against ours. run.sh calls it.
set -uo pipefail

usage() { echo 'usage: inside.sh stock|both [OPTION-OF-BODY]...'; }
case ${1-} in
  stock | both) mode=$1 ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
shift

here=$(dirname "$(readlink -f "$0")")
stock=stock$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
options=("$@") failed=0
# part NAME COMMAND...: its output, and whether it failed.
part() {
  echo "== $1"
  shift
  "$@" || failed=1
}
part "the stock daemon" "$here/body.py" --flavour "$stock" "${options[@]}"
if [ "$mode" = both ]; then
  part "ours takes over" "$here/handover.py" --to ours
  if [ "$(readlink "/proc/$(systemctl show --property=MainPID --value systemd-machined.service)/exe")" = /usr/local/sbin/machined ]; then
    part "ours" "$here/body.py" --flavour ours "${options[@]}"
    part "the stock daemon takes over again" "$here/handover.py" --to stock
  else
    echo "FAILED: ours is not in charge, and nothing else was tried"
    failed=1
  fi
fi
exit $failed
