#!/usr/bin/env bash
# `mymachines publish dns` as the service of the examples, with BIND on the same host, in a booted Debian
# (tests/lab/boot.sh --with bind9 --with bind9-dnsutils --in .:/src): what happens to it and around it. The second time it is run
# after a soft-reboot.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }
# What is needed after the soft-reboot.
kept=/var/lib/publishing
[ -e $kept ] || { mkdir $kept; cp /src/tests/tool/checks.sh $kept; }
# shellcheck source=tests/tool/checks.sh
. $kept/checks.sh
zone=containers.example unit=publish-dns.service
# Its own file system, which can be full.
zones=/var/lib/bind

main() { systemctl show --property=MainPID --value "$1"; }
answer() { dig +short +time=2 +tries=1 @127.0.0.1 "$@"; }
# is NAME ADDRESS: the zone has it, and its address leads back. No address: neither has anything.
is() {
  local told
  told=$(answer "$1.$zone") && [ "$told" = "${2-}" ] || { echo "$1 is '$told'"; return 1; }
  [ -z "${2-}" ] || { told=$(answer -x "$2") && [ "$told" = "$1.$zone." ]; } || { echo "$2 is '$told'"; return 1; }
}
# machine NAME NUMBER: a container with the address 10.9.NUMBER.2.
machine() {
  local leader
  systemd-run --quiet --service-type=exec --slice=machine.slice --unit="$1" -p PrivateNetwork=yes sleep infinity || return
  leader=$(main "$1")
  ip link add "ve-$1" type veth peer name host0 netns "$leader" && ip link set "ve-$1" up && ip addr add "10.9.$2.1/24" dev "ve-$1" &&
    nsenter -t "$leader" -n sh -c "ip link set host0 up; ip addr add 10.9.$2.2/24 dev host0" &&
    varlinkctl call /run/systemd/machine/io.systemd.Machine io.systemd.Machine.Register \
      "{\"name\":\"$1\",\"class\":\"container\",\"leader\":$leader}" >/dev/null
}
said() { journalctl --boot --unit=$unit --no-pager --output=cat; }
serve() {
  mountpoint -q $zones || mount -t tmpfs -o size=1m,mode=775,gid=bind tmpfs $zones
  mkdir -p /etc/mymachines
  [ -e /etc/mymachines/dns.key ] || (umask 077 && tsig-keygen fleet >/etc/mymachines/dns.key)
  install -m640 -g bind /etc/mymachines/dns.key /etc/bind/dns.key
  echo 'include "/etc/bind/dns.key";' >/etc/bind/named.conf.local
  for name in $zone 9.10.in-addr.arpa; do
    echo "zone \"$name\" { type primary; file \"$zones/$name\"; allow-update { key fleet; }; allow-transfer { key fleet; }; };"
  done >>/etc/bind/named.conf.local
  if [ -e $kept/zones ]; then
    cp -a $kept/zones/. $zones
    systemctl restart named.service
    return
  fi
  for name in $zone 9.10.in-addr.arpa; do
    printf '$TTL 60\n@ SOA ns.%s. root.%s. 1 60 60 600 1\n@ NS ns.%s.\n' $zone $zone $zone >"$zones/$name"
    [ $name != $zone ] || echo 'ns A 10.9.0.1' >>"$zones/$name"
    chown bind:bind "$zones/$name"
  done
  systemctl restart named.service
}

after_the_reboot() {
  cat $kept/log
  passed=$(cat $kept/passed) failed=$(cat $kept/failed)
  serve
  check 'after a soft-reboot the service is there again' becomes systemctl is-active $unit
  check 'it is another process' [ "$(main $unit)" != "$(cat $kept/before)" ]
  check 'machines that are gone are in the zone no more' becomes is late
  machine again 7 || exit 1
  check 'and new ones are' becomes is again 10.9.7.2
  check 'to leave for good, the zone is left empty' bash -c "
    systemctl disable --now $unit && mymachines publish dns --zone $zone --server 127.0.0.1 --network 10.9.0.0/16 --key /etc/mymachines/dns.key --withdraw"
  check 'and nothing is in it' is again
  check 'nor who published' [ -z "$(answer "$(uname -n)._mymachines.$zone" TXT)" ]
}

