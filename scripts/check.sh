#!/usr/bin/env bash
# All tests, with one summary. `make check` installs what they need and calls this.
set -uo pipefail

usage() {
  cat <<'U'
usage: check.sh [--fast | --next | --long] [STEP]...

Runs every step, or those that are named, to the end even if one fails; the log of each is target/check/STEP.log. Prints
a summary, whose last line is "N passed, N failed, N skipped"; exits 1 if anything failed. A step that counts nothing
itself counts as one test. What this host has no tool for is skipped, and said so loudly. Who is not root is asked by sudo
for a password at the beginning, if it wants one, and if there are steps that need root.

  --fast  only what needs no root, no Debian to boot and no release build: a few minutes, between two edits
  --long  instead, what does not fit into the others: a kernel of its own, other processors, Debian 12's boot, other
          container managers, name servers, packages, minutes of made-up input for each reader, and Miri
  --next  instead, the system tests on the newest Debian (sid) and its systemd, which change from day to day
U
}

cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
kind=all next='' only=()
for word; do
  case $word in
    -h | --help) usage; exit 0 ;;
    --fast | --long) kind=${word#--} ;;
    --next) kind=next next=yes ;;
    -*) usage >&2; exit 2 ;;
    *) only+=("$word") ;;
  esac
done
cargo=$(scripts/cargo.sh --which) || exit 1
export PATH=${cargo%/*}:$PATH:/usr/sbin:/sbin CARGO_TERM_COLOR=never
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR CARGO_BUILD_TARGET
logs=$PWD/target/check
mkdir -p "$logs"
summary='' passed=0 failed=0 skipped=0 names='' total=0 root_steps=0 number=0

# counts LOG: passed, failed and skipped, as the test runners' closing lines say, and how many of those lines there are.
counts() {
  awk '
    /^test result: / { passed += $4; failed += $6; skipped += $8; lines++ }
    /^[0-9]+ passed, [0-9]+ failed/ {
      passed += $1; failed += $3; lines++
      # It has counted what it told above.
      if ($6 == "skipped") { skipped += $5; told = 0 }
    }
    /^SKIPPED/ { told++ }
    END { print passed + 0, failed + 0, skipped + told, lines + 0 }' "$1"
}

# tell_each_minute NAME LOG: how long a step has been running, and what it said last.
tell_each_minute() {
  local minutes=0 line pause=
  trap 'kill $pause 2>/dev/null; exit 0' TERM
  while :; do
    sleep 60 &
    pause=$!
    wait $pause
    minutes=$((minutes + 1))
    line=$(tail -c 2000 "$2" 2>/dev/null | tr -d '\r' | tail -n 1 | cut -c1-100)
    printf '   %s: %d min; %s\n' "$1" $minutes "$line"
  done
}

wanted() { case " ${only[*]-} " in '  ' | *" $1 "*) ;; *) return 1 ;; esac }

# step NAME SECONDS COMMAND...: the limit is for what hangs; what is slow on a busy machine is well within it.
step() {
  local teller name=$1 limit=$2 log=$logs/$1.log rc=0 p f s lines verdict told began=$SECONDS
  shift 2
  names+=" $name "
  wanted "$name" || return
  if [ -n "$counting" ]; then
    total=$((total + 1))
    return
  fi
  number=$((number + 1))
  printf '== %s: %d of %d, after %d:%02d\n' "$name" $number $total $((SECONDS / 60)) $((SECONDS % 60))
  tell_each_minute "$name" "$log" &
  teller=$!
  # A shell of its own, whose process group the limit ends as a whole.
  export -f as_root booted lint newest_glibc older version1
  timeout -k 10 "$limit" bash -euo pipefail -c '"$@"' bash "$@" >"$log" 2>&1 </dev/null || rc=$?
  kill $teller && wait $teller 2>/dev/null
  read -r p f s lines <<<"$(counts "$log")"
  if [ $rc != 0 ] && [ "$f" = 0 ]; then
    f=1
    [ $rc != 124 ] || echo "not done after $limit seconds" >>"$log"
  elif [ $rc = 0 ] && [ $((p + f + s)) = 0 ]; then
    # Who counts has tests to count.
    if [ "$lines" = 0 ]; then p=1; else f=1; fi
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  verdict=ok
  [ "$s" = 0 ] || [ "$p" != 0 ] || verdict=SKIPPED
  if [ "$f" != 0 ]; then
    verdict=FAILED
    grep -aE '^FAILED|^test .*FAILED$|panicked at|^error' "$log" | head -n 20
    echo "-- the end of $log:"
    tail -n 40 "$log"
  fi
  grep -a '^SKIPPED' "$log"
  verdict=$(printf '%-8s %-18s %5d passed %3d failed %3d skipped %5d s' \
    "$verdict" "$name" "$p" "$f" "$s" $((SECONDS - began)))
  # What failed is told where a long output is looked at first.
  told='^SKIPPED'
  [ "$f" = 0 ] || told='^SKIPPED|^FAILED|^test .*FAILED$|^error|^not done after'
  summary+="$verdict"$'\n'$(grep -aE "$told" "$log" | cut -c1-200 | head -n 30 | sed 's/^/         /')$'\n'
  printf '%s\n' "$verdict"
}

# root_step NAME SECONDS COMMAND...: a step that boots something, or needs users and control groups, which root alone has.
root_step() {
  [ -z "$counting" ] || ! wanted "$1" || root_steps=$((root_steps + 1))
  step "$@"
}

# Steps run in the background of the terminal, where sudo stops when it wants to ask for a password: it asks before them, and
# is not to forget the answer.
keep_sudo() {
  echo "check.sh: $root_steps of the $total steps need root, with sudo, which may ask for your password"
  if ! command -v sudo >/dev/null || ! sudo true; then
    echo 'check.sh: neither root nor sudo: run it as root; what needs neither is check.sh --fast (make check FAST=1)' >&2
    exit 1
  fi
  while sleep 60; do sudo -n true || break; done >/dev/null 2>&1 &
  # shellcheck disable=SC2064
  trap "kill $! 2>/dev/null" EXIT
}

# as_root COMMAND...: with the caller's toolchain, and in his settings.
as_root() {
  [ "$(id -u)" = 0 ] || set -- sudo env PATH="$PATH" HOME="$HOME" ${DEADLINE:+DEADLINE="$DEADLINE"} "$@"
  exec "$@"
}

# booted SUITE SECONDS SCRIPT [--in DIR:AT]...: a script in a booted Debian; what it said is the log.
booted() {
  local suite=$1 seconds=$2 script=$3 out rc=0
  shift 3
  [ -f "$script" ] || { echo "FAILED: there is no $script"; exit 1; }
  out=$(mktemp -d)
  tests/lab/boot.sh "$@" "$suite" "$out" "$script" "$seconds" || rc=$?
  cat "$out/log" || { tail -n 30 "$out/console" && rc=1; }
  # It is the boot that ended, or was ended.
  [ $rc != 124 ] || tail -n 30 "$out/console"
  rm -rf "$out"
  exit $rc
}

# newest_glibc FILE...: the newest version of glibc's that they need, or have.
newest_glibc() {
  objdump -T "$@" | grep -o 'GLIBC_2[0-9.]*' | sed 's/GLIBC_//' | sort -V | tail -n1
}

# older SUITE COMMAND...: what runs our programs in an older Debian, if they run there: those built here may need a newer glibc.
older() {
  local suite=$1 root needed there
  shift
  root=$(tests/lab/root.sh "$suite") || exit 1
  needed=$(newest_glibc target/release/{machined,userdb-machined,mymachines})
  there=$(newest_glibc "$root"/usr/lib/*-linux-gnu/libc.so.6)
  if [ "$(printf '%s\n' "$needed" "$there" | sort -V | tail -n1)" = "$there" ]; then
    "$@"
  else
    echo "SKIPPED: what is built here needs glibc $needed, and $suite has $there: this takes a check on $suite"
  fi
}

# version1 SUITE SECONDS SCRIPT [--in DIR:AT]...: the same with control groups of version 1, if this host can have them.
version1() {
  if ! grep -qE '^\S+ \S+ cgroup \S*\bname=systemd\b' /proc/mounts; then
    echo 'SKIPPED: no control groups of version 1 are mounted here (mount -t cgroup -o none,name=systemd cgroup DIRECTORY)'
  elif [ "$(systemd-nspawn --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')" -ge 258 ]; then
    echo 'SKIPPED: systemd-nspawn boots nothing with control groups of version 1 since 258'
  else
    booted "$@" --v1
  fi
}

# lint PROGRAM DIRECTORY ARGUMENT...: cargo with these arguments, if the toolchain has the program.
lint() {
  local program=$1 directory=$2
  cd "$directory" || exit 1
  shift 2
  if "$program" --version >/dev/null 2>&1; then
    cargo "$@"
  else
    echo "SKIPPED: $program is not installed beside $(command -v cargo): $directory was not checked with cargo $1"
  fi
}

# What needs no release build.
without_release() {
  step format 120 lint rustfmt . fmt --all --check
  step format-nss 120 lint rustfmt nss-mymachines fmt --check
  step format-c 120 lint rustfmt libmachine-c fmt --check
  step floors 60 scripts/floors.py --test
  step versions 60 scripts/versions.sh
  step clippy 2400 lint cargo-clippy . clippy --locked --workspace --all-targets --target-dir target -- -D warnings
  step clippy-nss 600 lint cargo-clippy nss-mymachines clippy --locked -- -D warnings
  step clippy-c 600 lint cargo-clippy libmachine-c clippy --locked -- -D warnings
  step licences 120 scripts/licences.py
  step cve 60 scripts/cve.py
  step rust 3600 cargo test --locked --workspace --no-fail-fast --target-dir target
  step rust-api 300 libmachine/api.py check
  step nss-unit 600 env -C nss-mymachines cargo test --locked
}

all() {
  if [ -n "$next" ]; then
    step build 3600 make all
    suite=sid stock=262
  else
    step build 3600 make all
    without_release
    step fuzz 600 scripts/fuzz.sh
    root_step nss 1800 as_root tests/nss/run.sh --module target/nss/libnss_mymachines.so.2
    step c 2400 tests/c/run.sh
    root_step daemon 1800 as_root tests/daemon/run.sh --machined target/release/machined
    root_step userdb 1200 as_root tests/userdb/run.sh --machined target/release/machined --userdb target/release/userdb-machined \
      --module target/nss/libnss_mymachines.so.2
    root_step tool 1200 as_root tests/tool/run.sh --machined target/release/machined --tool target/release/mymachines
    # By themselves: they measure.
    root_step attack 900 as_root env USERDB_MACHINED="$PWD/target/release/userdb-machined" tests/daemon/run.sh \
      --machined target/release/machined attacks
    step demo 600 demo/test.sh
    suite=trixie stock=257
  fi
  # The lab's Debian is built here, so that the limits below are those of the tests alone.
  root_step lab 1200 tests/lab/root.sh $suite
  root_step install 1800 scripts/install-test.sh $suite
  root_step boot 900 tests/boot/run.sh $suite
  root_step compliance-ours 1200 booted $suite 1000 tests/compliance/ours.sh --in tests/compliance --in target/release:/build \
    --in policy:/policy
  root_step compliance-$stock 1200 booted $suite 1000 tests/compliance/stock.sh --in tests/compliance
  root_step dbus-ours 1200 booted $suite 1000 tests/dbus/ours.sh --in tests/dbus --in tests/compliance/contract:/contract \
    --in target/release:/build --in policy:/policy
  root_step dbus-$stock 1200 booted $suite 1000 tests/dbus/stock.sh --in tests/dbus --in tests/compliance/contract:/contract
  root_step broker 600 booted $suite 400 tests/dbus/ours.sh --broker --in tests/dbus --in tests/compliance/contract:/contract \
    --in target/release:/build --in policy:/policy
  root_step broker-lifecycle 600 booted $suite 400 tests/lifecycle/broker.sh --broker --in .:/src
  root_step tool-ours 600 booted $suite 400 tests/tool/booted.sh --in .:/src
  [ -n "$next" ] || root_step no-systemd 1200 tests/tool/no-systemd.sh sysvinit
  root_step lifecycle-$stock 1200 booted $suite 1000 tests/lifecycle/run.sh --in .:/src
  if [ -z "$next" ]; then
    # Debian 12.
    root_step lab-252 1200 tests/lab/root.sh bookworm
    root_step lifecycle-252 1200 older bookworm booted bookworm 1000 tests/lifecycle/run.sh --in .:/src
  fi
  # The stock daemon first, and ours in the same boot.
  root_step system 1500 tests/system/run.sh $suite
  # Users' own machines: the original has them since 258.
  [ -z "$next" ] || root_step user 900 booted $suite 700 tests/user/booted.sh --in .:/src
  # No older systemd has hooks.
  [ -z "$next" ] || root_step resolve 600 booted $suite 500 tests/resolve/hook.sh --in .:/src
  root_step userdb-ours 1200 booted $suite 1000 tests/compliance/userdb-ours.sh --in tests/compliance --in .:/src
  root_step userdb-$stock 1200 booted $suite 1000 tests/compliance/userdb-stock.sh --in tests/compliance
  root_step c-ours 600 booted $suite 400 tests/c/ours.sh --in tests --in include:/include --in target/capi/lib:/build \
    --in target/release:/release --in libmachine/examples:/examples
  root_step c-$stock 600 booted $suite 400 tests/c/stock.sh --in tests --in include:/include --in target/capi/lib:/build
  root_step nss-$stock 1200 booted $suite 1000 tests/nss/stock.sh --in tests/nss
}

long() {
  step build 3600 make all
  root_step lab-252 1200 tests/lab/root.sh bookworm
  root_step boot-252 900 older bookworm tests/boot/run.sh bookworm
  root_step lifecycle-v1 600 older bookworm version1 bookworm 400 tests/lifecycle/version1.sh --in .:/src
  root_step containers 1800 tests/tool/containers.sh
  root_step no-systemd 1800 tests/tool/no-systemd.sh runit s6 openrc
  # nscd is no part of the lab's Debian: it is fetched.
  root_step nscd 900 booted trixie 400 tests/lifecycle/nscd.sh --with nscd --in .:/src
  root_step subscribers 1200 as_root env MACHINES=10000 SUBSCRIBERS=100 DEADLINE=100 tests/daemon/run.sh --machined target/release/machined subscribe
  root_step bridge 900 as_root env DEADLINE=100 MODULE="$PWD/target/nss/libnss_mymachines.so.2" \
    tests/daemon/run.sh --machined target/release/machined bridge
  root_step vm-root 1800 tests/lab/vm-root.sh trixie
  root_step dhcp 600 as_root tests/daemon/run.sh --machined target/release/machined dhcp
  root_step lying 900 as_root env DEADLINE=150 tests/daemon/run.sh --machined target/release/machined lying
  # libvirt starts its network and a domain in a booted Debian, for the machinectl of both.
  for suite in trixie sid; do
    root_step domain-$suite 1800 tests/system/run.sh --groups leasing --with libvirt-daemon-system --with libvirt-daemon-driver-qemu \
      --with libvirt-clients --with qemu-system-x86 --with ipxe-qemu --with dnsmasq-base --with nftables $suite
  done
  root_step publishing 900 booted trixie 500 tests/tool/publishing.sh --with bind9 --with bind9-dnsutils --in .:/src
  root_step upstream 900 booted sid 500 tests/resolve/upstream.sh --with systemd-tests --in .:/src
  root_step hook 900 booted sid 800 tests/resolve/figures.sh --in .:/src
  root_step dns 1800 as_root env OUTAGE=60 DEADLINE=240 tests/tool/run.sh --machined target/release/machined --tool target/release/mymachines dns
  root_step directories 600 as_root tests/tool/run.sh --machined target/release/machined --tool target/release/mymachines directories
  root_step clients 1800 tests/clients/run.sh
  root_step million 3600 tests/system/run.sh --groups trapped --files 1000000
  step go 600 tests/c/go.sh
  root_step procps 1200 tests/c/procps.sh
  root_step mac 1800 tests/tool/mac.sh
  step musl 1800 scripts/musl.sh
  step vendor 3600 packaging/vendor.sh --test
  root_step rpm 3600 packaging/rpm.sh --test
  step pkgbuild 900 packaging/pkgbuild.sh
  root_step deb 3600 bash -euc 'packaging/deb.sh --built; exec packaging/deb-test.sh bookworm trixie sid'
  step miri 3600 scripts/miri.sh
  step mutated-images 3600 env IMAGE_READER_ROUNDS=10000 cargo test --locked -p image-reader --test mutated --target-dir target
  step fuzz-long 5400 scripts/fuzz.sh 60
  root_step vm 7200 tests/system/vm.sh
  step arch 7200 tests/arch/run.sh
}

steps() {
  case $kind in
    fast) without_release ;;
    long) long ;;
    *) all ;;
  esac
}
# One command, which is read as a whole before it is run: the file may change meanwhile, and bash reads on where it was.
{
  counting=yes
  steps
  [ "$root_steps" = 0 ] || [ "$(id -u)" = 0 ] || keep_sudo
  counting='' names=''
  steps

  for word in ${only[@]+"${only[@]}"}; do
    case $names in *" $word "*) ;; *)
      echo "FAILED: there is no step $word; there are:$names" | tr -s ' '
      failed=$((failed + 1))
      ;;
    esac
  done
  echo
  echo 'Summary'
  printf '%s' "$summary" | grep -v '^ *$'
  echo "$passed passed, $failed failed, $skipped skipped"
  [ $failed = 0 ]
  exit
}
