#!/usr/bin/env bash
# Runs the tests of the NSS module against the original one and its daemon.
set -euo pipefail

usage() {
  cat <<'U'
usage: stock.sh

For the inside of a throw-away Debian with systemd-machined, systemd-container, libnss-mymachines, gcc and python3. The
lab boots one: ../lab/boot.sh --in DIRECTORY-OF-THIS-FILE trixie OUT stock.sh

Starts containers and registers a virtual machine, and runs those tests that hold for the original too; what it does
otherwise by decision of ours is listed as "not for stock". Changes /etc/nsswitch.conf.
U
}
case ${1-} in
  -h | --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }

sources=/in
[ -e "$sources/direct.c" ] || sources=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d /var/tmp/nss.XXXXXX)
template=/usr/share/machine-template

wait_for_record() {
  timeout 60 sh -c "until [ -e /run/systemd/machines/$1 ]; do sleep 0.1; done" || {
    echo "$1 was not registered" >&2
    cat "$work/$1.log" >&2
    exit 1
  }
}

# container NAME OPTION...
container() {
  local name=$1
  shift
  cp -a "$template" "$work/$name"
  systemd-nspawn --quiet -D "$work/$name" -M "$name" "$@" sleep infinity >"$work/$name.log" 2>&1 </dev/null &
  wait_for_record "$name"
}
leader() {
  sed -n 's/^LEADER=//p' "/run/systemd/machines/$1"
}

# Runs ip(8) with commands from standard input in the network of a container, whose link has no address of its own making.
ip_inside() {
  ip link set "ve-$1" up
  {
    echo 'link set host0 addrgenmode none'
    echo 'link set host0 up'
    cat
  } | nsenter -t "$(leader "$1")" -n ip -batch -
}

container none -U --private-network
container one -U --network-veth
container three -U --network-veth
container many -U --network-veth
container many6 -U --network-veth
container shared
ip_inside one <<<'addr add 10.0.0.2/24 dev host0'
ip_inside three <<'A'
addr add 10.0.1.2/24 dev host0
addr add fd00::2/64 dev host0 nodad
addr add fe80::1/64 dev host0 nodad
A
for i in $(seq 300); do echo "addr add 10.1.$((i / 256)).$((i % 256))/16 dev host0"; done | ip_inside many
for i in $(seq 300); do printf 'addr add fd00:1::%x/64 dev host0 nodad\n' "$i"; done | ip_inside many6
systemd-run --quiet --unit=vm-leader sleep infinity
busctl --quiet call org.freedesktop.machine1 /org/freedesktop/machine1 org.freedesktop.machine1.Manager \
  RegisterMachine sayssus vm 0 '' vm "$(systemctl show -P MainPID vm-leader)" ''
wait_for_record vm

# What the daemon says is what the module is to find, in the same order.
python3 - >"$work/world" <<'P'
import ipaddress, json, subprocess

def bus(path, interface, *call):
    command = ["busctl", "--json=short", "call", "org.freedesktop.machine1", path, interface, *call]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout)["data"]

manager = ("/org/freedesktop/machine1", "org.freedesktop.machine1.Manager")
for name in ("none", "one", "three", "many", "many6"):
    path = bus(*manager, "GetMachine", "s", name)[0]
    links = bus(path, "org.freedesktop.DBus.Properties", "Get", "ss", "org.freedesktop.machine1.Machine",
                "NetworkInterfaces")[0]["data"]
    scope = f"%{links[0]}" if len(links) == 1 else ""
    addresses = [f"{ipaddress.ip_address(bytes(octets))}{scope}" for _, octets in bus(*manager, "GetMachineAddresses", "s", name)[0]]
    print(name, "container", *addresses)
print("shared shared")
print("vm vm")
P
echo "systemd $(systemctl --version | awk 'NR == 1 {print $2}'), glibc $(getconf GNU_LIBC_VERSION | cut -d' ' -f2)"
cut -c-120 "$work/world"
printf 'passwd: files mymachines\ngroup: files mymachines\nhosts: mymachines\n' >/etc/nsswitch.conf

status=0
for program in direct layout resolve; do
  gcc -std=c11 -O2 -g -Wall -Wextra -Werror -pthread -o "$work/$program.bin" \
    "$sources/$program.c" "$sources"/{check,world,module,process,filter}.c -ldl
  echo "== $program"
  timeout -k 5 300 "$work/$program.bin" --stock "$work/world" 2>&1 | tee "$work/$program.out" || status=1
done
passed=$(cat "$work"/*.out | grep -c '^ok ' || true)
failed=$(cat "$work"/*.out | grep -c '^FAILED' || true)
apart=$(cat "$work"/*.out | grep -c '^not for stock' || true)
echo "$passed passed, $failed failed, $apart not for stock"
[ "$failed" = 0 ] && [ "$status" = 0 ]