if [ -e $kept/before ]; then
  after_the_reboot
  rm -f /out/again
  finish
  exit
fi

/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
systemctl enable --quiet --now machined.service || exit 1
serve || exit 1
install -m644 /usr/local/share/mymachines/examples/names/$unit /etc/systemd/system/
# What the file itself says is to be changed.
sed -i 's/ns\.example/127.0.0.1/' /etc/systemd/system/$unit
systemctl daemon-reload
machine web 1 || exit 1
check 'the service starts' systemctl enable --quiet --now $unit
check 'it publishes what is there' becomes is web 10.9.1.2
check 'it is no user of the host' not says '^Uid:.*\b0\b' cat "/proc/$(main $unit)/status"
check 'it has no rights' says '^CapEff:[[:space:]]*0+$' cat "/proc/$(main $unit)/status"
machine db 2 || exit 1
check 'a machine that comes is published' becomes is db 10.9.2.2
first=$(main $unit)

systemctl restart machined.service
machine mail 3 || exit 1
check 'it goes on after a restart of the daemon' becomes is mail 10.9.3.2
systemctl kill --signal=KILL machined.service
systemctl stop db.service
check 'and after one that was killed' becomes is db
check 'it is the same process' [ "$(main $unit)" = "$first" ]

systemctl kill --signal=KILL $unit
systemctl stop mail.service
check 'killed, it is started again' becomes bash -c "[ \$(systemctl show --property=MainPID --value $unit) -gt 0 ]"
check 'and knows what has ended meanwhile' becomes is mail
check 'and what has not' becomes is web 10.9.1.2

head -c 2m /dev/zero >$zones/ballast 2>/dev/null
for number in $(seq 20); do machine "full$number" $((20 + number)) || exit 1; done
check 'with a full disk the server refuses, which is said' becomes bash -c "
  journalctl --boot --unit=$unit --no-pager --output=cat | grep -q 'the server answers SERVFAIL'"
check 'the service waits' systemctl is-active $unit
rm $zones/ballast
# What was refused is tried again when the zone is looked at next, which is within a minute.
check 'and tells it all when there is room again' bash -c 'end=$((SECONDS + 120)); until [ "$(dig +short @127.0.0.1 full20.containers.example)" = 10.9.40.2 ]; do [ $SECONDS -lt $end ] || exit 1; sleep 0.2; done'
check 'what was there stays' is web 10.9.1.2
for number in $(seq 20); do systemctl stop "full$number.service"; done
check 'and what ends goes' becomes is full20

# An upgrade: another file in the place of each.
before=$(stat -c %i /usr/local/bin/mymachines)
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
check 'an upgrade has other programs' [ "$(stat -c %i /usr/local/bin/mymachines)" != "$before" ]
first=$(main $unit)
systemctl restart machined.service
machine late 5 || exit 1
check 'the service of before goes on beside a new daemon' becomes is late 10.9.5.2
check 'as the same process' [ "$(main $unit)" = "$first" ]
check 'restarted, it is the new program' systemctl restart $unit
check 'which takes over what the old one published' becomes says 'names of this host' said
check 'of which nothing is missing' is late 10.9.5.2
check 'nothing was denied to it' not says 'audit|SECCOMP|not permitted' said
check 'what ends while the server is away' bash -c 'systemctl stop named.service && systemctl stop web.service'
systemctl start named.service
check 'is taken out when that is back' becomes is web

main $unit >$kept/before
echo $passed >$kept/passed
echo $failed >$kept/failed
touch /out/again
cp /out/log $kept/log
# The server has what it had.
systemctl stop named.service
cp -a $zones $kept/zones
systemctl soft-reboot
