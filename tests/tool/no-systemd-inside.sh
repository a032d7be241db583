#!/usr/bin/env bash
# Our daemons as services of sysvinit, OpenRC, runit or s6: runs inside the boot that no-systemd.sh makes.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see no-systemd.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
init=$1
services=/usr/local/share/mymachines/services
# What has come to syslog, as it came: with the time in front.
syslog=/var/log/lab-syslog

# For each of them: put_in, service VERB NAME, what restarts a daemon that was killed (itself, if `yes`), and the log.
case $init in
  sysvinit)
    put_in() { install -m755 $services/sysvinit/* /etc/init.d/ && update-rc.d machined defaults && update-rc.d userdb-machined defaults; }
    service() { command service "$2" "$1"; }
    restarts=no log=/var/log/machined.log time=
    ;;
  openrc)
    put_in() { install -m755 $services/openrc/* /etc/init.d/ && rc-update add machined && rc-update add userdb-machined; }
    service() { rc-service "$2" "$1"; }
    restarts=yes log=$syslog time='<[0-9]+>[A-Z][a-z]{2} [ 0-9]{2} [0-9:]{8} machined'
    ;;
  runit)
    put_in() { mkdir /var/lab-services && (setsid runsvdir /var/lab-services >/dev/null 2>&1 &) && cp -a $services/runit/* /var/lab-services/; }
    service() {
      until [ -e "/var/lab-services/$2/supervise/ok" ]; do sleep 0.1; done
      case $1 in
        start) sv -w 60 up "/var/lab-services/$2" ;;
        stop) sv -w 60 down "/var/lab-services/$2" ;;
        restart) sv -w 60 restart "/var/lab-services/$2" ;;
        status) sv status "/var/lab-services/$2" | grep '^run:' ;;
      esac
    }
    restarts=yes log=/var/log/machined/current time='20[0-9]{2}-[0-9]{2}-[0-9]{2}_[0-9:.]+ '
    ;;
  s6)
    put_in() { cp -a $services/s6 /var/lab-services && (setsid s6-svscan /var/lab-services >/dev/null 2>&1 &); }
    service() {
      until s6-svok "/var/lab-services/$2"; do sleep 0.1; done
      case $1 in
        start) s6-svc -wu -T 60000 -u "/var/lab-services/$2" ;;
        stop) s6-svc -wD -T 60000 -d "/var/lab-services/$2" ;;
        restart) s6-svc -wr -T 60000 -r "/var/lab-services/$2" ;;
        status) s6-svstat "/var/lab-services/$2" | grep '^up ' ;;
      esac
    }
    restarts=yes log=/var/log/machined/current time='20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9:.]+ '
    ;;
esac
put_out() {
  case $init in
    openrc) rc-update delete machined && rc-update delete userdb-machined ;;
    runit) pkill -HUP -x runsvdir && becomes not pgrep -x runsv ;;
    s6) s6-svscanctl -t /var/lab-services && becomes not pgrep -x s6-supervise ;;
  esac
  rm -rf /var/lab-services
}

[ "$init" != openrc ] || {
  # A host with OpenRC has a syslog, which a lab has not.
  setsid socat -u UNIX-RECV:/dev/log,mode=666 "OPEN:$syslog,creat,append" &
  becomes test -S /dev/log
}
check 'process 1 is no systemd' test "$(cat /proc/1/comm)" = init
check 'and there is no systemd' not test -d /run/systemd/system
[ "$init" != openrc ] || check 'OpenRC has booted' rc-status default
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
check 'nothing is left to be replaced in the service files' not grep -r '@[A-Z]*@' $services
check 'the services are put in' put_in
check 'it is started' service start machined
check 'it serves' becomes sh -c 'mymachines doctor --format csv | grep -q "^ok,daemon"'
check 'userdb is started' service start userdb-machined
check 'and answers' becomes sh -c 'mymachines doctor --format csv | grep -q "^ok,userdb"'
check 'its status is told' becomes service status machined
sed -i 's/^hosts:.*/hosts: files mymachines dns/; s/^passwd:.*/passwd: files mymachines/' /etc/nsswitch.conf

# sysvinit mounts no control groups.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The daemon, and not what it has forked to look into machines.
daemon() { pgrep -o -x machined; }
is_anew() { daemon && [ "$(daemon)" != "$1" ]; }

# As the demo has it: a container with a network and users of its own. It has no /proc of its own: systemd-nspawn 257 covers
# files in that of this boot, and the kernel lets no users mount one then that shows them.
unshare --net --user --map-users 0:700000:65536 --map-groups 0:700000:65536 --pid --fork sh -c 'exec sleep 1000' &
unshared=$!
# Before it, unshare has a child that writes the maps.
becomes pgrep -P $unshared -x sleep
leader=$(pgrep -P $unshared -x sleep)
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
check 'the service is restarted' service restart machined
check 'and is a new process' becomes is_anew "$before"
check 'the machine is still there' becomes says '^web +container +running' mymachines list --no-legend
before=$(daemon)
kill -KILL "$before"
if [ $restarts = no ]; then
  check 'a killed daemon is told by the status' becomes not service status machined
  check 'the machine resolves without it' says '^10.91.1.2 ' getent ahosts web
  check 'it is started again' service start machined
else
  check 'the machine resolves whether it runs or not' says '^10.91.1.2 ' getent ahosts web
  check 'a daemon that was killed is started again' becomes is_anew "$before"
fi
check 'and has the machine' becomes mymachines terminate web
check 'which is ended' becomes sh -c "! kill -0 $leader 2>/dev/null"
check 'and gone' becomes exits 2 mymachines status web
check 'what it does is logged' becomes grep -q 'New machine web' $log
# The words of syslog come one behind the other here.
[ -z "$time" ] || check 'with the time' grep -qaE "${time}.{0,8}New machine web" $log
check 'it is stopped' service stop machined
check 'with userdb' service stop userdb-machined
check 'and nothing of it runs' becomes not pidof machined userdb-machined

check 'the services are taken out' put_out
check 'with what was installed' /src/scripts/install.sh uninstall
check 'and nothing is left in /run' sh -c '! find /run -name "*machined*" -o -path "/run/systemd/machine*" -o -name "io.systemd.Machine*" | grep .'
finish
