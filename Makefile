# kiln: `make help` lists what there is.

SWIFT   ?= swift
CLANG   ?= $(dir $(shell readlink -f $(shell command -v $(SWIFT))))clang
OBJCOPY ?= $(dir $(CLANG))llvm-objcopy
ARCH    := $(shell uname -m)
CONFIG  ?= release

# Swift's own libraries inside: kiln starts 8 ms sooner and takes 7 MiB less than with 14 shared ones.
SWIFT_BUILD := $(SWIFT) build -c $(CONFIG) --static-swift-stdlib

# Protocols of requests.bpf.c, each by its folder; bpf/requests/variant.h says what a protocol is. Of each an object of the server's side, one of
# the client's, and one with a trace; of those that are for tests only the first.
PROTOCOLS      := bpf/protocols/redis
TEST_PROTOCOLS := Tests/ToyProtocol

REQUESTS := $(foreach protocol,$(notdir $(PROTOCOLS)),$(protocol) $(protocol)-client $(protocol)-trace)
OBJECTS  := $(REQUESTS:%=bpf/build/%.bpf.o) bpf/build/syscalls.bpf.o bpf/build/syscall_times.bpf.o bpf/build/stacks.bpf.o bpf/build/exec.bpf.o bpf/build/call_trace.bpf.o bpf/build/functions.bpf.o
TEST_OBJECTS := $(TEST_PROTOCOLS:Tests/%=bpf/build/%.bpf.o)
BPF_HEADERS := $(wildcard bpf/*/*.h bpf/*/*/*.h)
BPF_ARCH := $(ARCH:x86_64=x86)
BPF_COMPILE = $(CLANG) -g -O2 -target bpf -mcpu=v3 -std=gnu2x -Wall -Wextra -Werror -Wno-unused-parameter \
	  -Wno-missing-declarations -D__TARGET_ARCH_$(BPF_ARCH) -ffile-prefix-map=$(CURDIR)/= -Ibpf

# Debian packages: what a build needs, and what tests, demo and benchmarks need besides.
BUILD_PACKAGES := libbpf-dev libelf-dev libdw-dev zlib1g-dev liblzma-dev libbz2-dev libzstd-dev libiberty-dev libtomlplusplus-dev libc6-dev
TEST_PACKAGES  := redis-server redis-tools prometheus memcached openssh-server openssh-client busybox-static openssl libssl-dev curl python3 chromium libxml2-utils gcc g++ musl-tools golang-go rustc libc-bin binutils xz-utils dwz systemtap-sdt-dev iproute2 python3-pip procps util-linux linux-perf strace gdb elfutils debuginfod llvm valgrind systemd python3-seccomp tcsh fish clang-format-14
KERNEL_TEST_PACKAGES := qemu-system-x86 busybox-static cpio xz-utils redis-server redis-tools openssl python3 libxml2-utils gcc libc6-dev binutils

# Kernels that `make test-kernels` boots: versions that Tests/kernels/fetch.sh knows, paths of images, or all.
KERNELS ?= 6.1

# What `make bench-compare` holds kiln against, if it can be had.
COMPARE_PACKAGES := bpftrace libbpf-tools strace

# Of `make bench-compare`: each takes about a minute and a half.
ROUNDS ?= 5

# A recipe that fails leaves no half-written file behind, which would pass for a finished one.
.DELETE_ON_ERROR:

.PHONY: build help deps deps-build bpf static manual dist deb install uninstall test-packages demo format check-format test test-quick test-sanitized command-names protocols test-kernels bench bench-compare clean

build: bpf                       ## build kiln (the default); the binary is .build/release/kiln
	$(SWIFT_BUILD) --product kiln

help:                            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 24

# Installs what is missing and nothing else. While packages are configured, policy-rc.d keeps apt from starting services.
define install
	@missing=""; for package in $(1); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  if [ ! -e /usr/sbin/policy-rc.d ]; then \
	    printf '#!/bin/sh\nexit 101\n' | $$sudo tee /usr/sbin/policy-rc.d >/dev/null; $$sudo chmod +x /usr/sbin/policy-rc.d; \
	    trap "$$sudo rm -f /usr/sbin/policy-rc.d" EXIT; trap "exit 130" INT TERM HUP; fi; \
	  $$sudo apt-get update -qq && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
endef

deps: deps-build                 ## install the missing Debian packages
	$(call install,$(TEST_PACKAGES))

deps-build:
	$(call install,$(BUILD_PACKAGES))

bpf: deps-build                  ## compile the BPF programs
	@$(MAKE) --no-print-directory $(OBJECTS) $(TEST_OBJECTS) bpf/build/stack_check.bpf.o bpf/build/observers.bpf.o bpf/build/syscall_names.inc bpf/build/errno_names.inc bpf/build/signal_names.inc

bpf/build/stacks.bpf.o: bpf/stacks/stacks.bpf.c $(BPF_HEADERS) Makefile
bpf/build/functions.bpf.o: bpf/functions/functions.bpf.c $(BPF_HEADERS) Makefile
bpf/build/syscalls.bpf.o: bpf/syscalls/syscalls.bpf.c $(BPF_HEADERS) Makefile
bpf/build/call_trace.bpf.o: bpf/syscalls/call_trace.bpf.c $(BPF_HEADERS) Makefile
bpf/build/exec.bpf.o: bpf/exec/exec.bpf.c $(BPF_HEADERS) Makefile
bpf/build/syscall_times.bpf.o: bpf/syscalls/syscall_times.bpf.c $(BPF_HEADERS) Makefile

define requests_object
bpf/build/$(1).bpf.o: bpf/requests/requests.bpf.c $$(BPF_HEADERS) $$(wildcard $(2)/*.h) Makefile
bpf/build/$(1).bpf.o: DEFINE := -DPROTOCOL=$(2) -I. $(3)
endef
$(foreach protocol,$(PROTOCOLS) $(TEST_PROTOCOLS),$(eval $(call requests_object,$(notdir $(protocol)),$(protocol),)))
$(foreach protocol,$(PROTOCOLS),$(eval $(call requests_object,$(notdir $(protocol))-client,$(protocol),-DCLIENT_SIDE)))
$(foreach protocol,$(PROTOCOLS),$(eval $(call requests_object,$(notdir $(protocol))-trace,$(protocol),-DTRACING)))
$(OBJECTS) $(TEST_OBJECTS):
	@mkdir -p $(@D)
	$(BPF_COMPILE) $(DEFINE) -c $< -o $@
	@# The kernel reads types and lines from BTF, which stays.
	$(OBJCOPY) --strip-debug $@

# Each header includes what it uses: it compiles alone, for each object. Exempt: functions that a header asks its user to define, and
# kiln_objects.h, which is for user space. losses.bpf.h and members.bpf.h, and earlier_calls.bpf.h with them, count what their user names.
bpf/build/headers: $(BPF_HEADERS) Makefile
	@mkdir -p $(@D)
	@for header in $(filter-out %/kiln_objects.h,$(BPF_HEADERS)); do for define in "" -DCLIENT_SIDE -DTRACING; do \
	  $(BPF_COMPILE) -Wno-unused-function -Wno-undefined-internal $$define $$(case $$header in bpf/common/losses.bpf.h|bpf/common/members.bpf.h|bpf/syscalls/earlier_calls.bpf.h) echo -DLOSS_COUNT=1 -DLOST_DESCENDANT=0;; esac) \
	    -fsyntax-only -x c $$header || exit 1; done; done
	@touch $@

# For tests and benchmarks only.
bpf/build/stack_check.bpf.o: Tests/StackCheckBPF/stack_check.bpf.c $(BPF_HEADERS) $(wildcard Tests/StackCheckBPF/include/*.h) Makefile
	@mkdir -p $(@D)
	$(BPF_COMPILE) -Ibpf/include -ITests/StackCheckBPF -c $< -o $@

bpf/build/observers.bpf.o: Benchmarks/observers/observers.bpf.c $(BPF_HEADERS) $(wildcard Benchmarks/observers/include/*.h) Makefile
	@mkdir -p $(@D)
	$(BPF_COMPILE) -Ibpf/include -IBenchmarks/observers -c $< -o $@

bpf/build/syscall_names.inc: Makefile
	@mkdir -p $(@D)
	@# A header for each table of enum kiln_syscall_abi; x32's numbers are written as a sum.
	for table in '0 unistd_64' '1 unistd_32' '2 unistd_x32'; do set -- $$table; \
	  echo "#include <asm/$$2.h>" | $(CLANG) -E -dM - > $@.macros || exit 1; \
	  sed -n "s/^#define __NR_\([a-z0-9_]*\) \(.* \)\{0,1\}\([0-9]*\))\{0,1\}$$/[$$1][\3] = \"\1\",/p" $@.macros | sort -t[ -k3n; done > $@

# Without other names of the same signals, and without numbers that are none.
bpf/build/signal_names.inc: Makefile
	@mkdir -p $(@D)
	echo '#include <asm/signal.h>' | $(CLANG) -E -dM - | grep -vE 'SIG(IOT|UNUSED|RTMIN|STKSZ) ' > $@.macros
	sed -n 's/^#define \(SIG[A-Z0-9]*\) \([0-9]*\)$$/[\2] = "\1",/p' $@.macros | sort -t[ -k2n > $@

bpf/build/errno_names.inc: Makefile
	@mkdir -p $(@D)
	echo '#include <asm/errno.h>' | $(CLANG) -E -dM - > $@.macros
	sed -n 's/^#define \(E[A-Z0-9]*\) \([0-9]*\)$$/[\2] = "\1",/p' $@.macros | sort -t[ -k2n > $@

static: bpf                      ## one binary that runs on any Linux of this architecture: .build-static/release/kiln
	$(SWIFT) build -c release --product kiln --scratch-path .build-static --static-swift-stdlib -Xswiftc -static-executable -Xlinker --strip-all

# Packages. They hold the static binary; KILN=PATH takes another one, which is then not built. VERSION is Kiln.swift's, and the date of everything
# in a package that of the version's heading in CHANGELOG.md, or before a release that of the last commit: the same binary gives the same packages.
KILN    ?= .build-static/release/kiln
PREFIX  ?= /usr/local
SYSCONFDIR ?= /etc
VERSION := $(shell sed -n 's/.*kilnVersion = "\(.*\)".*/\1/p' Sources/kiln/Commands/Kiln.swift)
SOURCE_DATE_EPOCH ?= $(shell packaging/date.sh $(VERSION))
PACKAGE_PACKAGES := jq xz-utils binutils
PACKAGE_TEST_PACKAGES := lintian debootstrap man-db mandoc bsdextrautils bash-completion zsh fish
SUITES   ?= bookworm trixie
PACKAGED := $(if $(filter file,$(origin KILN)),static)
PLACES    = PREFIX=$(PREFIX) SYSCONFDIR=$(SYSCONFDIR) DESTDIR=$(DESTDIR) ZSHDIR=$(ZSHDIR) FISHDIR=$(FISHDIR)

manual: $(PACKAGED)              ## the manual pages: .build-dist/man
	$(call install,$(PACKAGE_PACKAGES))
	packaging/manual.sh $(KILN) .build-dist/man $(VERSION) $(SOURCE_DATE_EPOCH)

dist: $(PACKAGED)                ## .build-dist/kiln-VERSION-linux-ARCH.tar.xz: static binary, manual pages, completions, unit; and SHA256SUMS
	$(call install,$(PACKAGE_PACKAGES))
	packaging/dist.sh $(KILN) $(VERSION) $(SOURCE_DATE_EPOCH) .build-dist

deb: $(PACKAGED)                 ## .build-dist/kiln_VERSION-1_ARCH.deb
	$(call install,$(PACKAGE_PACKAGES))
	packaging/deb.sh $(KILN) $(VERSION) $(SOURCE_DATE_EPOCH) .build-dist

# Builds nothing, so that root builds nothing.
install:                         ## install what `make static` has built: PREFIX=/usr/local, DESTDIR=
	$(PLACES) packaging/stage.sh $(KILN) $(VERSION) $(SOURCE_DATE_EPOCH)

uninstall:                       ## remove what `make install` with the same PREFIX and DESTDIR has installed; a changed configuration stays
	$(PLACES) packaging/uninstall.sh

demo: deps build                 ## profile a redis-server of its own under load for 10 s; leaves demo/
	Benchmarks/demo.sh .build/$(CONFIG)/kiln

SWIFT_FILES := Package.swift Sources Tests Benchmarks flamegraph
C_FILES     := $(shell find bpf Sources Tests Benchmarks -path bpf/build -prune -o \( -name '*.[ch]' -o -path 'Sources/*.cpp' \) -print)

format: deps                     ## format the code, by .swift-format and .clang-format
	@$(SWIFT) format format --in-place --recursive --parallel $(SWIFT_FILES)
	@clang-format-14 -i $(C_FILES)

check-format: deps               ## whether the code is formatted as `make format` does it
	@$(SWIFT) format lint --strict --recursive --parallel $(SWIFT_FILES)
	@clang-format-14 --dry-run -Werror $(C_FILES)

test: deps check-format bpf bpf/build/headers ## run every test
	Tests/servers/fetch.sh .build-servers
	Tests/perf/fetch.sh .build-perf
	Tests/profiles/fetch.sh .build-profiles
	Tests/run.sh "$(SWIFT)"

test-quick: bpf                  ## run the tests that need neither root nor servers nor a browser: two minutes
	Tests/run.sh "$(SWIFT)" quick

test-sanitized: deps bpf         ## run the parsers and the C in user space under AddressSanitizer and UndefinedBehaviorSanitizer
	Tests/run.sh "$(SWIFT)" sanitized

command-names:                   ## renew the list of commands that servers know (bpf/protocols/redis/command_names.inc)
	Tests/servers/fetch.sh .build-servers
	Tests/servers/command-names.sh .build-servers >bpf/build/command_names.inc
	mv bpf/build/command_names.inc bpf/protocols/redis/command_names.inc

# The generator is of the checkout that kiln is built with, so that the code fits the library.
PROTOC_PLUGIN := .build/protoc-gen-swift
protocols:                       ## renew the Swift code of protobuf messages (Sources/KilnProfiles/Generated)
	$(call install,protobuf-compiler)
	$(SWIFT) package resolve
	$(SWIFT) build --package-path .build/checkouts/swift-protobuf --scratch-path $(PROTOC_PLUGIN) --product protoc-gen-swift
	protoc --plugin=$(PROTOC_PLUGIN)/debug/protoc-gen-swift --proto_path=Sources/KilnProfiles/Protocols --swift_out=Sources/KilnProfiles/Generated \
	  $(notdir $(wildcard Sources/KilnProfiles/Protocols/*.proto))

test-packages: deb dist          ## try the packages, in fresh Debians (root): two minutes, and two more the first time. SUITES= leaves these out
	$(call install,$(PACKAGE_TEST_PACKAGES))
	Tests/packages/run.sh $(KILN) $(VERSION) .build-dist .build-debian $(SUITES)

test-kernels: static             ## boot kernels under qemu and run the kernel tests in each: KERNELS="6.1 /path/to/vmlinuz", or all
	$(call install,$(KERNEL_TEST_PACKAGES))
	$(SWIFT) build --product kilnPackageTests
	Tests/kernels/run.sh .build-static/release/kiln .build/debug/kilnPackageTests.xctest $(KERNELS)

bench: deps build                ## measure what drawing and watching cost (takes minutes)
	$(call install,valgrind)
	for product in kiln-bench kiln-observer scanner-count flamegraph-bench; do $(SWIFT_BUILD) --product $$product || exit 1; done
	.build/$(CONFIG)/flamegraph-bench .build/$(CONFIG)/kiln
	.build/$(CONFIG)/kiln-bench .build/$(CONFIG)/kiln

bench-compare: deps build        ## kiln beside every other observer that is installed: Benchmarks/comparison/ (ROUNDS=5)
	$(call install,$(COMPARE_PACKAGES))
	$(SWIFT_BUILD) --product kiln-observer
	$(SWIFT_BUILD) --product kiln-bench
	.build/$(CONFIG)/kiln-bench .build/$(CONFIG)/kiln $(ROUNDS) compare

clean:                           ## remove what was built
	rm -rf .build .build-static .build-sanitized .build-dist bpf/build demo
