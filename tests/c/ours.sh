#!/usr/bin/env bash
# In a booted Debian with our daemon: machines in real control groups, those of users and nested ones among them, and the
# examples. /in is tests/, /include the header, /build the library, /release the daemon, /examples the examples.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
export LD_LIBRARY_PATH=/build
passed=0 failed=0
check() { # SENTENCE COMMAND...
  local sentence=$1
  shift
  if "$@" >/tmp/said 2>&1; then
    passed=$((passed + 1))
    echo "ok $sentence"
  else
    failed=$((failed + 1))
    sed 's/^/    /' /tmp/said
    echo "FAILED $sentence"
  fi
}
is() { [ "$1" = "$2" ] || { printf '%s\nis not\n%s\n' "$1" "$2"; return 1; }; }
until_true() { for _ in $(seq 600); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.1; done; "$@"; }

cd /tmp
for program in /in/c/batch.c /in/c/which.c /in/c/of.c /examples/machine-ps.c /examples/machine-watch.c; do
  check "${program##*/} compiles" gcc -std=gnu11 -O2 -Wall -Wextra -Werror -I/include -o "$(basename "$program" .c)" "$program" /build/libmachine.so
done
systemctl stop systemd-machined.service systemd-machined.socket 2>/dev/null
systemctl mask --runtime systemd-machined.service 2>/dev/null
systemd-run --quiet --unit=ours -p RuntimeDirectory=machined -p RuntimeDirectoryPreserve=yes /release/machined
socket=/run/systemd/machine/io.systemd.Machine
check 'the daemon is there' until_true varlinkctl call $socket io.systemd.Machine.List '{}' --more
./machine-watch >watched &
watcher=$!
until_true grep -q 'that is all' watched

groups=/sys/fs/cgroup
# start GROUP: a process in it; its id goes to $started.
start() {
  mkdir -p "$groups$1"
  sleep 1000 &
  started=$!
  echo $started >"$groups$1/cgroup.procs"
}
register() { # NAME LEADER
  check "$1 is registered" varlinkctl call $socket io.systemd.Machine.Register \
    "{\"name\":\"$1\",\"class\":\"container\",\"service\":\"by-hand\",\"leader\":$2}"
}
start /machine.slice/web.scope; web=$started
start /machine.slice/web.scope/payload/system.slice/cron.service; web_cron=$started
start /user.slice/user-4711.slice/user@4711.service/app.slice/box.scope; box=$started
start /user.slice/user-4711.slice/user@4711.service/app.slice/box.scope/payload/inner; inner=$started
start /user.slice/user-4711.slice/user@4711.service/app.slice/other.scope; other=$started
register web $web
register box $box
register inner $inner
# With the service manager's own scope; beside all units; and two whose leaders are in one group, and somebody else.
start /system.slice/plain.service; scope=$started
check 'scope is registered with a unit of its own' varlinkctl call $socket io.systemd.Machine.Register \
  "{\"name\":\"scope\",\"class\":\"container\",\"service\":\"by-hand\",\"leader\":$scope,\"allocateUnit\":true}"
