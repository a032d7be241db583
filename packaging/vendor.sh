#!/usr/bin/env bash
# The source of this version with all crates it is built from, for builds without network. `make vendor` calls this.
set -euo pipefail

usage() {
  cat <<'U'
usage: vendor.sh

Makes target/vendor/mymachines-VERSION.tar.xz, the source, and mymachines-VERSION-vendor.tar.xz: the crates of all
Cargo.lock files in vendor/, and .cargo/config.toml, which has cargo take them from there. Unpacked over each other they are
built by `make` without network. Needs cargo and, once, a network.
U
}

case ${1-} in
  -h | --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac
cd "$(dirname "$(dirname "$(readlink -f "$0")")")"
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=mymachines-$version
out=$PWD/target/vendor
rm -rf "$out"
mkdir -p "$out/$name/.cargo"
# All locks but that of the header's generator, which is run by developers only.
others=()
for lock in */Cargo.lock; do others+=(--sync "${lock%lock}toml"); done
scripts/cargo.sh vendor --quiet --locked --versioned-dirs "${others[@]}" "$out/$name/vendor" >"$out/$name/.cargo/config.toml"
# From wherever it is unpacked: cargo reads paths there as relative to the directory above .cargo.
sed -i 's|^directory = .*|directory = "vendor"|' "$out/$name/.cargo/config.toml"
time=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
pack() { tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" -C "$out" -cJf "$@"; }
pack "$out/$name-vendor.tar.xz" "$name/vendor" "$name/.cargo"
rm -rf "${out:?}/$name"
git ls-files -z | tar --null -T - --transform "s|^|$name/|" --owner=0 --group=0 --numeric-owner --mtime="@$time" -cJf "$out/$name.tar.xz"
(cd "$out" && sha256sum ./*.tar.xz)
