#!/usr/bin/env bash
# Our daemons as services of sysvinit and of runit: runs inside the boot that no-systemd.sh makes.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see no-systemd.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
check 'process 1 is no systemd' test "$(cat /proc/1/comm)" = init
check 'and there is no systemd' not test -d /run/systemd/system
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
services=/usr/local/share/mymachines/services
check 'nothing is left to be replaced in the service files' not grep -r '@[A-Z]*@' $services
install -m755 $services/sysvinit/* /etc/init.d/
check 'the service is enabled' update-rc.d machined defaults
check 'and that of userdb' update-rc.d userdb-machined defaults
check 'it is started' service machined start
check 'it serves' becomes sh -c 'mymachines doctor --format csv | grep -q "^ok,daemon"'
check 'userdb is started' service userdb-machined start
check 'and answers' becomes sh -c 'mymachines doctor --format csv | grep -q "^ok,userdb"'
check 'its status is told' service machined status
sed -i 's/^hosts:.*/hosts: files mymachines dns/; s/^passwd:.*/passwd: files mymachines/' /etc/nsswitch.conf

# sysvinit mounts no control groups.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The daemon, and not what it has forked to look into machines.
daemon() { pgrep -o -x machined; }

# As the demo has it: a container with a network and users of its own.
unshare --net --user --map-users 0:700000:65536 --map-groups 0:700000:65536 --pid --fork --mount-proc sh -c 'exec sleep 1000' &
unshared=$!
becomes pgrep -P $unshared
leader=$(pgrep -P $unshared)
ip link add ve-web type veth peer name host0 netns "$leader"
ip addr add 10.91.1.1/24 dev ve-web && ip link set ve-web up
nsenter -t "$leader" -n ip addr add 10.91.1.2/24 dev host0
nsenter -t "$leader" -n ip link set host0 up
check 'a machine is registered' mymachines register web --leader "$leader" --interface ve-web --allocate-unit
# What is wrong where it is not.
grep cgroup /proc/mounts
check 'its name resolves' becomes says '^10.91.1.2 ' getent ahosts web
check 'its address has a name' becomes says 'web' getent hosts 10.91.1.2
check 'its users have names' says '^vu-web-0:' getent passwd 700000
check 'its process is known' says ' web ' mymachines whois --no-legend --pid "$leader"
check 'its control group is one of its own' says '^/machines/web$' mymachines list --no-legend --columns cgroup
before=$(daemon)
check 'the service is restarted' service machined restart
check 'and is a new process' becomes sh -c "pgrep -o -x machined | grep -qvx '$before'"
check 'the machine is still there' becomes says '^web +container +running' mymachines list --no-legend
kill -KILL "$(daemon)"
check 'a killed daemon is told by the status' becomes not service machined status
check 'the machine resolves without it' says '^10.91.1.2 ' getent ahosts web
check 'it is started again' service machined start
check 'and has the machine' becomes mymachines terminate web
check 'which is ended' becomes sh -c "! kill -0 $leader 2>/dev/null"
check 'and gone' becomes exits 2 mymachines status web
check 'what it does is logged' becomes grep -q 'New machine web' /var/log/machined.log
check 'it is stopped' service machined stop
check 'with userdb' service userdb-machined stop
check 'and nothing of it runs' becomes not pidof machined userdb-machined

cp -a $services/runit/machined /tmp/sv
runsv /tmp/sv >/tmp/runsv 2>&1 &
runsv=$!
check 'runit starts it' becomes sh -c 'mymachines doctor --format csv | grep -q "^ok,daemon"'
check 'its log has the time' becomes grep -qE '^20[0-9-]+_[0-9:.]+ .*Serving' /var/log/machined/current
first=$(daemon)
kill -KILL "$first"
check 'runit starts it again' becomes sh -c "pgrep -o -x machined && ! pgrep -x machined | grep -qx $first"
check 'runit stops it' sv -w 60 exit /tmp/sv
kill -HUP $runsv 2>/dev/null

check 'it is taken out' /src/scripts/install.sh uninstall
check 'and nothing is left in /run' sh -c '! find /run -name "*machined*" -o -path "/run/systemd/machine*" -o -name "io.systemd.Machine*" | grep .'
finish
