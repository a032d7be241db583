#!/usr/bin/env bash
# ps as it is, and with our patch, and htop with ours: runs inside the boot that procps.sh makes.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see procps.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
hash -r
systemctl enable --quiet --now machined

# build NAME OPTION...: ps, with /tmp/NAME.ps to call it.
build() {
  local name=$1
  shift
  (
    cd "/tmp/$name" && autoreconf -fi && ./configure --with-systemd --without-ncurses --disable-pidof --disable-nls "$@" &&
      make -j2 library/libproc2.la src/ps/pscommand
  ) || return 1
  printf '#!/bin/sh\nLD_LIBRARY_PATH=/tmp/%s/library/.libs exec /tmp/%s/src/ps/.libs/pscommand "$@"\n' "$name" "$name" >"/tmp/$name.ps"
  chmod +x "/tmp/$name.ps"
}
for name in plain patched; do cp -r /procps /tmp/$name; done
check 'the patch fits' patch -d /tmp/patched -p1 --fuzz=0 --input=/src/packaging/procps.patch
check 'ps is built as it is' build plain
check 'with the patch and libmachine' build patched --with-libmachine
# compiles WITHOUT: what the patch changes, with a configuration that has not these.
compiles() {
  (
    cd /tmp/patched && grep -vE "$1" config.h >without.h &&
      cc -c -Wall -Werror -include without.h -Ilocal -Ilibrary/include -o /tmp/readproc.o library/readproc.c
  )
}
check 'with the patch and without libmachine' compiles WITH_LIBMACHINE
check 'with neither libmachine nor systemd' compiles 'WITH_LIBMACHINE|WITH_SYSTEMD'

cp -r /htop /tmp/htop
check 'the patch for htop fits' patch -d /tmp/htop -p1 --fuzz=0 --input=/src/packaging/htop.patch
build_htop() { (cd /tmp/htop && autoreconf -fi && ./configure --enable-libmachine --disable-unicode && make -j2); }
check 'htop is built with the patch' build_htop
cat >/tmp/htoprc <<'R'
config_reader_min_version=3
screen:Main=PID CONTAINER Command
.sort_key=PID
.tree_view=0
R
# shows PID NAME: htop has that in its column of containers.
shows() {
  says "$1 $2 " sh -c "sleep 3 | env HTOPRC=/tmp/htoprc TERM=xterm timeout 20 script --quiet --command \
    'stty rows 20 cols 120; timeout --foreground 2 /tmp/htop/htop --no-color --readonly -d 2 -p $1' /tmp/screen >/dev/null 2>&1; cat /tmp/screen"
}

# names PID NAME: what ps with the patch says.
names() { says "^$2 *$" /tmp/patched.ps -o machine= -p "$1"; }
# ordinary PID NAME: as it is.
ordinary() { says "^$2 *$" /tmp/plain.ps -o machine= -p "$1"; }
pid_of() { systemctl show --value -p MainPID "$1"; }
# beside GROUP: a process in a control group of no unit, whose pid it prints.
beside() {
  mkdir "/sys/fs/cgroup/$1" || return 1
  sleep infinity >/dev/null 2>&1 &
  echo $! >"/sys/fs/cgroup/$1/cgroup.procs" && echo $!
}
check 'a process in no machine has none' names $$ -
check 'nor as it is' ordinary $$ -
systemd-run --quiet --unit=box --service-type=exec sleep infinity
mymachines register --leader "$(pid_of box)" box
check 'a machine in a unit has its name' names "$(pid_of box)" box
check 'as it has without the patch' ordinary "$(pid_of box)" box
loose=$(beside loose)
mymachines register --leader "$loose" loose
check 'a machine in no unit has its name' names "$loose" loose
check 'which it has not without the patch' ordinary "$loose" -

check 'htop shows the one in a unit' shows "$(pid_of box)" box
check 'and the one in none' shows "$loose" loose

# A machine in another.
inner=$(beside loose/inner)
check 'what runs below a machine is in it' names "$inner" loose
mymachines register --leader "$inner" inner
check 'a machine in another has its own name' names "$inner" inner
check 'and that one its own' names "$loose" loose
check 'htop shows both' shows "$inner" loose/inner

# One that a user registered.
systemd-run --quiet --uid=testuser --unit=mine --service-type=exec sleep infinity
mine=$(pid_of mine)
cat >/etc/polkit-1/rules.d/lab.rules <<'R'
polkit.addRule(function (action, subject) {
  if (action.id.indexOf('org.freedesktop.machine1.') == 0 && subject.user == 'testuser') return polkit.Result.YES;
});
R
systemctl restart polkit
check 'a user registers a machine' runuser -u testuser -- mymachines register --leader "$mine" mine
check 'it has its name' names "$mine" mine

# A thousand processes, half of them in machines.
# shellcheck disable=SC2016
systemd-run --quiet --unit=many --service-type=exec bash -c 'for i in $(seq 500); do sleep infinity & done; wait'
mymachines register --leader "$(pid_of many)" many
for ((i = 0; i < 500; i++)); do sleep infinity & done
count() { says '^5[0-9][0-9]$' sh -c '/tmp/patched.ps -e -o machine= | grep -c "^many *$"'; }
check 'all of a machine have its name' becomes count
# milliseconds NAME: the processor time of a ps, the least of nine.
milliseconds() {
  local least=999999 time
  TIMEFORMAT='%U %S'
  for ((i = 0; i < 9; i++)); do
    time=$({ time "/tmp/$1.ps" -e -o pid,machine >/dev/null; } 2>&1 | awk '{ printf "%d", ($1 + $2) * 1000 }')
    [ "$time" -ge "$least" ] || least=$time
  done
  echo "$least"
}
plain=$(milliseconds plain) patched=$(milliseconds patched)
echo "   ps -e -o pid,machine of 1000 processes: $patched ms of processor time, as it is $plain ms"
finish
