#!/usr/bin/env bash
# Installs what building, showing and testing needs on Debian 12 or 13, and nothing that is there already.
set -euo pipefail

usage() {
  cat <<'U'
usage: setup.sh [build] [demo] [fast] [check] [vm] [bench] [arch] [long]

Installs with apt what these need (build, demo and check, if none is named), having said what and why; fast is what of
check needs no Debian to boot, and long needs vm and arch, too. Where everything is there it does nothing, at once. It removes no
package and changes no configuration.

A cargo that is missing or too old is answered with Debian's cargo-web and rustc-web; a toolchain of rustup's stays as
it is, and its own is used if it is new enough. `make demo` and `make check` call this.
U
}

for word; do
  case $word in
    -h | --help) usage; exit 0 ;;
    build | demo | fast | check | vm | bench | arch | long) ;;
    *) usage >&2; exit 2 ;;
  esac
done
purposes=" ${*:-build demo check} "
case $purposes in *' long '*) purposes+='vm arch ' ;; esac
here=$(dirname "$(readlink -f "$0")")
PATH=$PATH:/usr/sbin:/sbin

# Purpose, package, what must be there (a program, or a file), what for.
needs='
build make              make                                  runs the build
build gcc               cc                                    links programs
build binutils          nm                                    shows what the NSS module may not contain
build libc6-dev         /usr/include/stdio.h                  the C library, to link against
build ca-certificates   /etc/ssl/certs/ca-certificates.crt    lets cargo download crates
demo  iproute2          ip                                    gives the containers networks
demo  socat             socat                                 speaks to the socket of machined
demo  util-linux        nsenter                               makes namespaces
fast  iproute2          ip                                    gives the tests networks
fast  python3           python3                               runs the checks of the source
fast  btrfs-progs       mkfs.btrfs                            makes a file system with subvolumes for images
fast  e2fsprogs         mkfs.ext4                             makes one without
check iproute2          ip                                    gives the containers networks
check socat             socat                                 speaks to the socket of machined
check procps            ps                                    looks for processes that stayed behind
check python3           python3                               sends what no client would send
check dbus-daemon       dbus-daemon                           is the bus that the daemon joins
check dbus-bin          dbus-send                             asks the bus who is on it
check valgrind          valgrind                              looks for faults of memory in the NSS module
check debootstrap       debootstrap                           makes the Debian that the system tests boot
check systemd-container systemd-nspawn                        boots it
check btrfs-progs       mkfs.btrfs                            makes a file system with subvolumes for images
check e2fsprogs         mkfs.ext4                             makes one without
check jq                jq                                    reads the JSON of a hook
check gcc               gcc                                   compiles the C programs of the tests
check g++               g++                                   sees that C++ takes the header of libmachine
check clang             clang                                 compiles them as well
check pkgconf           pkg-config                            tells how to link with libmachine
check libsystemd-dev    /usr/include/systemd/sd-login.h       the library that libmachine is compared with
check python3-pip       /usr/lib/python3/dist-packages/pip   installs the module for Python
check python3-setuptools /usr/lib/python3/dist-packages/setuptools builds it
check python3-wheel     /usr/lib/python3/dist-packages/wheel packs it
long  bind9             named                                 is a name server with zones that change
long  knot              knotd                                 is another one
long  bind9-dnsutils    nsupdate                              changes these zones
long  etcd-server       etcd                                  is a directory of another kind
long  etcd-client       etcdctl                               changes what is in it
long  dnsmasq-base      dnsmasq                               leases addresses to virtual machines
long  jq                jq                                    reads JSON for the examples
long  curl              curl                                  asks for what is like Consul
long  golang-go         go                                    compiles the example in Go
long  rpm               rpmbuild                              makes RPM packages
long  dpkg-dev          dpkg-buildpackage                     makes Debian packages
long  debhelper         dh                                    knows how they are made
long  dh-nss            dh_installnss                         knows how a module gets into nsswitch.conf
long  lintian           lintian                               looks for mistakes in Debian packages
long  makepkg           makepkg                               makes packages of Arch Linux
long  libarchive-tools  bsdtar                                looks into them
long  libglib2.0-bin    gdbus                                 is one of the clients that others wrote
vm    qemu-system-x86   qemu-system-x86_64                    boots Debian with a kernel of its own
vm    e2fsprogs         mkfs.ext4                             makes the disk of that
bench python3           python3                               drives the measurements
bench iproute2          ip                                    gives the containers networks
bench debootstrap       debootstrap                           makes the Debian that the originals run in
bench systemd-container systemd-nspawn                        boots it
arch  qemu-user         qemu-s390x                            runs programs of other processors
arch  gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc             links programs for arm64
arch  libc6-dev-arm64-cross /usr/aarch64-linux-gnu/include/stdio.h the C library for arm64
arch  gcc-i686-linux-gnu i686-linux-gnu-gcc                   links programs for i686
arch  libc6-dev-i386-cross /usr/i686-linux-gnu/include/stdio.h the C library for i686
arch  gcc-s390x-linux-gnu s390x-linux-gnu-gcc                 links programs for s390x
arch  libc6-dev-s390x-cross /usr/s390x-linux-gnu/include/stdio.h the C library for s390x
'
packages=()
reasons=()
wants() { # PACKAGE REASON
  case " ${packages[*]-} " in *" $1 "*) return 0 ;; esac
  packages+=("$1")
  reasons+=("$2")
}
while read -r purpose package presence reason; do
  case $purposes in *" $purpose "*) ;; *) continue ;; esac
  case $presence in
    /*) [ -e "$presence" ] || wants "$package" "$reason" ;;
    *) command -v "$presence" >/dev/null || wants "$package" "$reason" ;;
  esac
done < <(grep -v '^$' <<<"$needs")

toolchain=
if ! "$here/cargo.sh" --which >/dev/null 2>&1; then
  toolchain=yes
  wants cargo-web "Rust's build tool (there is none, or it is too old)"
  wants rustc-web "Rust's compiler, of the same version"
fi
# Debian's linters for Debian's toolchain; rustup has its own.
case $purposes in
  *" fast "* | *" check "*)
    if [ -n "$toolchain" ] || [ "$("$here/cargo.sh" --which)" = /usr/bin/cargo ]; then
      [ -x /usr/bin/cargo-fmt ] || wants rustfmt-web "checks how the code is laid out"
      [ -x /usr/bin/cargo-clippy ] || wants rust-web-clippy "Rust's linter"
    fi
    ;;
esac

# Rust's standard library for other processors and for musl comes from rustup alone: Debian's toolchain has it for its own.
add_targets() {
  local target toolchain wanted=() targets=()
  case $purposes in *" arch "*) wanted+=(aarch64-unknown-linux-gnu i686-unknown-linux-gnu s390x-unknown-linux-gnu) ;; esac
  case $purposes in *" long "*) wanted+=(x86_64-unknown-linux-musl) ;; esac
  [ ${#wanted[@]} != 0 ] || return 0
  toolchain=$(dirname "$("$here/cargo.sh" --which)")
  for target in "${wanted[@]}"; do
    [ -d "$("$toolchain/rustc" --print sysroot)/lib/rustlib/$target/lib" ] || targets+=("$target")
  done
  [ ${#targets[@]} != 0 ] || return 0
  if [ -x "$toolchain/rustup" ] && (cd "$here/.." && timeout 300 "$toolchain/rustup" target add "${targets[@]}"); then
    echo "setup: added ${targets[*]}"
  else
    echo "setup: Rust's standard library for ${targets[*]} is not to be had here; it comes with rustup" >&2
  fi
}

# Miri comes with a nightly toolchain of rustup's alone.
add_miri() {
  case $purposes in *" long "*) ;; *) return 0 ;; esac
  local toolchain
  toolchain=$(dirname "$("$here/cargo.sh" --which)")
  if [ -x "$toolchain/rustup" ]; then
    ! "$toolchain/cargo" +nightly miri --version >/dev/null 2>&1 || return 0
    if timeout 600 "$toolchain/rustup" toolchain install nightly --profile minimal --component miri,rust-src; then
      echo 'setup: added Miri, of the nightly toolchain'
      return 0
    fi
  fi
  echo 'setup: Miri is not to be had here; it comes with a nightly toolchain of rustup' >&2
}

if [ ${#packages[@]} = 0 ]; then
  add_targets
  add_miri
  [ $# -gt 0 ] || echo 'setup: everything is there'
  exit 0
fi

echo 'setup: these Debian packages are missing and will be installed with apt:'
for i in "${!packages[@]}"; do printf '  %-18s %s\n' "${packages[i]}" "${reasons[i]}"; done
if ! command -v apt-get >/dev/null; then
  echo 'setup: there is no apt-get here; install the like of these with what your system has' >&2
  exit 1
fi
become=()
if [ "$(id -u)" != 0 ]; then
  refuse() {
    printf 'setup: %s; as root, run:\n  apt-get update && apt-get install --no-install-recommends %s\n' "$1" "${packages[*]}" >&2
    exit 1
  }
  command -v sudo >/dev/null || refuse 'neither root nor sudo'
  echo 'setup: sudo may ask for your password'
  sudo true || refuse 'sudo refuses'
  become=(sudo)
fi

# Servers are for tests, which start them: none is to run on this host now or after its next boot.
daemons=()
for pair in bind9=named knot=knot etcd-server=etcd; do
  case " ${packages[*]} " in *" ${pair%=*} "*) daemons+=("${pair#*=}.service") ;; esac
done
policy=/usr/sbin/policy-rc.d
quiet() {
  [ ${#daemons[@]} != 0 ] || return 0
  if [ "$1" = end ]; then
    [ -z "${placed-}" ] || "${become[@]}" rm -f $policy
    [ ! -d /run/systemd/system ] || "${become[@]}" systemctl --quiet disable "${daemons[@]}" 2>/dev/null || true
  elif [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${become[@]}" tee $policy >/dev/null
    "${become[@]}" chmod 755 $policy
    placed=yes
  fi
}

apt() { "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }
apt update
if [ -n "$toolchain" ]; then
  # Debian 12 has an older one, and a newer one in its security updates; Debian 13 has the newer one itself.
  candidate=$(apt-cache policy cargo-web | sed -n 's/^ *Candidate: //p')
  if ! dpkg --compare-versions "${candidate:-0}" ge "$("$here/cargo.sh" --needed)"; then
    echo "setup: the newest cargo-web that apt knows is ${candidate:-none}, and $("$here/cargo.sh" --needed) is needed." >&2
    echo "setup: Add Debian and its security updates to apt's sources, or install a toolchain with rustup; for example:" >&2
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    echo "  deb http://deb.debian.org/debian $suite main" >&2
    echo "  deb http://deb.debian.org/debian-security $suite-security main" >&2
    exit 1
  fi
fi
quiet begin
trap 'quiet end' EXIT
if ! apt install -y --no-install-recommends --no-remove "${packages[@]}" </dev/null >/dev/null; then
  echo 'setup: apt could not install them. If it says that packages would be removed (rustc and rustc-web exclude each' >&2
  echo 'setup: other): remove those yourself, or install a newer toolchain with rustup.' >&2
  exit 1
fi
if [ -n "$toolchain" ]; then
  "$here/cargo.sh" --which >/dev/null
  echo "setup: installed $("$here/cargo.sh" --version)"
fi
add_targets
add_miri
