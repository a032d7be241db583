#!/usr/bin/env bash
# Builds everything for other processors, and runs the tests there under qemu's emulation of user programs.
set -uo pipefail

usage() {
  cat <<'U'
usage: run.sh [ARCHITECTURE]...

For arm64, i686 (32 bits) and s390x (big-endian), or those that are named: builds all crates and runs their tests under
qemu-user; links the NSS module and libmachine, which is the proof that they cannot panic, and sees that a variant that
could does not link; and runs a program in C against libmachine. Needs what `scripts/setup.sh arch` installs. An
architecture that the toolchain has no standard library for is skipped, and said so.
U
}

case ${1-} in -h | --help) usage; exit 0 ;; esac
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
top=$PWD
cargo=$(scripts/cargo.sh --which) || exit 1
export PATH=${cargo%/*}:$PATH CARGO_TERM_COLOR=never
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR CARGO_BUILD_TARGET
passed=0 failed=0 skipped=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ok() { passed=$((passed + 1)); echo "ok $1"; }
bad() { failed=$((failed + 1)); echo "FAILED $1"; }
check() { # SENTENCE COMMAND...
  local sentence=$1
  shift
  if "$@" >"$work/said" 2>&1; then ok "$sentence"; else tail -n 40 "$work/said" | sed 's/^/    /'; bad "$sentence"; fi
}
not() { ! "$@"; }

# What qemu-user 7.2 cannot emulate: see the file.
unsupported=()
while read -r name _; do
  case $name in '' | '#'*) ;; *) unsupported+=(--skip "$name") ;; esac
done <tests/arch/unsupported

tests() { # TARGET
  local log=$work/tests
  if cargo test --locked --workspace --no-fail-fast --target-dir target/arch --target "$1" -- "${unsupported[@]}" >"$log" 2>&1; then
    :
  elif ! grep -q '^test result' "$log"; then
    tail -n 40 "$log" | sed 's/^/    /'
    bad "the crates build for $1"
    return
  fi
  local p f s
  read -r p f s < <(awk '/^test result: / { p += $4; f += $6; s += $8 + $12 } END { print p + 0, f + 0, s + 0 }' "$log")
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  grep -E '^test .*FAILED$|panicked at|^error' "$log" | head -n 40
  echo "$1: $p tests passed, $f failed, $s are left out (tests/arch/unsupported) or ignored"
  # A program that a signal ended has no result.
  if [ "$f" = 0 ] && grep -q '^error' "$log"; then bad "all test programs of $1 ran to their end"; fi
}

proofs() { # TARGET TRIPLET QEMU
  local target=$1 triplet=$2 qemu=$3 out=$work/$1
  export CC=$triplet-gcc NM=$triplet-nm OBJCOPY=$triplet-objcopy AR=$triplet-ar
  mkdir -p "$out"
  build() { (cd "$1" && shift && cargo build --quiet --release --locked --target "$target" "$@"); }
  check "the NSS module builds" build nss-mymachines --target-dir "$top/target/arch-nss"
  check "it links, and so cannot panic" nss-mymachines/link.sh "target/arch-nss/$target/release/libnss_mymachines.a" "$out/module"
  check "libmachine builds" build libmachine-c --target-dir "$top/target/arch-c"
  check "it links, and so cannot panic" libmachine-c/link.sh "target/arch-c/$target/release/libmachine.a" "$out"
  check "a module that could panic builds" build nss-mymachines --target-dir "$top/target/arch-panic" --features may-panic
  check "and does not link" not nss-mymachines/link.sh "target/arch-panic/$target/release/libnss_mymachines.a" "$out/panic"
  check "a libmachine that could panic builds" build libmachine-c --target-dir "$top/target/arch-panic" --features may-panic
  check "and does not link" not libmachine-c/link.sh "target/arch-panic/$target/release/libmachine.a" "$out/panic"
  check "a program in C is linked with it" "$CC" -std=c99 -Wall -Wextra -Werror -Iinclude -o "$out/program" tests/arch/program.c \
    -L"$out" -lmachine -Wl,-rpath,"$out"
  check "and gets the right answers" "$qemu" -L "/usr/$triplet" "$out/program"
  unset CC NM OBJCOPY AR
}

# NAME TARGET TRIPLET QEMU
while read -r name target triplet qemu; do
  case " $* " in '  ' | *" $name "*) ;; *) continue ;; esac
  echo "== $name"
  lacking=
  for program in "$triplet-gcc" "$qemu"; do command -v "$program" >/dev/null || lacking="$lacking $program"; done
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || lacking="$lacking Rust's standard library for $target"
  if [ -n "$lacking" ]; then
    skipped=$((skipped + 1))
    echo "SKIPPED: $name was not tested: there is no$lacking (scripts/setup.sh arch)"
    continue
  fi
  variable=$(tr 'a-z-' 'A-Z_' <<<"$target")
  export "CARGO_TARGET_${variable}_LINKER=$triplet-gcc" "CARGO_TARGET_${variable}_RUNNER=$qemu -L /usr/$triplet"
  tests "$target"
  proofs "$target" "$triplet" "$qemu"
done <<'A'
arm64 aarch64-unknown-linux-gnu aarch64-linux-gnu qemu-aarch64
i686 i686-unknown-linux-gnu i686-linux-gnu qemu-i386
s390x s390x-unknown-linux-gnu s390x-linux-gnu qemu-s390x
A
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
