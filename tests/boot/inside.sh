#!/bin/bash
# What a boot of tests/boot/run.sh does once it is up: writes down how it went, and ends or restarts it. Runs inside.
set -u
export LC_ALL=C.UTF-8 SYSTEMD_PAGER=cat SYSTEMD_COLORS=0
stage=${1:?}
units='machined.service machined.socket userdb-machined.socket resolve-machined.socket'
[ ! -e /run/again ] || stage+=-again

show() { systemctl show --value --property="$2" $1; }

# to FILE: what became of the boot.
facts() {
  echo "multi-user $(($(show multi-user.target ActiveEnterTimestampMonotonic) / 1000))"
  echo "userspace $(($(show '' UserspaceTimestampMonotonic) / 1000))"
  journalctl --sync
  systemctl --failed --plain --no-legend | awk '{ print "failed " $1 }'
  journalctl --boot --quiet --output=cat | grep -E 'rdering cycle|achined.*(File exists|xpected|ailed)' | sed 's/^/journal /'
  local unit
  for unit in $units; do echo "unit $unit $(systemctl is-active $unit)"; done
  local from=${EPOCHREALTIME/./}
  getent passwd nobody-has-this-name
  echo "lookup $(((${EPOCHREALTIME/./} - from) / 1000))"
  echo "journal-of-the-name $(journalctl --boot --quiet --output=cat -u systemd-machined | grep -c 'Serving [0-9]* machines')"
}

# A machine in a unit that outlives a soft-reboot, as systemd-soft-reboot.service(8) has it.
survivor() {
  cat >/run/systemd/system/survivor.service <<'U'
[Unit]
SurviveFinalKillSignal=yes
IgnoreOnIsolate=yes
DefaultDependencies=no
After=basic.target
Conflicts=reboot.target kexec.target poweroff.target halt.target rescue.target emergency.target
Before=shutdown.target rescue.target emergency.target
[Service]
Type=exec
ExecStart=/usr/bin/sleep infinity
U
  systemctl daemon-reload
  systemctl start survivor.service
  show survivor.service MainPID >/out/survivor
  varlinkctl call /run/systemd/machine/io.systemd.Machine io.systemd.Machine.Register \
    "{\"name\":\"survivor\",\"class\":\"container\",\"leader\":$(cat /out/survivor)}" >/dev/null
}

# Looks up somebody until the very end of the shutdown; a line before and after each lookup.
looker() {
  cat >/run/looker <<'L'
#!/bin/bash
number=0
while :; do
  echo "begun $EPOCHREALTIME"
  getent passwd "nobody-$((number++))"
  echo "done $EPOCHREALTIME $?"
done >/out/lookups
L
  chmod +x /run/looker
  printf '[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/bash /run/looker\n' >/run/systemd/system/looker.service
  systemctl daemon-reload
  systemctl start looker.service
  until [ "$(grep -c ^done /out/lookups)" -gt 3 ]; do sleep 0.05; done
}

case $stage in
  shutdown)
    facts >/out/facts
    looker
    touch /out/again
    date +%s%3N >/out/asked
    systemctl poweroff --no-block
    ;;
  soft)
    facts >/out/facts
    survivor
    touch /out/again /run/again
    awk '{ print int($1 * 1000) }' /proc/uptime >/out/asked
    systemctl soft-reboot --no-block
    ;;
  soft-again)
    facts >/out/facts-again
    machinectl show --value --property=Leader survivor >/out/survivor-again
    ;;
  absent)
    facts >/out/facts
    # As one that is mounted late.
    mount --bind /later /usr/local && systemctl daemon-reload && systemctl start machined.service
    for unit in $units; do echo "unit $unit $(systemctl is-active $unit)"; done >/out/later
    ;;
  hanging)
    facts >/out/facts
    # It may not have been its turn yet: nothing of the boot waits for it.
    [ ! -e /usr/sbin/mount.hanging ] || systemctl start --no-block var-lib-machines.mount
    [ ! -e /usr/sbin/mount.hanging ] || timeout 20 bash -c \
      'until [ "$(systemctl is-active var-lib-machines.mount)" = activating ]; do sleep 0.05; done'
    # Nobody looks into it here: whoever did could not be killed.
    if grep -q ' /var/lib/machines fuse ' /proc/mounts || [ "$(systemctl is-active var-lib-machines.mount)" = activating ]; then
      echo hangs >>/out/facts
    fi
    systemd-run --quiet --unit=web --service-type=exec sleep infinity
    mymachines register --class container --leader "$(show web.service MainPID)" web
    machinectl list --no-legend | awk '$1 == "web" { print "machine web" }' >>/out/facts
    mymachines terminate web
    ;;
  *) exit 2 ;;
esac
