#!/usr/bin/env bash
# Users and groups of a container as the programs of a host see them: userdbctl, getent, ls, ps, find, python. Runs inside a
# booted root, as root.
set -euo pipefail

usage() {
  cat <<'U'
usage: userdb.sh [--flavour stock257|stock262|ours]

Prints one line for each case and how many passed; exits 1 if one failed. Needs libnss-systemd, systemd-userdbd, python3,
procps and a registry daemon. Changes /etc/nsswitch.conf, and stops and starts systemd-userdbd.
U
}

flavour=ours
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --flavour) flavour=${2:?}; shift 2 ;;
    *) usage >&2; exit 2 ;;
  esac
done
case $flavour in stock257 | stock262 | ours) ;; *) usage >&2; exit 2 ;; esac
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
client=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')

machine=box first=600000000
uid=$((first + 5))
user=vu-$machine-5 group=vg-$machine-5
socket=/run/systemd/userdb/io.systemd.Machine
passed=0 failed=0
scratch=$(mktemp -d /var/tmp/userdb.XXXXXX)
chmod 755 "$scratch"
finish() {
  systemctl stop --quiet userdb-box.scope userdb-inside.scope userdb-nspawn.service 2>/dev/null || true
  rm -rf --one-file-system "$scratch"
}
trap finish EXIT

# check SENTENCE EXIT PATTERN COMMAND...: COMMAND exits with EXIT within 10 s, and what it prints (both streams) matches the
# extended regular expression PATTERN, with ~ for the ends of lines.
check() {
  local sentence="$mode: $1" exit=$2 pattern=$3 got=0 printed
  shift 3
  timeout 60 "$@" >"$scratch/printed" 2>&1 </dev/null || got=$?
  printed=$(tr '\n' '~' <"$scratch/printed")
  if [ "$got" = "$exit" ] && [[ $printed =~ $pattern ]]; then
    passed=$((passed + 1))
    echo "ok      $sentence"
  else
    failed=$((failed + 1))
    echo "FAILED  $sentence"
    echo "        expected exit $exit and $pattern"
    echo "        got      exit $got and ${printed:0:400}"
  fi
}
lacks() { # PATTERN COMMAND...: it prints no such line, and succeeds.
  local printed
  printed=$("${@:2}") && ! grep -E "$1" <<<"$printed"
}
export -f lacks

# A container, as far as anybody can tell: a process in a user namespace, one of its user 5, and a file of it.
timeout 60 sh -c "until [ -S $socket ]; do sleep 0.05; done"
systemd-run --quiet --scope --unit=userdb-box unshare --user sleep infinity </dev/null &
leader=$!
timeout 60 sh -c "until [ \$(cat /proc/$leader/comm) = sleep ]; do sleep 0.05; done"
echo "0 $first 65536" >"/proc/$leader/uid_map"
echo "0 $first 65536" >"/proc/$leader/gid_map"
varlinkctl call /run/systemd/machine/io.systemd.Machine io.systemd.Machine.Register \
  "{\"name\":\"$machine\",\"class\":\"container\",\"leader\":$leader}" >/dev/null
systemd-run --quiet --scope --unit=userdb-inside setpriv --reuid=$uid --regid=$uid --clear-groups sleep infinity </dev/null &
process=$!
timeout 60 sh -c "until [ \$(cat /proc/$process/comm) = sleep ]; do sleep 0.05; done"
touch "$scratch/file"
chown $uid:$uid "$scratch/file"

entry="$user:x:$uid:65534:UID 5 of Container $machine:/:/usr/sbin/nologin~"
json="\{\"userName\":\"$user\",\"uid\":$uid,\"gid\":65534,\"realName\":\"UID 5 of Container $machine\",\"homeDirectory\":\"/\","
json+="\"shell\":\"/usr/sbin/nologin\",\"locked\":true,\"service\":\"io.systemd.Machine\",\"disposition\":\"container\"\}"

# What every program sees, whoever answers glibc.
through_glibc() {
  check 'getent knows the user by name' 0 "^$entry\$" getent passwd $user
  check 'getent knows the user by id' 0 "^$entry\$" getent passwd $uid
  check 'getent knows the group by name' 0 "^$group:x:$uid:~\$" getent group $group
  check 'getent knows the group by id' 0 "^$group:x:$uid:~\$" getent group $uid
  check 'nobody else' 2 '^$' getent passwd nosuchuser
  check 'no other id' 2 '^$' getent passwd $((first - 1))
  check 'no other group' 2 '^$' getent group $((first - 1))
  check 'users are not listed' 0 '^$' bash -c 'lacks "$@"' lacks '^vu-' getent passwd
  check 'groups are not listed' 0 '^$' bash -c 'lacks "$@"' lacks '^vg-' getent group
  check 'id tells the user and no groups of its own' 0 "^uid=$uid\\($user\\) gid=65534\\(nogroup\\) groups=65534\\(nogroup\\)~\$" id $user
  check 'initgroups ends at once' 0 "^$user *~\$" getent initgroups $user
  check 'ls tells whose a file is' 0 " $user $group " ls -l "$scratch/file"
  check 'find knows that the file is somebodys' 0 '^$' find "$scratch/file" -nouser -o -nogroup
  check 'find finds it by its owner' 0 "^$scratch/file~\$" find "$scratch" -user $user -group $group
  check 'stat tells it too' 0 "^$user $group~\$" stat -c '%U %G' "$scratch/file"
  check 'chown takes the name' 0 '^$' chown $user:$group "$scratch/file"
  check 'ps tells whose a process is' 0 "^$user *~\$" ps -o user:32= -p $process
  check 'ps aux tells it too' 0 "(^|~)$user +$process " ps aux
  check 'python finds the user' 0 "^$user $uid $group~\$" python3 -c \
    "import grp, pwd; print(pwd.getpwuid($uid).pw_name, pwd.getpwnam('$user').pw_uid, grp.getgrgid($uid).gr_name)"
  check 'python lists none of them' 0 '^0~$' python3 -c "import pwd; print(sum(u.pw_name.startswith('vu-') for u in pwd.getpwall()))"
}

