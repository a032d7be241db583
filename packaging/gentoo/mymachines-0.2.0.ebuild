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

pkg_postinst() {
	# A restart loses no machine.
	if [[ -z ${ROOT} && -d /run/systemd/system ]]; then
		systemctl daemon-reload
		if systemctl --quiet is-active machined.service; then
			systemctl restart machined.service
			systemctl try-restart userdb-machined.service resolve-machined.service
		fi
	fi
}

pkg_prerm() {
	# Where systemd-machined is installed, that gives it its place back, with the machines that run.
	if [[ -z ${ROOT} && -z ${REPLACED_BY_VERSION} && -d /run/systemd/system ]]; then
		systemctl disable --now --quiet userdb-machined.timer resolve-machined.timer machined.socket machined.service \
			userdb-machined.socket userdb-machined.service resolve-machined.socket resolve-machined.service \
			machined-takeover.service 2>/dev/null
	fi
}
