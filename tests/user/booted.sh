#!/usr/bin/env bash
# Users' own machines on a booted host: runs inside a throw-away boot (tests/lab/boot.sh --in .:/src), with the project at
# /src, built. The original first, where it runs, and then ours, in the same boot. One line per test; the last line counts.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }

user=testuser uid=$(id -u testuser)
runtime=/run/user/$uid
as_user() { runuser -u $user -- env -C / XDG_RUNTIME_DIR="$runtime" HOME=/home/$user PYTHONDONTWRITEBYTECODE=1 "$@"; }
table() { python3 -B /src/tests/user/table.py | tee -a /tmp/told; }
other() { timeout 300 python3 -B "/src/tests/user/$1.py" | tee -a /tmp/told; }
body() { as_user python3 /src/tests/user/body.py "$@" | tee -a /tmp/told; }

# The bus of a session as dbus-user-session has it, which the lab has not: it is started in the middle.
units=/home/$user/.config/systemd/user
mkdir -p $units
printf '[Socket]\nListenStream=%%t/bus\n' >$units/dbus.socket
cat >$units/dbus.service <<'U'
[Unit]
Requires=dbus.socket
[Service]
Type=notify
NotifyAccess=main
ExecStart=/usr/bin/dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only
U
chown -R $user: /home/$user
session_bus() { as_user systemctl --user "$1" --quiet dbus.socket dbus.service; }

# A user who stays logged in, by PAM.
loginctl enable-linger $user
until [ -S "$runtime/systemd/private" ]; do sleep 0.05; done
timeout 60 systemctl start "user@$uid.service"

stock=/usr/lib/systemd/user/systemd-machined.service
: >/tmp/told
if [ -e $stock ]; then
  # The original ends without a session bus.
  session_bus start
  as_user systemctl --user restart systemd-machined.socket
  echo "== the original"
  body --stock --bus
  echo "== the original, of containers without root"
  other without_root
  as_user systemctl --user stop --quiet systemd-machined.socket systemd-machined.service
  session_bus stop
  echo "== the original of the system"
  table
fi
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
systemctl --global enable --quiet machined
systemctl enable --now --quiet machined
as_user systemctl --user daemon-reload
as_user systemctl --user start machined.socket || exit 1
echo "== ours, without a session bus"
body
session_bus start
echo "== ours, with one"
body --bus
[ ! -e $stock ] || { echo "== ours, of containers without root"; other without_root; }
echo "== ours of the system"
table
echo "== lookups of a user's own machines"
other lookups
echo "== what a user plants"
other hostile
passed=$(grep -c '^ok ' /tmp/told) failed=$(grep -c '^FAILED' /tmp/told)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
