#!/usr/bin/env bash
# Runs the unit tests of what calls no kernel in Miri, which sees undefined behaviour where it happens.
set -euo pipefail
case ${1-} in
  -h | --help)
    echo 'usage: miri.sh'
    echo 'Needs a nightly toolchain of rustup with miri and rust-src; without one it says so, loudly, and does nothing.'
    exit 0
    ;;
esac
cd "$(dirname "$(readlink -f "$0")")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
  echo 'SKIPPED: no crate was run in Miri: it takes rustup toolchain install nightly --component miri,rust-src'
  exit 0
fi
export MIRI_SYSROOT=$PWD/target/miri/sysroot CARGO_TARGET_DIR=$PWD/target/miri
if ! cargo +nightly miri setup >"$PWD/target/miri.log" 2>&1; then
  tail -n 5 target/miri.log
  echo 'SKIPPED: no crate was run in Miri: it could not build its standard library (see above)'
  exit 0
fi
# The modules without files, clocks and processes; made-up inputs are for the fuzzer, which needs speed.
run() { cargo +nightly miri test --locked --lib --package "$@" -- --skip any_; }
for module in address:: decimal:: env_file:: id_map:: id_name:: key:: machine_id:: name:: path:: record:: record_scan:: sha256:: text::; do
  run registry "$module"
done
for module in idl:: inbox:: message:: validate::; do run varlink-server "$module"; done
for module in header:: label:: signature::; do run dbus-server "$module"; done