start /lxc.payload.apart/init.scope; apart=$started
start /lxc.payload.apart/system.slice/a.service; below_apart=$started
register apart $apart
both=/user.slice/user-4711.slice/user@4711.service/app.slice/both.scope
start $both; one=$started
start $both; two=$started
start $both; third=$started
register one $one
register two $two
# told PID: the machine of a process by the daemon, and all of them by libmachine.
told() { echo "$(varlinkctl call --json=short $socket io.systemd.Machine.List "{\"pid\":{\"pid\":$1}}" 2>&1 | sed -n 's/.*"name":"\([^"]*\)".*/\1/p; s/.*NoSuchMachine.*/-/p' | head -n1) $(./which "$1")"; }
all_told() {
  local process
  for process in web web_cron box inner other scope apart below_apart one two third; do echo "$process: $(told "${!process}")"; done
  echo "1: $(told 1)"
}
all_expected='web: web web
web_cron: web web
box: box box
inner: inner box/inner
other: - -
scope: scope scope
apart: apart apart
below_apart: apart apart
one: one one
two: two two
third: - -
1: - -'
# As libvirt does it: the threads of a virtual machine in groups of their own.
start /machine.slice/vm.scope; vm=$started
mkdir $groups/machine.slice/vm.scope/emulator
check 'there are groups of threads' sh -c "echo threaded >$groups/machine.slice/vm.scope/emulator/cgroup.type"
register vm $vm
check 'they keep nobody from having the processes of a machine' is "$(./of vm processes)" "$vm "
check 'the daemon and libmachine find the same machine of each process' is "$(all_told)" "$all_expected"
check 'and the batch does' ./batch 10
systemctl restart ours
until_true varlinkctl call $socket io.systemd.Machine.List '{}' --more
check 'a daemon that was restarted finds them, too' is "$(all_told)" "$all_expected"
kill $two
check 'a group that is shared no more has all its processes in the machine' until_true is "$(told $third)" 'one one'
for process in $vm $scope $apart $below_apart $one $third; do kill $process; done
until_true [ ! -e /run/systemd/machines/one ]
check 'a machine has its leader' is "$(./which $web)" web
check 'and what runs below' is "$(./which $web_cron)" web
check 'one that is nested in another is told with it' is "$(./which $inner)" box/inner
check "one within a user's manager is told" is "$(./which $box)" box
check 'and nobody else of that user' is "$(./which $other)" -
check 'a machine has the processes of its groups' is "$(./of web processes)" "$web $web_cron "
# A container may make as many groups as it likes, with long names, deep down.
deep=$groups/machine.slice/web.scope/payload
long=$(printf 'n%.0s' $(seq 200))
for _ in $(seq 15); do deep=$deep/$long; done
mkdir -p "$deep"
for number in $(seq 2000); do mkdir "$deep/$long$number"; done
check 'thousands of groups deep down take little memory' is "$(ulimit -v 10000; ./of web processes)" "$web $web_cron "
find $groups/machine.slice/web.scope/payload/$long -depth -type d -exec rmdir {} \;
check 'those of a machine within it are among them' is "$(./of box processes)" "$box $inner "
check 'and it has its own' is "$(./of inner processes)" "$inner "
check 'its group is opened, and is the one of the record' is "$(./of web group)" "$web "

# In other namespaces. A group has the name there that another one has here.
start /hl/machine.slice/web.scope; stranger=$started
mkdir -p $groups/hl/program
below_hl() { sh -c 'echo $$ >/sys/fs/cgroup/hl/program/cgroup.procs; echo $$ >/sys/fs/cgroup/hl/cgroup.procs; exec "$@"' sh "$@"; }
in_cgroup_namespace() { below_hl unshare --cgroup "$@"; }
check 'the kernel calls a strange group as the one of web' is "$(in_cgroup_namespace grep ^0:: /proc/$stranger/cgroup)" '0::/machine.slice/web.scope'
check 'in a cgroup namespace a process in it is not in web' is "$(in_cgroup_namespace ./which $stranger)" -
with_its_own='mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
check 'nor where the hierarchy is seen from there' is "$(in_cgroup_namespace unshare --mount sh -c "$with_its_own" sh ./which $stranger)" -
check 'nor for the batch' is "$(in_cgroup_namespace unshare --mount sh -c "$with_its_own" sh ./batch | grep -c FAILED)" 0
check 'the group of web cannot be opened there' is "$(in_cgroup_namespace unshare --mount sh -c "$with_its_own" sh ./of web group)" EUNATCH
in_pid_namespace() { unshare --pid --fork --mount --mount-proc "$@"; }
check 'in a PID namespace a living leader is not gone, but elsewhere' is "$(in_pid_namespace ./of web leader)" EREMOTE
check 'and whether it lives is not known' is "$(in_pid_namespace ./of web alive)" EREMOTE
check 'in that of the registry both are known' is "$(./of web leader; ./of web alive)" "$(printf 'opened\nalive')"
kill $stranger

check 'libsystemd does not know it' is "$(readlink "/run/systemd/machines/unit:user@4711.service")" ''
check 'the batch says the same' ./batch 4
nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
chmod 0 /run/systemd/machines/inner
check 'one whose record a user may not read' is "$(nobody ./which $inner; nobody ./which $box)" "$(printf '%s\n' - box)"
check 'takes no other from the batch' nobody ./batch 3
chmod 644 /run/systemd/machines/inner
./machine-ps >listed
check 'machine-ps shows them' is "$(awk '$2 != "-" { print $2, $3 }' listed)" "$(printf '%s %s\n' MACHINE COMMAND web sleep web sleep box sleep box/inner sleep)"
kill $box
check 'the end of one is noticed' until_true grep -qx 'gone     box' watched
check 'and its name goes' is "$(./which $box)" -
check 'machine-watch saw them come' is "$(grep -c '^new' watched)" 8
echo '--- machine-ps'
head -n1 listed; awk '$2 != "-" && NR > 1' listed
echo '--- machine-watch'
cat watched
kill $watcher
echo "$passed passed, $failed failed"
[ $failed = 0 ]
