#!/usr/bin/env bash
# What a name takes through the real systemd-resolved, by the original's hook and by ours, in a booted sid
# (tests/lab/boot.sh --in .:/src). One after the other, three times.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see tests/lab/boot.sh --help" >&2; exit 2; }

state() { systemctl show -P "$1" "$2"; }
within() { timeout "$1" bash -c 'until "$@" >/dev/null 2>&1; do sleep 0.05; done' bash "${@:2}"; }
call() { varlinkctl call /run/systemd/machine/io.systemd.Machine "io.systemd.Machine.$1" "$2"; }

cat >/tmp/ask.py <<'P'
import json, socket, statistics, sys, time
asking = socket.socket(socket.AF_UNIX)
asking.connect("/run/systemd/resolve/io.systemd.Resolve")
# Not from the cache.
call = json.dumps({"method": "io.systemd.Resolve.ResolveHostname",
                   "parameters": {"name": "box", "family": 2, "flags": 1 << 12}}).encode() + b"\0"
def ask():
    began = time.perf_counter()
    asking.sendall(call)
    reply = b""
    while not reply.endswith(b"\0"):
        reply += asking.recv(65536)
    took = time.perf_counter() - began
    found = json.loads(reply[:-1])
    assert [a["address"] for a in found["parameters"]["addresses"]] == [[10, 92, 0, 3]], found
    return took
for _ in range(50):
    ask()
times = sorted(ask() for _ in range(2000))
print(f"{times[1000] * 1e6:.0f} {times[1980] * 1e6:.0f}")
P

systemd-run --quiet --service-type=exec --slice=machine.slice --unit=box -p PrivateNetwork=yes sleep infinity
leader=$(state MainPID box)
ip link add ve-box type veth peer name host0 netns "$leader"
nsenter -t "$leader" -n sh -c 'ip link set host0 up; ip addr add 10.92.0.3/24 dev host0'
ip link set ve-box up && ip addr add 10.92.0.1/24 dev ve-box
systemctl start systemd-resolved.service

measure() { # WHO
  call Register "{\"name\":\"box\",\"class\":\"container\",\"leader\":$leader}" >/dev/null || return 1
  within 20 python3 /tmp/ask.py || return 1
  local told
  told=$(python3 /tmp/ask.py) || return 1
  echo "$1: median and 99th percentile in us: $told"
  echo "${told% *}" >>"/tmp/$1"
  call Unregister '{"name":"box"}' >/dev/null
}
for _ in 1 2 3; do
  systemctl unmask systemd-machined.service systemd-machined.socket >/dev/null 2>&1
  systemctl start systemd-machined.socket systemd-machined.service || exit 1
  measure original || { echo 'FAILED the original does not answer'; exit 1; }
  systemctl stop systemd-machined.socket systemd-machined.service
  systemctl mask systemd-machined.service systemd-machined.socket >/dev/null 2>&1
  /src/scripts/install.sh install >/dev/null || exit 1
  systemctl start machined.socket machined.service || exit 1
  measure ours || { echo 'FAILED ours does not answer'; exit 1; }
  systemctl stop machined.socket machined.service
  /src/scripts/install.sh uninstall >/dev/null || exit 1
done
middle() { sort -n "/tmp/$1" | sed -n 2p; }
ratio=$(awk "BEGIN { printf \"%.2f\", $(middle ours) / $(middle original) }")
echo "through systemd-resolved: ours $(middle ours) us, the original's hook $(middle original) us: $ratio times"
if awk "BEGIN { exit !($ratio <= 1.3) }"; then
  echo 'ok      through systemd-resolved ours is not slower'
  echo '1 passed, 0 failed'
else
  echo 'FAILED  through systemd-resolved ours is slower'
  echo '0 passed, 1 failed'
  exit 1
fi
