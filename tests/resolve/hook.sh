#!/usr/bin/env bash
# The hook as the real systemd-resolved asks it, in a booted sid (tests/lab/boot.sh --in .:/src). The newest systemd alone has
# hooks.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }

passed=0 failed=0
check() { # SENTENCE COMMAND...
  local said
  if said=$("${@:2}" 2>&1); then
    echo "ok      $1"
    passed=$((passed + 1))
  else
    echo "FAILED  $1"
    head -n 10 <<<"$said" | sed 's/^/          /'
    failed=$((failed + 1))
  fi
}
not() { ! "$@"; }
says() { local told; told=$("${@:2}" 2>&1); grep -qE -- "$1" <<<"$told" || { echo "$told"; return 1; }; }
state() { systemctl show -P "$1" "$2"; }
within() { timeout "$1" bash -c 'until "$@" >/dev/null 2>&1; do sleep 0.05; done' bash "${@:2}"; }
query() { timeout 10 resolvectl query --cache=no --legend=no "$@"; }
export -f query says
# shellcheck disable=SC2016
answers() { within 30 bash -c 'says "$1" query "${@:2}"' bash "$@"; }
call() { varlinkctl call /run/systemd/machine/io.systemd.Machine "io.systemd.Machine.$1" "$2"; }
hook=/run/systemd/resolve.hook/io.systemd.Machine

systemctl mask --now systemd-machined.service systemd-machined.socket >/dev/null 2>&1
/src/scripts/install.sh install >/dev/null || exit 1
check 'the units are valid' systemd-analyze verify --man=no resolve-machined.service resolve-machined.socket resolve-machined.timer
systemctl start machined.socket machined.service systemd-resolved.service || exit 1
check 'the socket is there with machined' systemctl is-active resolve-machined.socket
check 'nobody has asked, so the service does not run' not systemctl is-active resolve-machined.service

systemd-run --quiet --service-type=exec --slice=machine.slice --unit=box -p PrivateNetwork=yes sleep infinity
leader=$(state MainPID box)
ip link add ve-box type veth peer name host0 netns "$leader"
nsenter -t "$leader" -n sh -c 'ip link set host0 up; ip addr add 10.92.0.3/24 dev host0; ip addr add fd92::3/64 dev host0 nodad'
ip link set ve-box up && ip addr add 10.92.0.1/24 dev ve-box && ip addr add fd92::1/64 dev ve-box nodad
call Register "{\"name\":\"Box\",\"class\":\"container\",\"leader\":$leader}" >/dev/null || exit 1

check 'systemd-resolved finds a machine by its name' answers '10\.92\.0\.3' Box
check 'it was the hook' says 'resolve-machined' varlinkctl info $hook
check 'and its other address' answers 'fd92::3' -6 Box
check 'regardless of case, and of a trailing dot' answers '10\.92\.0\.3' bOX.
check 'an address leads back to the name' answers 'Box' 10.92.0.3
check 'as a question for PTR, too' answers 'PTR Box' -t PTR 3.0.92.10.in-addr.arpa
check 'there is nothing below a machine' says 'not found' query www.Box
check 'nor is there another one' not query nobox
check 'the address of nobody has no name' not query 10.92.0.77
check 'other types are none' not query -t MX Box
check 'what it is told first is all there is' says '"Box".*"3.0.92.10.in-addr.arpa"' \
  varlinkctl call --json=short $hook io.systemd.Resolve.Hook.QueryFilter '{}'

nsenter -t "$leader" -n ip addr add 10.92.0.4/24 dev host0
check 'an address that comes is known' answers '10\.92\.0\.4' Box
check 'and leads back' answers 'Box' 10.92.0.4

systemd-run --quiet --service-type=exec --uid=testuser --unit=theirs -p PrivateNetwork=yes sleep infinity
sed -e 's/^NAME=.*/NAME=theirs/' -e 's/^UID=.*//' -e "s/^LEADER=.*/LEADER=$(state MainPID theirs)/" -e '/^LEADER_PIDFDID=/d' -e '/^REACHED/d' \
  /run/systemd/machines/Box >/run/systemd/.theirs && echo UID=4711 >>/run/systemd/.theirs && mv /run/systemd/.theirs /run/systemd/machines/theirs
check 'what a user registered is left out' not query theirs
check 'nor is it asked for' not says theirs varlinkctl call $hook io.systemd.Resolve.Hook.QueryFilter '{}'
rm /run/systemd/machines/theirs
sed -e 's/^NAME=.*/NAME=BOX/' -e 's/^UID=.*//' /run/systemd/machines/Box >/run/systemd/.theirs && echo UID=4711 >>/run/systemd/.theirs &&
  mv /run/systemd/.theirs /run/systemd/machines/BOX
check 'nor does it take a name by another spelling' answers '10\.92\.0\.3' box
rm /run/systemd/machines/BOX

kill -STOP "$(state MainPID machined.service)"
check 'with machined frozen it answers' answers '10\.92\.0\.3' Box
check 'and back' answers 'Box' 10.92.0.3
kill -KILL "$leader"
check 'a machine that has died is not found, though machined has not noticed' within 30 bash -c '! query Box'
kill -CONT "$(state MainPID machined.service)"
check 'and is asked for no more' within 30 bash -c \
  "! varlinkctl call $hook io.systemd.Resolve.Hook.QueryFilter '{}' | grep -q Box"

systemd-run --quiet --service-type=exec --slice=machine.slice --unit=two -p PrivateNetwork=yes sleep infinity
two=$(state MainPID two)
ip link add ve-two type veth peer name host0 netns "$two"
nsenter -t "$two" -n sh -c 'ip link set host0 up; ip addr add 10.93.0.3/24 dev host0'
ip link set ve-two up && ip addr add 10.93.0.1/24 dev ve-two
call Register "{\"name\":\"two\",\"class\":\"container\",\"leader\":$two}" >/dev/null || exit 1
check 'a new machine is found' answers '10\.93\.0\.3' two
kill -KILL "$(state MainPID resolve-machined.service)"
check 'killed, the service answers again' answers '10\.93\.0\.3' two
kill -STOP "$(state MainPID resolve-machined.service)"
check 'frozen, it is replaced' within 60 bash -c 'says "10\.93\.0\.3" query two'
systemctl kill --signal=KILL machined.service
check 'it stays where machined is killed' answers '10\.93\.0\.3' two
check 'it is nobody' says '^Uid:[[:space:]]*65534[[:space:]]*65534' cat "/proc/$(state MainPID resolve-machined.service)/status"
check 'nothing was denied to it' not says 'audit|SECCOMP|ermitted|annot' journalctl -u resolve-machined.service --no-pager
within 60 systemctl is-active machined.service
check 'it is uninstalled' /src/scripts/install.sh uninstall
check 'the socket is gone' not ls $hook
check 'and the service' not pgrep -x resolve-machine
check 'systemd-resolved goes on' says 'localhost' query localhost

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] || journalctl -u resolve-machined.service -u resolve-machined.socket -u machined.service --no-pager | tail -40
[ "$failed" = 0 ]
