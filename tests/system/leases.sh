#!/usr/bin/env bash
# Guests that lease their addresses: of libvirt's default network, and of systemd-networkd on a bridge and on a tap of their own.
# They have no system: it is the network card's own program (iPXE) that asks for an address, to boot from the network. Runs in
# the machine that vm.sh boots.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see vm.sh --help" >&2; exit 2; }

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
within() { timeout "$1" bash -c 'until "$@" >/dev/null 2>&1; do sleep 0.05; done' bash "${@:2}"; }
has() { grep -qE -- "$2" "$1"; }
says() { local told; told=$("${@:2}" 2>&1); grep -qE -- "$1" <<<"$told" || { echo "$told"; return 1; }; }
call() { varlinkctl call /run/systemd/machine/io.systemd.Machine "$@"; }
export -f has says
records=/run/systemd/machines

# late NAME FILE: how long after the file with its lease its record was written; 1 s at most.
late() {
  local late
  late=$(($(stat -c %.3Y "$records/$1" | tr -d .) - $(stat -c %.3Y "$2" | tr -d .)))
  echo "        $1 is a name $late ms after its lease"
  [ $late -le 1000 ]
}
# leased NAME PREFIX FILE: all that a name has to be.
leased() {
  local name=$1 prefix=$2 file=$3 address
  check "$name has a lease" within 200 has "$records/$name" '^ADDRESSES_FROM="?lease'
  address=$(sed -n 's/^ADDRESSES="\?\([0-9.]*\).*/\1/p' "$records/$name")
  check "which is of the server's network" says "^${prefix//./\\.}" echo "$address"
  check "$name resolves to it" says "^$address " getent ahostsv4 "$name"
  check "and it to $name" says "$name" getent hosts "$address"
  check 'machinectl has it' says "$name .*$address" machinectl list
  check 'and so has GetAddresses' says "ay 4 ${address//./ }" \
    busctl call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager GetMachineAddresses s "$name"
  check 'and List' says "$(echo "$address" | tr . ,)" \
    call --json=short io.systemd.Machine.List "{\"name\":\"$name\",\"acquireMetadata\":\"graceful\"}"
  late "$name" "$file" >/tmp/late
  check "a name within a second of its lease" test $? = 0
  cat /tmp/late
}

systemctl mask --now systemd-machined.service systemd-machined.socket >/dev/null 2>&1
/src/scripts/install.sh install >/dev/null || exit 1
systemctl start machined.socket machined.service || exit 1
sed -i 's/^hosts:.*/hosts: files mymachines dns/' /etc/nsswitch.conf

# libvirt.
cat >/run/guest.xml <<'X'
<domain type='qemu'>
  <name>guest</name><memory unit='MiB'>96</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='network'/></os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><memballoon model='none'/>
    <interface type='network'><source network='default'/><model type='virtio'/></interface></devices>
</domain>
X
systemctl start libvirtd.service
check "libvirt's default network is there" bash -c 'virsh net-start default || says active virsh net-info default'
check 'a domain runs' virsh create /run/guest.xml
name=
within 60 bash -c 'ls /run/systemd/machines | grep -q -- "-guest$"'
name=$(cd $records && ls | grep -- '-guest$')
leased "${name:-guest}" 192.168.122. /var/lib/libvirt/dnsmasq/virbr0.status
check 'the domain ends' virsh destroy guest
check 'and its name does' within 20 bash -c "! getent hosts $name"

# systemd-networkd: a bridge, and a tap of a machine's own as systemd-vmspawn has it.
cat >/etc/systemd/network/br1.netdev <<'N'
[NetDev]
Name=br1
Kind=bridge
N
cat >/etc/systemd/network/br1.network <<'N'
[Match]
Name=br1
[Network]
Address=10.77.0.1/24
DHCPServer=yes
ConfigureWithoutCarrier=yes
N
cat >/etc/systemd/network/tap.network <<'N'
[Match]
Name=tap-bridged
[Network]
Bridge=br1
N
cat >/etc/systemd/network/routed.network <<'N'
[Match]
Name=tap-routed
[Network]
Address=10.78.0.1/24
DHCPServer=yes
ConfigureWithoutCarrier=yes
N
ip tuntap add tap-bridged mode tap && ip tuntap add tap-routed mode tap
systemctl restart systemd-networkd.service
for kind in bridged routed; do
  within 30 bash -c "networkctl status tap-$kind | grep -q configured"
  systemd-run --quiet --service-type=exec --slice=machine.slice --unit=vm-$kind qemu-system-x86_64 -accel tcg -m 96 \
    -nographic -nodefaults -netdev tap,id=n,ifname=tap-$kind,script=no,downscript=no \
    -device "virtio-net-pci,netdev=n,mac=52:54:00:00:00:0${#kind},bootindex=1"
  call io.systemd.Machine.Register "{\"name\":\"vm-$kind\",\"class\":\"vm\",\"leader\":$(systemctl show -P MainPID vm-$kind)}" >/dev/null
done
lease() { ls /run/systemd/netif/dhcp-server-lease/"$1" /var/lib/systemd/network/dhcp-server-lease/"$1" 2>/dev/null | head -n 1; }
within 200 bash -c "$(declare -f lease); [ -n \"\$(lease br1)\" ]"
leased vm-bridged 10.77.0. "$(lease br1)"
within 200 bash -c "$(declare -f lease); [ -n \"\$(lease tap-routed)\" ]"
leased vm-routed 10.78.0. "$(lease tap-routed)"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] || { journalctl -u machined.service -u systemd-networkd.service --no-pager | tail -n 40; cat $records/*; networkctl; }
[ "$failed" = 0 ]
