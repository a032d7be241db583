#!/usr/bin/env bash
# LXC, Incus and Podman with our hooks: runs inside the boot that containers.sh makes.
set -uo pipefail
[ -e /root/lab-script ] || { echo "$0 changes the system that it runs on: see containers.sh --help" >&2; exit 2; }
# shellcheck source=tests/tool/checks.sh
. /src/tests/tool/checks.sh
/src/scripts/install.sh install >/tmp/install 2>&1 || { cat /tmp/install; exit 1; }
hash -r
hooks=/usr/local/share/mymachines/hooks
systemctl enable --quiet --now machined
template=/usr/share/machine-template
is_running() { lxc-info -P /var/tmp/lxc -n "$1" -sH | grep -qx RUNNING; }

# lxc NAME: a container of LXC's with our hook.
lxc() {
  mkdir -p "/var/tmp/lxc/$1"
  cp -a "$template" "/var/tmp/lxc/$1/rootfs"
  cat >"/var/tmp/lxc/$1/config" <<C
lxc.uts.name = $1
lxc.rootfs.path = dir:/var/tmp/lxc/$1/rootfs
lxc.init.cmd = /usr/sbin/init
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed
lxc.include = $hooks/lxc.conf
C
}
lxc box
lxc my_box
check 'LXC starts a container with the hook' lxc-start -P /var/tmp/lxc -n box
check 'it is registered when it is started' says '^box +container +running +lxc' mymachines list --no-legend
leader=$(lxc-info -P /var/tmp/lxc -n box -pH)
check 'by its first process, and without a unit' says "^$leader +- +/lxc.payload.box$" \
  mymachines list --no-legend --columns leader,unit,cgroup
check 'machinectl lists it' says '^box +container +lxc' machinectl list --no-legend
check 'its processes are known' says ' box ' mymachines whois --no-legend --pid "$leader"
check 'a name that is none is made one' lxc-start -P /var/tmp/lxc -n my_box
check 'and registered' says '^my-box ' mymachines list --no-legend
check 'it is ended' lxc-stop -P /var/tmp/lxc -n box -k
check 'and is gone with it' becomes exits 2 mymachines status box
systemctl stop machined.socket machined.service 2>/dev/null
check 'LXC starts it without a daemon' lxc-start -P /var/tmp/lxc -n box
check 'and it runs' becomes is_running box
lxc-stop -P /var/tmp/lxc -n box -k
systemctl start machined
kill -STOP "$(systemctl show --value --property=MainPID machined)"
began=$SECONDS
check 'LXC starts it while the daemon is frozen' lxc-start -P /var/tmp/lxc -n box
check 'after a few seconds' test $((SECONDS - began)) -lt 8
kill -CONT "$(systemctl show --value --property=MainPID machined)"
lxc-stop -P /var/tmp/lxc -n box -k
mv /usr/local/bin/mymachines /usr/local/bin/away
check 'LXC starts it without the program' lxc-start -P /var/tmp/lxc -n box
mv /usr/local/bin/away /usr/local/bin/mymachines
lxc-stop -P /var/tmp/lxc -n box -k

# Incus, by the profile; its virtual machines are tried in incus-inside.sh.
mkdir -p /var/tmp/incus
becomes incus admin waitready --timeout 10
incus admin init --preseed >/tmp/incus 2>&1 <<'P' || cat /tmp/incus
storage_pools:
- name: default
  driver: dir
  config:
    source: /var/tmp/incus
profiles:
- name: default
  devices:
    root: {path: /, pool: default, type: disk}
P
mkdir -p /var/tmp/incus-image/rootfs
cp -a $template/. /var/tmp/incus-image/rootfs
printf 'architecture: x86_64\ncreation_date: 1767225600\n' >/var/tmp/incus-image/metadata.yaml
tar -C /var/tmp/incus-image -cf /var/tmp/incus-image.tar metadata.yaml rootfs
check 'Incus takes an image' incus image import /var/tmp/incus-image.tar --alias lab
check 'and our profile' sh -c "incus profile create mymachines && incus profile edit mymachines <$hooks/incus.yaml"
check 'Incus starts a container with the profile' incus launch lab inc --profile default --profile mymachines
check 'it is registered when it is started' says '^inc +container +running' mymachines list --no-legend
check 'by its first process' says "^$(incus query /1.0/instances/inc/state | jq .pid) +inc$" mymachines list --no-legend --columns leader,machine
check 'and is gone when it is stopped' sh -c 'incus stop --force inc'
check 'from the list, too' becomes exits 2 mymachines status inc
systemctl stop machined.socket machined.service 2>/dev/null
check 'Incus starts it without a daemon' incus start inc
incus stop --force inc
systemctl start machined

