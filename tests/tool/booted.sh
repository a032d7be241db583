#!/usr/bin/env bash
# The command line tool on a booted host: runs inside a throw-away boot (tests/lab/boot.sh --in .:/src), with the project
# at /src, built, and installs it there. One line per test; the last line counts.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
# finding ABOUT: what the doctor says about something: level, text, and the command that mends it.
finding() { mymachines doctor --format csv --no-legend | tr -d '\r' | grep "^[A-Za-z]*,$1,"; }
mend() { mymachines doctor --format json | jq -r --arg about "$1" '[.[] | select(.about == $about and .level != "ok")][0].command'; }
/src/target/release/mymachines doctor >/tmp/before 2>&1
check 'before it is installed, the doctor says that the daemon is another one' grep -qE 'daemon +.*(not that of mymachines|has no Varlink|systemd-machined has the place)' /tmp/before
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
hash -r
check 'the doctor says how to take the place' says 'systemctl enable --now machined' mend daemon
sh -c "$(mend daemon)" >/dev/null 2>&1
check 'the command that it names does that' becomes says '^ok,daemon,machined .* of mymachines serves' finding daemon
check 'glibc loads the module of mymachines' says '^ok,module,.*/usr/local' finding module
check 'polkit is told anew, by the command that the doctor names' sh -c '
  command=$(mymachines doctor --format json | jq -r ".[] | select(.about == \"polkit\") | .command // empty")
  [ -z "$command" ] || sh -c "$command"'
check 'then polkit knows the actions' becomes says '^ok,polkit' finding polkit
check 'userdb answers' says '^ok,userdb,.*mymachines userdb-machined' finding userdb
sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf
check 'a module that glibc does not ask is told' says '^WRONG,nsswitch,hosts: files dns' finding nsswitch
sh -c "$(mend nsswitch)"
check 'the command that the doctor names puts it in its place' grep -qx 'hosts: files mymachines dns' /etc/nsswitch.conf
sed -i 's/^hosts:.*/hosts: files resolve [!UNAVAIL=return] mymachines dns/' /etc/nsswitch.conf
check 'a search that ends before it is told' says '^WRONG,nsswitch,.*ends the search' finding nsswitch
sh -c "$(mend nsswitch)"
check 'and mended' says '^ok,nsswitch,hosts: files mymachines resolve' finding nsswitch
check 'nothing is wrong then' exits 0 mymachines doctor

systemd-run --quiet --unit=leader sleep infinity
leader=$(systemctl show --value --property=MainPID leader)
check 'a machine is registered in a unit' mymachines register web --leader "$leader" --service lab
check 'and is told with it' says '^web +leader.service$' mymachines list --no-legend --columns machine,unit
check 'a process is told as its' says '"machine": "web"' mymachines whois --format json "$leader"
echo copied >/root/a
check 'a file is copied into it' mymachines copy /root/a web:/root/b
check 'one that is there already is not replaced' sh -c '! mymachines copy /root/a web:/root/b 2>/tmp/said && grep -q "File exists" /tmp/said'
check 'but for who says so' sh -c 'echo anew >/root/a && mymachines copy --replace /root/a web:/root/b && grep -qx anew /root/b'
check 'and is copied out of it' sh -c 'cd /root && mymachines copy web:/root/b c && grep -qx anew /root/c'
truncate -s 40M /root/large
check 'on a terminal it says how far it is' says '100 %.* of 1 files' script -qec 'mymachines copy /root/large web:/root/large-too' /dev/null
check 'a program runs in it' says '^hello' mymachines shell web /bin/echo hello
check 'with what is set for it' says '^A=1' mymachines shell --setenv A=1 web /usr/bin/env
check 'as the user who is named' says '^testuser' mymachines shell testuser@web /usr/bin/id -un
check 'and reads what is piped into it' says '42' sh -c 'echo "echo \$((6 * 7))" | mymachines shell web /bin/sh'
check 'a shell that is not piped anything ends' mymachines shell web /bin/sh </dev/null
check 'who has enough of it leaves' says '^Left web' sh -c 'printf "\035\035\035" | script -qec "mymachines shell web /bin/sleep infinity" /dev/null'
check 'the terminal is as large as this one' says '33 77' script -qec 'stty rows 33 cols 77; mymachines shell web /bin/stty size' /dev/null
check 'a user may list' runuser -u testuser -- mymachines list
check 'a user may not end it' exits 1 runuser -u testuser -- mymachines terminate web
check 'the completions of bash know its name' says '^web' bash -c '
  . /usr/local/share/bash-completion/completions/mymachines
  COMP_WORDS=(mymachines status we) COMP_CWORD=2 COMP_TYPE=9
  _clap_complete_mymachines mymachines we status
  printf "%s\n" "${COMPREPLY[@]}"'
main=$(systemctl show --value --property=MainPID machined)
kill -STOP "$main"
check 'it is listed while the daemon is frozen' says '^web ' timeout 20 mymachines list --no-legend
check 'its process is known while the daemon is frozen' says ' web ' timeout 20 mymachines whois --no-legend --pid "$leader"
check 'the doctor sees that the daemon is frozen' says "^kill -CONT $main$" mend daemon
sh -c "$(mend daemon)"
check 'the command that it names thaws it' becomes says '^ok,daemon' finding daemon
systemctl stop machined.socket machined.service 2>/dev/null
check 'it is listed while there is no daemon' says '^web ' timeout 20 mymachines list --no-legend
check 'the doctor sees that there is no daemon' says '^WRONG,daemon,no machined serves' finding daemon
sh -c "$(mend daemon)" >/dev/null 2>&1
check 'the command that it names starts it' becomes says '^ok,daemon' finding daemon
check 'a machine is ended' mymachines terminate web
check 'and gone then' becomes exits 2 mymachines status web

# As LXC does it.
mkdir /sys/fs/cgroup/lxc.payload.box
sh -c 'echo $$ >/sys/fs/cgroup/lxc.payload.box/cgroup.procs && exec sleep infinity' &
box=$!
becomes grep -q lxc.payload.box "/proc/$box/cgroup"
check 'a leader beside all units is registered by a hook' env LXC_NAME=box LXC_PID=$box mymachines register --from lxc
check 'without a unit' says '^box +- +/lxc.payload.box$' mymachines list --no-legend --columns machine,unit,cgroup
check 'its processes are known' says ' box ' mymachines whois --no-legend --pid $box
check 'machinectl lists it' says '^box +container +lxc' machinectl list --no-legend
systemctl restart machined
check 'a restart keeps it' says '^box +- +/lxc.payload.box$' mymachines list --no-legend --columns machine,unit,cgroup
check 'it is ended without a unit' mymachines terminate box
check 'and gone then' becomes exits 2 mymachines status box
check 'a process of the root group is still no leader' says 'the leader is in no unit' sh -c '
  echo $$ >/sys/fs/cgroup/cgroup.procs && mymachines register web --leader $$'
finish
