#!/usr/bin/env bash
# All crates of all Cargo.lock files in one archive, for builds without network. `make vendor` calls this.
set -euo pipefail

usage() {
  cat <<'U'
usage: vendor.sh [--test]

Makes target/vendor/mymachines-VERSION-vendor.tar.xz: unpacked in the root of the source, it lets cargo build everything
without network. The same crates make the same archive.

  --test  afterwards builds all of it from that archive, in a copy, with an empty cargo home, in a network namespace
          without interfaces; takes as long as `make`
U
}

case ${1-} in
  '' | --test) ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
top=$(dirname "$(dirname "$(readlink -f "$0")")")
cd "$top"
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
archive=$top/target/vendor/mymachines-$version-vendor.tar.xz
mkdir -p target/vendor
work=$(mktemp -d "$top/target/vendor/tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/.cargo"
scripts/cargo.sh vendor --quiet --locked --versioned-dirs --sync nss-mymachines/Cargo.toml --sync libmachine-c/Cargo.toml \
  --sync libmachine-c/header/Cargo.toml "$work/vendor" >"$work/said"
# What cargo says has to stand there, if it is not told to be quiet.
cat >"$work/.cargo/config.toml" <<'T'
[source.crates-io]
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "vendor"
T
tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - vendor .cargo | xz -T0 -3 >"$archive.new"
mv "$archive.new" "$archive"
echo "$archive"
[ "${1-}" = --test ] || exit 0

tree=$work/mymachines-$version
mkdir "$tree" "$work/home"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference --preserve=mode,timestamps -t "$tree"
tar -C "$tree" -xf "$archive"
cargo=$(scripts/cargo.sh --which)
# rustup's cargo asks where its toolchains are.
unshare --net ${EUID:+$([ "$EUID" = 0 ] || echo --map-root-user)} env -i PATH="$PATH" HOME="$HOME" CARGO="$cargo" CARGO_HOME="$work/home" \
  ${RUSTUP_HOME:+RUSTUP_HOME="$RUSTUP_HOME"} CARGO_NET_OFFLINE=true make -C "$tree" all
make -C "$tree" -s install DESTDIR="$work/root" PREFIX=/usr >"$work/installed"
failed=0
for file in usr/sbin/machined usr/bin/mymachines; do
  "$work/root/$file" --version || failed=1
done
ls "$work"/root/usr/lib/*/libnss_mymachines.so.2 "$work"/root/usr/lib/*/libmachine.so.0 || failed=1
[ $failed = 0 ] || { echo '0 passed, 1 failed'; exit 1; }
echo '1 passed, 0 failed'
