#!/usr/bin/env bash
# Looks for inputs that the readers of strangers' text fail upon.
set -euo pipefail

usage() {
  cat <<'U'
usage: fuzz.sh [SECONDS [TARGET]]

Without SECONDS each target gets 5 s, with the programs of `cargo test`: what `make check` does. With SECONDS, as in
`make fuzz`, the programs are built once more, in target/fuzz, with a counter at each branch, so that inputs that reach
something new are made more of; those are kept in target/fuzz/corpus for the next time. TARGET is a part of the name of a
test, all of which begin with any_. An input that fails is in target/fuzz/failed; FUZZ_INPUT=FILE runs it alone:

    FUZZ_INPUT=FILE cargo test -p CRATE TEST

Whoever mends what was found puts the input into the corpus, CRATE/testdata/fuzz/TARGET.
U
}
case ${1-} in -h | --help) usage; exit 0 ;; -*) usage >&2; exit 2 ;; esac
cd "$(dirname "$(readlink -f "$0")")/.."
seconds=${1-} target=${2-any_}
export RUST_BACKTRACE=0
# A crate of each reader; a crate without one would be built for nothing.
crates=()
for corpus in */testdata/fuzz; do
  # The module of the name service switch is a workspace of its own.
  case ${corpus%%/*} in nss-mymachines) ;; *) crates+=(--package "${corpus%%/*}") ;; esac
done
options=(--locked --no-fail-fast --lib "${crates[@]}")
if [ -z "$seconds" ]; then
  # With all of the workspace, as `make check` builds its unit tests: with a part of it, features differ, and so all is built anew.
  export FUZZ_SECONDS=5
  status=0
  scripts/cargo.sh test --locked --no-fail-fast --lib --workspace --target-dir target "$target" -- --nocapture || status=$?
  (cd nss-mymachines && ../scripts/cargo.sh test --locked --lib "$target" -- --nocapture) || status=$?
  exit $status
else
  # For a named target, though it is this host: flags then leave out what cargo runs while it builds, which has nobody to
  # count for.
  host=$("$(dirname "$(scripts/cargo.sh --which)")/rustc" -vV | sed -n 's/^host: //p')
  # One at a time: they share the counters.
  export FUZZ_SECONDS=$seconds RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 \
    -Cdebug-assertions -Coverflow-checks -Copt-level=2"
  status=0
  scripts/cargo.sh test "${options[@]}" --target "$host" --target-dir target/fuzz/build "$target" -- --nocapture \
    --test-threads=1 || status=$?
  (cd nss-mymachines && ../scripts/cargo.sh test --locked --lib --target "$host" --target-dir ../target/fuzz/build "$target" -- \
    --nocapture --test-threads=1) || status=$?
  exit $status
fi
