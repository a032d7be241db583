# GNU make. `make help` says what there is.
PREFIX ?= /usr/local
DESTDIR ?=
CARGO_SH := scripts/cargo.sh
MACHINED := target/release/machined
MODULE := target/nss/libnss_mymachines.so.2
LIBRARY := target/capi/lib/libmachine.so.0

# Where the results are must not depend on the caller's environment.
unexport CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR
export PREFIX DESTDIR NSSDIR LIBDIR BINDIR SBINDIR MANDIR UNITDIR NSS
# Cargo has them in a directory of the target's, if one is named: they are copied to where they are looked for.
ifdef CARGO_BUILD_TARGET
export CARGO_BUILD_TARGET
endif
triple := $(if $(CARGO_BUILD_TARGET),/$(CARGO_BUILD_TARGET))
programs := machined userdb-machined resolve-machined machined-image-reader mymachines
# Where the C library has no NSS, as musl: NSS=no.
NSS ?= yes

# For packages that have their debug information apart: nothing is stripped.
ifdef DEBUGINFO
export CARGO_PROFILE_RELEASE_STRIP := false
export CARGO_PROFILE_RELEASE_DEBUG := line-tables-only
export KEEP_SYMBOLS := 1
endif

sources = $(shell find $(1) -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.varlink' -o -name '*.sh' -o -name '*.map' -o -name Cargo.lock \))

crates := $(filter-out nss-mymachines libmachine-c tests,$(patsubst %/Cargo.toml,%,$(wildcard */Cargo.toml)))

.PHONY: all header pages install uninstall demo check check-all check-next check-vm check-arch check-clients fuzz bench deb rpm vendor clean help
all: $(MACHINED) $(if $(filter no,$(NSS)),,$(MODULE)) $(LIBRARY)

# make decides whether cargo is asked at all, so that `sudo make install` needs no cargo; cargo decides the rest.
$(MACHINED): Cargo.toml Cargo.lock $(call sources,$(crates))
	$(CARGO_SH) build --release --locked --workspace --target-dir target
	@$(if $(triple),mkdir -p target/release && cp $(programs:%=target$(triple)/release/%) target/release/)
	@touch $@

$(MODULE): $(call sources,registry nss-mymachines)
	cd nss-mymachines && ../$(CARGO_SH) build --release --locked --target-dir ../target/nss
	nss-mymachines/link.sh target/nss$(triple)/release/libnss_mymachines.a $@

$(LIBRARY): $(call sources,registry libmachine libmachine-c)
	cd libmachine-c && ../$(CARGO_SH) build --release --locked
	libmachine-c/link.sh target/capi$(triple)/release/libmachine.a target/capi/lib

# What is checked in, and compared in `make check`: after a change of the C interface.
header: $(LIBRARY)
	libmachine-c/interface.sh write

# What is checked in, and compared in the unit tests: after a change of the command line.
pages:
	MYMACHINES_WRITE_PAGES=1 $(CARGO_SH) test --quiet --locked -p mymachines --test generated --target-dir target

install: all
	@scripts/install.sh install

uninstall:
	@scripts/install.sh uninstall

demo:
	@scripts/setup.sh build demo
	@$(MAKE) --no-print-directory all
	@demo/run.sh

check:
	@scripts/setup.sh build $(if $(FAST),fast,demo check)
	@scripts/check.sh $(if $(FAST),--fast)

# All there is, to the end, whatever fails.
check-all:
	@scripts/setup.sh build demo check vm arch long
	@failed=; for part in '' --next --long; do scripts/check.sh $$part || failed="$$failed check.sh $$part;"; done; \
	  [ -z "$$failed" ] || { echo "FAILED: $$failed"; exit 1; }

check-next:
	@scripts/setup.sh build check
	@scripts/check.sh --next

check-vm:
	@scripts/setup.sh build check vm
	@$(MAKE) --no-print-directory all
	@tests/system/vm.sh

# Needs what the long checks need.
check-clients:
	@scripts/setup.sh build check long
	@$(MAKE) --no-print-directory all
	@PATH="$$(dirname "$$($(CARGO_SH) --which)"):$$PATH" tests/clients/run.sh

check-arch:
	@scripts/setup.sh build arch
	@tests/arch/run.sh

# Each reader for so many seconds, by branches that inputs reach.
SECONDS ?= 300
fuzz:
	@scripts/setup.sh build check
	@scripts/fuzz.sh $(SECONDS) $(TARGET)

bench:
	@scripts/setup.sh build bench
	@$(MAKE) --no-print-directory all
	@PATH="$$(dirname "$$($(CARGO_SH) --which)"):$$PATH" tests/bench/run.sh
	@PATH="$$(dirname "$$($(CARGO_SH) --which)"):$$PATH" tests/bench/ids.sh
	@tests/bench/libmachine.sh

deb:
	packaging/deb.sh

rpm:
	packaging/rpm.sh

# All crates in one archive, for builds without network.
vendor:
	packaging/vendor.sh

clean:
	rm -rf target

help:
	@echo 'make             builds machined, userdb-machined, resolve-machined, mymachines, libmachine and the NSS module into target/'
	@echo 'make demo        shows the whole of it in private namespaces; changes nothing on this host'
	@echo 'make check       all tests, with a summary; logs in target/check/; FAST=1: those that take a few minutes'
	@echo 'make check-all   these, check-next, check-vm, check-arch, long fuzzing and Miri'
	@echo 'make check-next  the tests that boot a Debian, on sid and its newest systemd, which move'
	@echo 'make check-vm    what needs a kernel of its own: libvirt, cgroup controllers, Linux 6.1 (in qemu)'
	@echo 'make check-clients  clients that others wrote, each against the original first: D-Bus and Varlink libraries, name caches, mkosi'
	@echo 'make check-arch  builds and tests for arm64, i686 and s390x, under qemu-user'
	@echo 'make fuzz        makes up inputs for each reader of strangers'"'"' text, SECONDS=300 for each, TARGET=NAME for one'
	@echo 'make bench       measures ours beside the original'
	@echo 'make header      writes include/machine.h and the dump of the interface anew from the source'
	@echo 'make pages       writes mymachines(1) and the completions anew from the source'
	@echo 'make install     installs below PREFIX (/usr/local), into DESTDIR if that is set'
	@echo 'make uninstall   gives the host back as it was'
	@echo 'make deb         Debian packages, in target/deb'
	@echo 'make rpm         RPM packages, in target/rpm'
	@echo 'make vendor      an archive of all crates, for builds without network, in target/vendor'
	@echo 'make clean       removes target/'
	@echo 'demo, check, check-all, check-next, check-vm, check-arch, check-clients, fuzz and bench install missing Debian packages first, and say so.'
