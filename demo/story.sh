#!/usr/bin/env bash
# The story that run.sh tells, inside the namespaces that it made. Every step is checked.
set -euo pipefail
[ $# = 1 ] || { echo 'usage: story.sh DIRECTORY (called by run.sh)' >&2; exit 2; }
cd "$1"

# --- Telling ---

say() {
  echo
  printf '%s\n' "$@"
}
printed='' status=0
# show COMMAND: prints it, runs it, prints what it says.
show() {
  printf '  $ %s\n' "${1//$'\n'/$'\n'    }"
  status=0
  printed=$(eval "$1" 2>&1 </dev/null) || status=$?
  [ -z "$printed" ] || sed 's/^/    /' <<<"$printed"
  [ $status = 0 ] || printf '    (exit status %s)\n' "$status"
}
fail() {
  printf '\ndemo: FAILED: %s\n' "$1" >&2
  [ ! -s containers.log ] || sed 's/^/demo: container: /' containers.log >&2
  [ ! -s machined.log ] || sed 's/^/demo: machined: /' machined.log >&2
  exit 1
}
prints() { grep -qE "$1" <<<"$printed" || fail "the last command should have printed something like '$1'"; }
prints_not() { ! grep -qE "$1" <<<"$printed" || fail "the last command should not have printed '$1'"; }
succeeds() { [ $status = 0 ] || fail 'the last command should have succeeded'; }
finds_nothing() { [ $status = 2 ] && [ -z "$printed" ] || fail 'the last command should have found nothing'; }
# with_ipv6 COMMAND...: where the host has IPv6.
with_ipv6() { [ -z "$ipv6" ] || "$@"; }
# within SECONDS COMMAND...: waits for it to be true.
within() {
  local end=$(($(date +%s%N) + $1 * 1000000000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s%N)" -lt "$end" ] || fail "waited in vain for: $*"
    sleep 0.02
  done
}

# --- The host's side ---

socket=/run/systemd/machine/io.systemd.Machine
start_machined() {
  ./machined 2>>machined.log &
  machined=$!
  within 30 socat -u OPEN:/dev/null "UNIX-CONNECT:$socket"
}

# What a client does: one line of JSON and a NUL there, one back.
client=$(
  cat <<'T'
call() {
  printf '{"method":"io.systemd.Machine.%s",%s}\0' "$1" "$2" |
    socat -t10 - UNIX-CONNECT:/run/systemd/machine/io.systemd.Machine |
    tr '\0' '\n'
}
T
)
eval "$client"
success='^\{("parameters":\{\})?\}$'

# container NAME NETWORK: starts one, a process with users, processes, a host name and a network of its own, and joins
# its network to ours by a pair of interfaces. Sets $leader to its first process.
container() {
  # shellcheck disable=SC2016
  unshare --user --map-root-user --net --pid --uts --fork --kill-child \
    sh -c 'hostname "$1"; exec sleep infinity' sh "$1" 2>>containers.log &
  local starter=$!
  # Or the shell would tell of its death in the middle of the story.
  disown "$starter"
  # shellcheck disable=SC2317
  started() {
    leader=$(tr -d ' ' <"/proc/$starter/task/$starter/children")
    [ "$(cat "/proc/$leader/comm")" = sleep ]
  }
  within 30 started
  ip link add "ve-$1" type veth peer name host0 netns "$leader"
  ip addr add "10.91.$2.1/24" dev "ve-$1"
  [ -z "$ipv6" ] || ip -6 addr add "fd91:$2::1/64" dev "ve-$1" nodad
  ip link set "ve-$1" up
  nsenter -t "$leader" -n sh -e -c "
    ip link set lo up
    ip addr add 10.91.$2.2/24 dev host0
    ip link set host0 addrgenmode none up
    [ -z '$ipv6' ] || ip -6 addr add fd91:$2::2/64 dev host0 nodad"
  interface=$(cat "/sys/class/net/ve-$1/ifindex" 2>/dev/null || ip -o link show "ve-$1" | cut -d: -f1)
}
end() { # PID: ends a container, and waits until it is gone.
  kill -KILL "$1"
  within 30 is_gone "$1"
}
is_gone() { [ ! -e "/proc/$1" ]; }

mount -t tmpfs -o mode=755 tmpfs /run
mount --bind nsswitch.conf /etc/nsswitch.conf
ip link set lo up
ipv6=yes
ip -6 addr add fd91::1/128 dev lo nodad 2>/dev/null || ipv6=
export LD_LIBRARY_PATH=$PWD LC_ALL=C

# --- The story ---

cat <<T
mymachines: a machine you register is a name you can use.

You are $WHO.
Everything below happens in namespaces of its own: other processes, another
network, another /run, another nsswitch.conf. This host is not changed.
Lines that start with \$ are run as you see them.
T

say '1. machined is started. No systemd, no D-Bus.'
echo '  $ machined &'
start_machined
show 'grep ^hosts: /etc/nsswitch.conf'
prints mymachines

say '2. Two containers, each with users, processes and a network of its own.'
container web 1
web=$leader web_interface=$interface
container db 2
db=$leader db_interface=$interface
echo "  web is led by process $web, db by process $db."
show "nsenter -t $web -n ip -br addr show dev host0"
prints 10.91.1.2
show 'getent ahosts web'
finds_nothing
echo '  Nobody knows their names yet.'

say '3. They are registered: a line of JSON and a NUL, sent to a socket.'
sed '1s/^/  $ /; 2,$s/^/    /' <<<"$client"
show "call Register '\"parameters\":{\"name\":\"web\",\"class\":\"container\",
\"leader\":$web,\"ifIndices\":[$web_interface]}'"
prints "$success"
show "call Register '\"parameters\":{\"name\":\"db\",\"class\":\"container\",
\"leader\":$db,\"ifIndices\":[$db_interface]}'"
prints "$success"

say '4. The daemon lists them; the registry itself is a directory.'
show "call List '\"more\":true' |
grep -oE '\"name\":\"[^\"]*\",\"class\":\"[^\"]*\"'"
prints '"web","class":"container"'
prints '"db","class":"container"'
show 'ls /run/systemd/machines'
prints '^web$'
show "grep -E '^(NAME|LEADER|ADDRESSES)=' /run/systemd/machines/web"
prints '^LEADER='

say '5. Their names resolve, in every program that asks the C library.'
show 'getent ahosts web'
succeeds
prints '^10\.91\.1\.2 '
with_ipv6 prints '^fd91:1::2 '
show './lookup db   # a C program that calls getaddrinfo(), demo/lookup.c'
succeeds
prints 'db is at 10\.91\.2\.2'
# shellcheck disable=SC2016
nsenter -t "$web" --net --uts socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:'echo hello from $(uname -n)' 2>>containers.log &
within 30 socat -u OPEN:/dev/null TCP:10.91.1.2:80
show 'socat -u TCP4:web:80 -   # a connection, by name'
prints 'hello from web'

say '6. And back: an address has a name.'
show 'getent hosts 10.91.1.2'
prints '^10\.91\.1\.2 +web$'
with_ipv6 show 'getent hosts fd91:2::2'
with_ipv6 prints '^fd91:2::2 +db$'

say '7. A container gets one more address, and loses one. The daemon is told by the' \
    '   kernel; the name follows within a second.'
show "nsenter -t $web -n ip addr add 10.91.1.3/24 dev host0"
succeeds
within 30 sh -c 'getent ahosts web | grep -q "^10\.91\.1\.3 "'
with_ipv6 show "nsenter -t $web -n ip addr del fd91:1::2/64 dev host0"
succeeds
within 30 sh -c '! getent ahosts web | grep -q fd91:1::2'
show 'getent ahosts web'
prints '^10\.91\.1\.3 '
prints_not 'fd91:1::2'

say '8. A container dies. So does its name, and another one can have it at once.'
end "$db"
echo "  $ kill -KILL $db"
show 'getent ahosts db'
finds_nothing
container db 3
db=$leader db_interface=$interface
show "call Register '\"parameters\":{\"name\":\"db\",\"class\":\"container\",
\"leader\":$db,\"ifIndices\":[$db_interface]}'"
prints "$success"
show 'getent ahosts db | grep STREAM'
prints '^10\.91\.3\.2 '

say '9. The daemon is frozen. Lookups read files; they do not wait for anybody.'
echo "  $ kill -STOP $machined"
kill -STOP "$machined"
show 'timeout 5 getent hosts 10.91.1.2'
prints '^10\.91\.1\.2 +web$'
show 'timeout 5 getent ahosts db | grep STREAM'
prints '^10\.91\.3\.2 '
echo '  Now db dies, and the daemon cannot know. It does not resolve all the same.'
end "$db"
echo "  $ kill -KILL $db"
show 'timeout 5 getent ahosts db'
finds_nothing

say '10. The daemon is killed. What it published stays true.'
echo "  $ kill -KILL $machined"
{ kill -KILL "$machined" && wait "$machined"; } 2>/dev/null || true
show 'getent ahosts web | grep STREAM'
prints '^10\.91\.1\.2 '
show 'getent ahosts db'
finds_nothing

say '11. It is started again: nothing is lost, and the dead stay dead.'
echo '  $ machined &'
start_machined
show "call List '\"more\":true' |
grep -oE '\"name\":\"[^\"]*\",\"class\":\"[^\"]*\"'"
prints '"web","class":"container"'
prints_not '"db"'
show 'ls /run/systemd/machines'
[ "$printed" = web ] || fail 'there should be one record, that of web'
show 'getent ahosts web | grep STREAM'
prints '^10\.91\.1\.2 '
prints '^10\.91\.1\.3 '

kill "$machined"
wait "$machined" || fail 'machined should have ended with status 0 when it was asked to'
