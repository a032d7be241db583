#!/usr/bin/env bash
# Virtual machines of Incus with incus-follow: runs inside the machine that ../system/vm.sh boots. They only halt: it is qemu that is
# registered, whatever runs in it.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see ../system/vm.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
hash -r
systemctl enable --quiet --now machined
modprobe --all kvm_amd vhost_vsock
incus admin waitready --timeout 300 >/dev/null
mkdir -p /var/tmp/incus
incus admin init --preseed >/tmp/incus 2>&1 <<'P' || cat /tmp/incus
storage_pools:
- name: default
  driver: dir
  config:
    source: /var/tmp/incus
profiles:
- name: default
  devices:
    root:
      path: /
      pool: default
      type: disk
P
# cli; hlt; jmp -3 where a processor begins, 16 bytes before the end. An emulator around them ends when they take interrupts.
for firmware in /usr/share/OVMF/OVMF_CODE*.fd; do
  printf '\xfa\xf4\xeb\xfc' | dd of="$firmware" bs=1 seek=$(($(stat -c %s "$firmware") - 16)) conv=notrunc status=none
done
for name in before after later; do
  incus create --quiet --empty --vm "$name" -c security.secureboot=false -c limits.memory=64MiB -c limits.cpu=1 -d root,size=64MiB >/dev/null 2>&1
done
# qemu NAME: its process.
qemu() { cat "/run/incus/$1/qemu.pid"; }
is_qemu() { [ "$(qemu "$1")" = "$2" ]; }
listed() { mymachines list --no-legend --columns leader,machine,class,service; }
is_registered() { says "^$(qemu "$1") +$1 +vm +incus$" listed; }
has_left_something() { ls -d /tmp/tmp.*/events || pgrep -f 'incus-follow a&b|monitor --project a&b'; }
was_restarted() { [ "$(systemctl show --value --property=NRestarts incus-follow)" -gt 0 ]; }
are_registered() { is_registered before && is_registered after; }

check 'Incus starts a virtual machine' incus start before
check 'which is not registered by itself' not is_registered before
systemd-run --quiet --unit=incus-follow --property=Restart=always --property=RestartSec=1 \
  /usr/local/share/mymachines/hooks/incus-follow
check 'the follower registers the one that runs already' becomes is_registered before
check 'Incus starts another' incus start after
check 'which is registered, too' becomes is_registered after
check 'in a unit of its own' says '^after +machine-after.scope$' mymachines list --no-legend --columns machine,unit
check 'machinectl lists it' says '^after +vm +incus' machinectl list --no-legend
check 'its processes are known' says ' after ' mymachines whois --no-legend --pid "$(qemu after)"
check 'Incus is started again' systemctl restart incus
check 'and the follower with it' becomes was_restarted
check 'one that is started then' incus start later
check 'is registered, too' becomes is_registered later
check 'and so are the others still' are_registered
old=$(qemu before)
check 'Incus restarts one' incus restart --force before
check 'which has another process' not is_qemu before "$old"
check 'and is registered with that' becomes is_registered before
check 'in a unit of its own, too' says '^before +machine-before.scope$' mymachines list --no-legend --columns machine,unit
check 'Incus ends one' incus stop --force after
check 'which is gone' becomes exits 2 mymachines status after
check 'the tool ends one' mymachines terminate later
check 'which is gone' becomes exits 2 mymachines status later
check 'and Incus knows' becomes says STOPPED incus list --format csv later
incus project create --quiet 'a&b' -c features.profiles=false
incus create --quiet --project 'a&b' --empty --vm other -c security.secureboot=false -c limits.memory=64MiB -c limits.cpu=1 -d root,size=64MiB
# Some supervisors end the process alone that they started.
systemd-run --quiet --unit=incus-follow-project --property=KillMode=process \
  /usr/local/share/mymachines/hooks/incus-follow 'a&b'
check 'one of another project is started, whatever its name' incus start --project 'a&b' other
check 'and registered by the follower of that' becomes says '^[0-9]+ +other +vm +incus$' listed
check 'a follower is ended' systemctl stop incus-follow-project
check 'and leaves nothing behind' becomes not has_left_something
check 'Incus itself runs on' systemctl is-active incus
check 'and so does the third one' is_registered before
check 'nothing is registered twice' not says '^mymachines:' journalctl --no-pager --output=cat --unit=incus-follow
journalctl --no-pager --unit=incus-follow --unit=incus-follow-project --unit=machined | tail -n 50 | sed 's/^/# /'
finish
