#!/usr/bin/env bash
# The crates that the programs are linked with, and their licences, as Markdown: packaging/licences.md is made by this.
set -euo pipefail
cd "$(dirname "$(dirname "$(readlink -f "$0")")")"
echo '# Licences of the crates in the programs'
echo
echo 'By `packaging/licences.sh`, from all Cargo.lock files; crates of this repository are MIT OR Apache-2.0.'
echo
echo '| Crate | Version | Licence |'
echo '|---|---|---|'
for manifest in Cargo.toml nss-mymachines/Cargo.toml libmachine-c/Cargo.toml; do
  # What is linked: no build scripts, macros and tests, and nothing of other systems.
  scripts/cargo.sh tree --manifest-path "$manifest" --workspace --locked --edges normal,no-proc-macro --prefix none \
    --target all --format '{p}|{l}' | grep -v '^$\|(/' | sed 's/ (\*)$//'
done | sed 's/ v\([0-9][^ |]*\)[^|]*|/ | \1 | /; s/^/| /; s/$/ |/' | sort -u
