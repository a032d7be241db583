# Copyright 2026 the mymachines authors
# Distributed under the terms of the MIT license or the Apache License 2.0, at your choice

EAPI=8

RUST_MIN_VER="1.88.0"
inherit multilib rust systemd toolchain-funcs

DESCRIPTION="Registry of the containers and virtual machines of a host"
HOMEPAGE="https://mymachines.invalid"
SRC_URI="${P}.tar.gz ${P}-vendor.tar.xz"
RESTRICT="fetch test"

LICENSE="|| ( MIT Apache-2.0 )"
# Those of the crates: packaging/licences.md.
LICENSE+=" Apache-2.0 BSD MIT Unicode-3.0 ZLIB"
SLOT="0"
KEYWORDS="~amd64 ~arm64"

# The module has the name of systemd's.
RDEPEND="!sys-apps/systemd[nss-mymachines(-)]"

src_prepare() {
	default
	cp -r "${WORKDIR}"/vendor "${WORKDIR}"/.cargo . || die
}

src_compile() {
	emake CC="$(tc-getCC)" DEBUGINFO=1 all
}

src_install() {
	local libdir=/usr/$(get_libdir)
	emake install DESTDIR="${D}" PREFIX=/usr LIBDIR="${libdir}" NSSDIR="${libdir}" UNITDIR="$(systemd_get_systemunitdir)"
	rm "${ED}"/usr/share/mymachines/installed || die
	doinitd "${ED}"/usr/share/mymachines/services/openrc/{machined,userdb-machined}
}