mkdir -p /usr/share/containers/oci/hooks.d /etc/containers
# A lab has no kernel keyrings and no controllers; and no BPF, by which devices are kept from who is not privileged.
printf '[containers]\nkeyring = false\npids_limit = 0\nprivileged = true\n' >/etc/containers/containers.conf
cp "$hooks/oci.json" /usr/share/containers/oci/hooks.d/mymachines.json
pod() { podman --root /var/tmp/containers --storage-driver vfs --runtime crun "$@"; }
tar -C "$template" -c . | pod import --quiet - lab >/tmp/import 2>&1 || cat /tmp/import
check 'Podman starts a container with the annotation' pod run -d --name web --network none --systemd always \
  --annotation io.mymachines.register=web lab /usr/sbin/init
check 'it is registered' becomes says '^web +container +running +podman' mymachines list --no-legend
check 'by its first process' says "^$(pod inspect -f '{{.State.Pid}}' web) +web$" \
  mymachines list --no-legend --columns leader,machine
check 'Podman starts one without it' pod run -d --name plain --network none lab /usr/sbin/init
check 'which is not registered' exits 2 mymachines status plain
check 'a container by its id' pod run -d --name byid --network none --annotation io.mymachines.register=true lab /usr/sbin/init
check 'is registered by its id' becomes mymachines status "$(pod inspect -f '{{.Id}}' byid | cut -c1-12)"
pod kill web >/dev/null
check 'a container that ends is gone' becomes exits 2 mymachines status web
kill -STOP "$(systemctl show --value --property=MainPID machined)"
check 'Podman starts a container while the daemon is frozen' pod run -d --name late --network none \
  --annotation io.mymachines.register=late lab /usr/sbin/init
kill -CONT "$(systemctl show --value --property=MainPID machined)"
pod rm -af >/dev/null 2>&1

# As a user.
loginctl enable-linger testuser
becomes test -S /run/user/4711/bus
mkdir -p /var/tmp/rootless && chown testuser /var/tmp/rootless
user() {
  runuser -u testuser -- env -C / XDG_RUNTIME_DIR=/run/user/4711 HOME=/home/testuser \
    DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/4711/bus \
    podman --root /var/tmp/rootless/s --runroot /run/user/4711/c --storage-driver vfs --runtime crun \
    --hooks-dir /usr/share/containers/oci/hooks.d "$@"
}
grep -q testuser /etc/subuid || { echo testuser:300000:65536 >>/etc/subuid; echo testuser:300000:65536 >>/etc/subgid; }
tar -C "$template" -c . | user import --quiet - lab >/tmp/import 2>&1 || cat /tmp/import
check 'a user who may not register starts a container' user run -d --name one --network none --cgroups=disabled \
  --annotation io.mymachines.register=one lab /usr/sbin/init
check 'which is not registered' exits 2 mymachines status one
# With a daemon of the user's own.
own() { runuser -u testuser -- env -C / XDG_RUNTIME_DIR=/run/user/4711 "$@"; }
systemctl --global enable --quiet machined
own systemctl --user daemon-reload
own systemctl --user start machined.socket
check 'nor is the next one with the system, where the user has a daemon, too' user run -d --name own --network none --systemd always \
  --annotation io.mymachines.register=own lab /usr/sbin/init
check 'as before' exits 2 mymachines status own
registered() { own varlinkctl call /run/user/4711/systemd/machine/io.systemd.Machine io.systemd.Machine.List "{\"name\":\"$1\"}"; }
check 'but with the daemon of the user' says '"service" ?: ?"podman"' registered own
leader=$(user inspect -f '{{.State.Pid}}' own)
check 'which the programs of that user know' says ' own' own mymachines whois --no-legend --pid "$leader"
check 'and no others' exits 2 mymachines whois --pid "$leader"
kill -STOP "$(own systemctl --user show --value --property=MainPID machined)"
check 'a container is started while the daemon of the user is frozen' user run -d --name frozen --network none --cgroups=disabled \
  --annotation io.mymachines.register=frozen lab /usr/sbin/init
kill -CONT "$(own systemctl --user show --value --property=MainPID machined)"
user kill own >/dev/null
check 'a container of a user that ends is gone' becomes not registered own
cat >/etc/polkit-1/rules.d/10-lab.rules <<'R'
polkit.addRule(function(action, subject) {
  if (action.id == "org.freedesktop.machine1.register-machine" && subject.user == "testuser") return polkit.Result.YES;
});
R
systemctl restart polkit
check 'a user who may register starts a container' user run -d --name two --network none --systemd always \
  --annotation io.mymachines.register=two lab /usr/sbin/init
check 'which is registered as that user' becomes says '^two +4711$' mymachines list --no-legend --columns machine,owner
check 'and with the daemon of the user' says '"name" ?: ?"two"' registered two
finish
