#!/usr/bin/env bash
# Looks whether the programs compile where the C library is musl, as Alpine Linux has it.
set -euo pipefail
case ${1-} in
  -h | --help)
    echo 'usage: musl.sh'
    echo 'Needs Rust'"'"'s standard library for musl, which comes with rustup: rustup target add x86_64-unknown-linux-musl'
    exit 0
    ;;
esac
cd "$(dirname "$(readlink -f "$0")")/.."
cargo=$(scripts/cargo.sh --which)
target=x86_64-unknown-linux-musl
if [ ! -d "$("${cargo%/*}/rustc" --print sysroot)/lib/rustlib/$target/lib" ]; then
  echo "SKIPPED: nothing was compiled for musl: it takes rustup target add $target"
  exit 0
fi
# Checked, and not linked: that takes a C compiler for musl.
"$cargo" check --locked --workspace --target $target --target-dir target/musl
echo '1 passed, 0 failed'