through_userdb() {
  check 'userdbctl knows the user by name' 0 "User name: $user~ *Disposition: container~.*UID: $uid~ *GID: 65534 .*Service: io.systemd.Machine~" userdbctl user $user
  check 'userdbctl knows the user by id' 0 "User name: $user~" userdbctl user $uid
  check 'userdbctl knows the group by name' 0 "Group name: $group~ *Disposition: container~ *GID: $uid~" userdbctl group $group
  check 'userdbctl knows the group by id' 0 "Group name: $group~" userdbctl group $uid
  check 'the record is as it must be' 0 "^$json~?\$" userdbctl --json=short user $user
  check 'userdbctl asks nobody else' 0 "User name: $user~" userdbctl --with-nss=no --with-dropin=no user $user
  check 'only by Varlink it is known' 1 'does not exist|not found' userdbctl --with-varlink=no user $user
  check 'by Varlink it is' 0 "User name: $user~" userdbctl --with-varlink=yes user $user
  check 'without the multiplexer, too' 0 "User name: $user~" userdbctl --multiplexer=no user $user
  check 'a user of another kind is not that one' 1 'match' userdbctl --disposition=regular user $user
  check 'a user of that kind is' 0 "User name: $user~" userdbctl --disposition=container user $user
  check 'nor is one outside of a range' 1 'match' userdbctl --uid-max=1000 user $user
  check 'nobody is listed' 0 '^$' bash -c 'lacks "$@"' lacks "$user" userdbctl user --disposition=container
  check 'the service listens' 0 'io.systemd.Machine +yes' userdbctl services
  check 'it has no memberships' 0 '^No memberships.~$' userdbctl groups-of-user $user
  if [ "$flavour" = ours ] && [ "$client" -ge 262 ]; then
    check 'a search among few ids finds it' 0 "$user" userdbctl user --uid-min=$uid --uid-max=$uid
  else
    # 257's client has no search; 262's daemon answers none.
    check 'a search finds none' 0 '^$' bash -c 'lacks "$@"' lacks "$user" userdbctl user --uid-min=$uid --uid-max=$uid
  fi
}

sed -i -e 's/^passwd:.*/passwd: files systemd/' -e 's/^group:.*/group: files systemd/' /etc/nsswitch.conf
mode='with the multiplexer'
systemctl start systemd-userdbd.socket
through_userdb
through_glibc
mode='without the multiplexer'
systemctl stop systemd-userdbd.socket systemd-userdbd.service
through_userdb
through_glibc

# A container as systemd-nspawn makes it, which chooses its ids.
cp -a /usr/share/machine-template "$scratch/nsp"
systemd-run --quiet --unit=userdb-nspawn systemd-nspawn --quiet --keep-unit --directory="$scratch/nsp" --machine=nsp -U sleep 1234567
timeout 60 sh -c 'until [ -e /run/systemd/machines/nsp ]; do sleep 0.05; done' || journalctl --no-pager -u userdb-nspawn
inside=$(sed -n 's/^LEADER=//p' /run/systemd/machines/nsp)
base=$(awk '{ print $2 }' "/proc/$inside/uid_map")
mode='of systemd-nspawn'
check 'its root has a name' 0 "^vu-nsp-0:x:$base:65534:UID 0 of Container nsp:/:/usr/sbin/nologin~\$" getent passwd "$base"
check 'and its process' 0 '(^|~)vu-nsp-0 +[^~]*sleep 1234567~' ps aux
check 'and its group' 0 "^vg-nsp-0:x:$base:~\$" getent group vg-nsp-0
systemctl stop userdb-nspawn.service
timeout 60 sh -c "while getent passwd $base; do sleep 0.05; done" >/dev/null
check 'with its end it has none' 2 '^$' getent passwd vu-nsp-0

# The original's module knows no users.
if [ "$flavour" = ours ]; then
  sed -i -e 's/^passwd:.*/passwd: files mymachines/' -e 's/^group:.*/group: files mymachines/' /etc/nsswitch.conf
  mode='with our module'
  through_glibc
  mode='with our module, everything frozen'
  systemctl kill --signal=STOP machined.service userdb-machined.service
  check 'a user is known' 0 "^$entry\$" timeout 5 getent passwd $uid
  check 'nobody else, and that at once' 2 '^$' timeout 5 getent passwd nosuchuser
  check 'users are not listed, and that at once' 0 '^$' timeout 5 bash -c '! getent passwd | grep ^vu-'
  check 'the groups of a user are known at once' 0 "^uid=$uid" timeout 5 id $user
  mode='with nss-systemd, everything frozen'
  sed -i -e 's/^passwd:.*/passwd: files systemd/' -e 's/^group:.*/group: files systemd/' /etc/nsswitch.conf
  systemctl kill --signal=STOP userdb-machined.service
  check 'there is an answer once the provider is replaced' 0 "^$entry\$" getent passwd $uid
  check 'and then at once' 2 '^$' timeout 5 getent passwd nosuchuser
  mode='with nss-systemd, without machined'
  systemctl kill --signal=KILL machined.service
  check 'a user is known' 0 "^$entry\$" getent passwd $uid
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
