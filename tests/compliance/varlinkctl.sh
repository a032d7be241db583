#!/usr/bin/env bash
# The machine socket as the real varlinkctl sees it: what it prints and how it exits. Runs inside a booted root, as root.
set -euo pipefail

usage() {
  cat <<'U'
usage: varlinkctl.sh [--flavour stock257|stock262|ours]

Prints one line for each case and how many passed; exits 1 if one failed. Needs varlinkctl, systemd-run and jq.
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

socket=/run/systemd/machine/io.systemd.Machine
machine=io.systemd.Machine
passed=0 failed=0
scratch=$(mktemp -d)
leader=
finish() {
  [ -z "$leader" ] || kill "$leader" 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT

# check SENTENCE EXIT PATTERN COMMAND...: COMMAND exits with EXIT and what it prints (both streams) matches the extended
# regular expression PATTERN, with ~ for the ends of lines.
check() {
  local sentence=$1 exit=$2 pattern=$3 got=0 printed
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

# The differences between the flavours, each with its reason:
# - 257 has no io.systemd.service on this socket: it came later.
controls=yes
[ "$flavour" != stock257 ] || controls=no

# 257 has no socket unit.
[ "$flavour" = ours ] || systemctl start systemd-machined.service
timeout 60 sh -c "until [ -S $socket ]; do sleep 0.05; done"
systemd-run --quiet --scope sleep infinity </dev/null &
leader=$!
timeout 60 sh -c "until grep -qx sleep /proc/$leader/comm; do sleep 0.05; done"

name="{\"name\":\"ctl\"}"

check "info names the product" 0 'Product: .*machined' varlinkctl info "$socket"
check "info lists the interfaces" 0 'io\.systemd\.Machine.*org\.varlink\.service' varlinkctl info "$socket"
check "list-interfaces has the machines" 0 '~io\.systemd\.Machine~' varlinkctl list-interfaces "$socket"
check "list-interfaces has the generic interface" 0 '~org\.varlink\.service~' varlinkctl list-interfaces "$socket"
check "introspect reads the interface of machines" 0 'method Register' varlinkctl introspect "$socket" "$machine"
check "introspect reads the generic interface" 0 'method GetInfo' varlinkctl introspect "$socket" org.varlink.service
check "introspect reads the common errors" 0 'error System' varlinkctl introspect "$socket" io.systemd
check "introspect without an interface reads them all" 0 'method GetInfo' varlinkctl introspect "$socket"
check "introspect of an unknown interface fails" 1 'InterfaceNotFound|Cannot assign requested address' varlinkctl introspect "$socket" io.systemd.Nope
check "list-methods has the methods of machines" 0 'io\.systemd\.Machine\.Register' varlinkctl list-methods "$socket"
for interface in $(varlinkctl list-interfaces "$socket"); do
  check "the description of $interface passes varlinkctl's own check" 0 '.*' \
    bash -c "varlinkctl introspect $socket $interface >$scratch/idl && varlinkctl validate-idl $scratch/idl"
done

check "a call for the host prints it" 0 '"name":"\.host"' varlinkctl -j call "$socket" $machine.List '{"name":".host"}'
check "a machine is registered" 0 '^(\{\}~)?$' \
  varlinkctl -j call "$socket" $machine.Register "{\"name\":\"ctl\",\"class\":\"container\",\"leader\":$leader}"
check "a taken name fails" 1 'MachineExists' \
  varlinkctl -j call "$socket" $machine.Register "{\"name\":\"ctl\",\"class\":\"container\",\"leader\":$leader}"
check "a taken leader fails with its errno" 1 'File exists|io\.systemd\.System' \
  varlinkctl -j call "$socket" $machine.Register "{\"name\":\"ctl2\",\"class\":\"container\",\"leader\":$leader}"
check "the machine is listed" 0 '"name":"ctl","class":"container"' varlinkctl -j call "$socket" $machine.List "$name"
check "all machines are listed with --more" 0 '"name":"(ctl|\.host)".*"name":"(ctl|\.host)"' \
  varlinkctl -j --more call "$socket" $machine.List '{}'
check "all machines without --more fail" 1 'ExpectedMore|without .more. flag' varlinkctl -j call "$socket" $machine.List '{}'
check "an unknown machine fails" 1 'NoSuchMachine' varlinkctl -j call "$socket" $machine.List '{"name":"nope"}'
check "a wrong parameter fails" 1 'InvalidParameter|Invalid' varlinkctl -j call "$socket" $machine.List '{"name":"foo_bar"}'
check "an unknown method fails" 1 'MethodNotFound|No such device or address' varlinkctl -j call "$socket" $machine.Nope '{}'
check "a method without a dot fails" 1 '.+' varlinkctl -j call "$socket" Nope '{}'
check "--oneway prints nothing" 0 '^$' varlinkctl -j --oneway call "$socket" $machine.List '{"name":"nope"}'
check "--quiet prints nothing" 0 '^$' varlinkctl -j --quiet call "$socket" $machine.List '{"name":".host"}'
check "a graceful failure is success" 0 'NoSuchMachine|^(null|\{\})?~?$' \
  varlinkctl -j --graceful=$machine.NoSuchMachine call "$socket" $machine.List '{"name":"nope"}'
check "a signal is sent" 0 '.*' varlinkctl -j call "$socket" $machine.Kill '{"name":"ctl","whom":"leader","signal":18}'
if [ $controls = yes ]; then
  check "the service can be pinged" 0 '.*' varlinkctl -j call "$socket" io.systemd.service.Ping '{}'
  check "the log level is told" 0 '"level":[0-7]' varlinkctl -j call "$socket" io.systemd.service.GetLogLevel '{}'
fi
check "somebody else may list" 0 '"name":"ctl"' \
  setpriv --reuid=4711 --regid=4711 --clear-groups varlinkctl -j call "$socket" $machine.List "$name"
check "somebody else may not unregister" 1 'InteractiveAuthenticationRequired|PermissionDenied|Permission denied' \
  setpriv --reuid=4711 --regid=4711 --clear-groups varlinkctl -j call "$socket" $machine.Unregister "$name"
check "the machine is unregistered" 0 '.*' varlinkctl -j call "$socket" $machine.Unregister "$name"
check "its leader lives on" 0 '^$' kill -0 "$leader"
check "it is gone" 1 'NoSuchMachine' varlinkctl -j call "$socket" $machine.List "$name"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
