#!/usr/bin/env bash
# RPM packages of this tree, in target/rpm, by whatever rpmbuild there is. `make rpm` calls this.
set -euo pipefail

usage() {
  cat <<'U'
usage: rpm.sh [--test]

Packs what `make` has built by packaging/rpm/mymachines.spec; a distribution builds from the spec itself, with the archive of
packaging/vendor.sh as the second source.

  --test  afterwards installs them into an empty root, looks at what is there, and removes them again; as root, also boots
          the lab's Debian 13 (../tests/lab/setup.sh) and puts them in, upgrades and removes them with their scripts, beside
          and in the place of the original, while a container runs
U
}

case ${1-} in
  '' | --test) ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
top=$(dirname "$(dirname "$(readlink -f "$0")")")
cd "$top"
command -v rpmbuild >/dev/null || { echo 'rpm.sh: there is no rpmbuild: apt-get install rpm'; exit 1; }
make all
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/mymachines-rpm.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/mymachines-$version
mkdir -p "$tree"/target/{release,nss,capi/lib} "$work/SOURCES" target/rpm
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --no-dereference --preserve=mode,timestamps -t "$tree"
cp target/release/{machined,userdb-machined,resolve-machined,machined-image-reader,mymachines} "$tree/target/release/"
cp target/nss/libnss_mymachines.so.2 "$tree/target/nss/"
cp --no-dereference target/capi/lib/* "$tree/target/capi/lib/"
touch -h "$tree"/target/release/* "$tree"/target/nss/libnss_mymachines.so.2 "$tree"/target/capi/lib/*
tar -C "$work" -czf "$work/SOURCES/mymachines-$version.tar.gz" "mymachines-$version"
rm -f target/rpm/*.rpm
rpmbuild -bb --quiet --nodeps --define "_topdir $work" --define "built 1" --define "debug_package %{nil}" packaging/rpm/mymachines.spec
find "$work/RPMS" -name '*.rpm' -exec cp -t target/rpm {} +
ls -1 "$top"/target/rpm/*.rpm
[ "${1-}" = --test ] || exit 0

passed=0 failed=0
check() { # SENTENCE COMMAND...
  local sentence=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    echo "ok $sentence" && passed=$((passed + 1))
  else
    sed 's/^/    /' "$work/said"
    echo "FAILED $sentence" && failed=$((failed + 1))
  fi
}
root=$work/root
mkdir -p "$root"
# The root has neither a shell nor ldconfig, for which scripts would run; they are looked at by themselves.
rpm() { command rpm --root "$root" --dbpath /var/lib/rpm "$@"; }
check 'the packages go into an empty root' rpm -i --nodeps --noscripts "$top"/target/rpm/*.rpm
check 'what is there is what was packed' rpm -Va --nodeps
for file in /usr/sbin/machined /usr/sbin/userdb-machined /usr/sbin/resolve-machined /usr/sbin/machined-image-reader /usr/bin/mymachines \
  /usr/lib/systemd/system/machined.service /usr/include/machine.h; do
  check "$file is there" test -s "$root$file"
done
check 'machined says its version' sh -c "'$root/usr/sbin/machined' --version | grep -qx 'machined $version'"
check 'mymachines says its version' sh -c "'$root/usr/bin/mymachines' --version | grep -qx 'mymachines $version'"
check 'the unit starts what is there' grep -q '^ExecStart=/usr/sbin/machined' "$root/usr/lib/systemd/system/machined.service"
directory=$(cat "$root/etc/ld.so.conf.d/00-mymachines.conf")
check 'the linker is told where the module is' test -s "$root$directory/libnss_mymachines.so.2"
check 'no file is in a place of systemd'"'"'s own' sh -c "! command rpm -qpl '$top'/target/rpm/*.rpm | grep -x '/usr/lib[^/]*/libnss_mymachines.so.2\|.*/systemd-machined.service\|.*/org.freedesktop.machine1.service'"
rpm -q --scripts mymachines >"$work/scripts"
check 'removal is to give the place back' grep -q 'systemctl disable --now' "$work/scripts"
# But for the original's own socket, which gets its place back.
check 'nothing is enabled or started by them' sh -c "! grep 'systemctl.* \(enable\|start\|preset\)' '$work/scripts' | grep -v ' start systemd-machined.socket '"
check 'they are removed' rpm -e --nodeps --noscripts mymachines nss-mymachines-rs libmachine libmachine-devel
check 'and leave nothing' sh -c "! find '$root' -path '$root/var' -prune -o -type f -print | grep ."
if [ "$(id -u)" = 0 ]; then
  mkdir "$work/next"
  rpmbuild -bb --quiet --nodeps --define "_topdir $work" --define "built 1" --define "debug_package %{nil}" --define 'dist .next' \
    packaging/rpm/mymachines.spec
  find "$work/RPMS" -name '*.next.*.rpm' -exec cp -t "$work/next" {} +
  status=0
  tests/lab/boot.sh --with rpm --in "$top:/src" --in "$top/target/rpm:/rpms" --in "$work/next:/next" trixie "$work/out" \
    packaging/rpm-inside.sh 600 || status=$?
  sed '/^[0-9]* passed, [0-9]* failed$/d' "$work/out/log" || tail -n 30 "$work/out/console"
  read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$work/out/log") || { p=0 f=1; }
  [ "$status" = 0 ] || [ "$f" != 0 ] || f=1
  passed=$((passed + p)) failed=$((failed + f))
else
  echo 'SKIPPED: their scripts did not run: it takes root to boot a Debian'
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
