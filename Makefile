# Sallyport. `make run` and `make check` do everything on a fresh machine; see README.md.
#
#   make              build everything into build/
#   make run          install what is missing, build, run a gateway on 127.0.0.1:1080 and [::1]:1080
#                     (PORT=N: on another port)
#   make check        install what the tests need, build, run every test
#   make fuzz         a minute of libFuzzer for every parser of foreign octets
#   make bench        measure the gateway against the least relay there can be, Debian's SOCKS servers and MIT's GSSAPI
#                     (as root, about eight minutes; WORK="connect udp" SERVERS="floor sallyport" PAIRS=3: only that,
#                     see tests/bench/run)
#   make lint         clang's static analyzer over the sources
#   make format       put the sources into shape (make check says where they are not)
#   make install      make uninstall
#   make help         show this
#
#   B=build           build folder
#   SANITIZE=1        ASan and UBSan (build folder build-san)
#   PREFIX, DESTDIR   as usual, for install and uninstall
#   FUZZ_SECONDS=60   for each target of make fuzz; FUZZ_SEED=0 searches anew each time
#   V=1               show the commands

PREFIX     ?= /usr
SBINDIR    ?= $(PREFIX)/sbin
LIBEXECDIR ?= $(PREFIX)/libexec/sallyport
SYSCONFDIR ?= /etc

ifdef SANITIZE
B          ?= build-san
SANFLAGS   := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CPPFLAGS_X := -DSANITIZED=1
else
B          ?= build
CPPFLAGS_X := -D_FORTIFY_SOURCE=2
endif

CFLAGS   ?= -O2 -g
MAKEFLAGS += --no-print-directory
JOBS     ?= $(shell nproc 2>/dev/null || echo 2)
WARN     := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes -Werror
HARDEN   := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection
override CFLAGS   += -std=c11 $(WARN) $(HARDEN) $(SANFLAGS)
override CPPFLAGS += -D_GNU_SOURCE $(CPPFLAGS_X) -I. -I$(B)/gen -MMD -MP \
    -DSBINDIR='"$(SBINDIR)"' -DLIBEXECDIR='"$(LIBEXECDIR)"' -DSYSCONFDIR='"$(SYSCONFDIR)"'
override LDFLAGS  += -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(SANFLAGS)

PROGRAMS := sallyportd sallyportctl worker resolver authd
BINS     := $(addprefix $(B)/,$(PROGRAMS))

COMMON_SRC   := $(wildcard common/*.c)
CTL_SRC      := $(wildcard master/ctl*.c)
MASTER_SRC   := $(filter-out $(CTL_SRC),$(wildcard master/*.c))
RESOLVER_SRC := $(wildcard worker/resolver*.c)
WORKER_SRC   := $(filter-out $(RESOLVER_SRC),$(wildcard worker/*.c))
AUTHD_SRC    := $(wildcard authd/*.c)

# Objects have a folder of their own: build/authd and build/worker are programs.
O   = $(B)/obj
obj = $(patsubst %.c,$(O)/%.o,$(1))
# A component without its main, so that tests can link it.
lib = $(B)/lib$(1).a

LIBS_sallyportd   := -lseccomp -lcap -lbsd
LIBS_sallyportctl := -lcrypt -lbsd
# Tokens side by side (worker/token_lanes.h): amd64 alone has the library for it.
ifneq ($(findstring x86_64,$(shell $(CC) -dumpmachine)),)
LANES            := -lIPSec_MB
override CPPFLAGS += -DLANES=1
PKGS_LANES       := libipsec-mb-dev
endif
LIBS_worker       := -lseccomp -lcrypto $(LANES) -lbsd
LIBS_resolver     := -lcares -lseccomp -lbsd
LIBS_authd        := -lgssapi_krb5 -lkrb5 -lcrypt -lpam -lseccomp -lcrypto -lbsd -lpthread \
    -Wl,--version-script=authd/contexts.map

# $(call folder,DIR): makes it, when a recipe begins. In a checkout that is another's, make ends there with one message.
folder = $(if $(shell mkdir -p $(1) 2>/dev/null && [ -w $(1) ] && echo yes),,$(error cannot write to $(1): \
    expected a checkout of your own (git clone), or a build folder elsewhere (make B=/tmp/sallyport ...)))

# One line a step; V=1 shows the commands.
ifdef V
say =
Q   =
else
say = @printf '  %-6s%s\n' $(1) $(2)
Q   = @
endif

# The client library (common/sallyport.h): the same object that the gateway is linked with.
LIBRARY := $(B)/libsallyport.a

all: $(BINS) $(LIBRARY)

$(O)/%.o: %.c
	$(call folder,$(@D))
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# The grammar (master/conf.y) becomes C in the build folder.
$(B)/gen/master/conf_grammar.c $(B)/gen/master/conf_grammar.h &: master/conf.y
	$(call folder,$(B)/gen/master)
	$(call say,BISON,$<)
	$(Q)bison -Wall -Werror -d -o $(B)/gen/master/conf_grammar.c $<
$(O)/master/conf_grammar.o: $(B)/gen/master/conf_grammar.c
	$(call folder,$(@D))
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -Wno-conversion -c -o $@ $<
$(call obj,$(MASTER_SRC)): | $(B)/gen/master/conf_grammar.h

# What has paths compiled in is made anew when they change: `make && make install PREFIX=/usr/local`.
PATHS := $(SBINDIR) $(LIBEXECDIR) $(SYSCONFDIR)
$(call obj,$(shell grep -lE 'SBINDIR|LIBEXECDIR|SYSCONFDIR' $(wildcard */*.c))): $(B)/paths
$(B)/paths: FORCE
	$(call folder,$(B))
	@echo '$(PATHS)' | cmp -s - $@ || echo '$(PATHS)' >$@
FORCE:

$(call lib,common): $(call obj,$(COMMON_SRC))
# Programs may take it into shared objects of theirs.
$(O)/common/sallyport.o: override CFLAGS += -fPIC
$(LIBRARY): $(O)/common/sallyport.o
$(call lib,master): $(filter-out %/main.o,$(call obj,$(MASTER_SRC))) $(O)/master/conf_grammar.o
$(call lib,ctl): $(filter-out %/ctl.o,$(call obj,$(CTL_SRC)))
$(call lib,worker): $(filter-out %/main.o,$(call obj,$(WORKER_SRC)))
$(call lib,resolver): $(filter-out %/resolver.o,$(call obj,$(RESOLVER_SRC)))
$(call lib,authd): $(filter-out %/main.o,$(call obj,$(AUTHD_SRC)))
$(B)/lib%.a:
	$(call folder,$(@D))
	$(Q)rm -f $@
	$(Q)ar crs $@ $^

$(B)/sallyportd: $(O)/master/main.o $(call lib,master) $(call lib,common)
$(B)/sallyportctl: $(O)/master/ctl.o $(call lib,ctl) $(call lib,common)
$(B)/worker: $(O)/worker/main.o $(call lib,worker) $(call lib,common)
$(B)/resolver: $(O)/worker/resolver.o $(call lib,resolver) $(call lib,common)
$(B)/authd: $(O)/authd/main.o $(call lib,authd) $(call lib,common)
$(BINS):
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_$(@F))

# --- tests: a unit program for each tests/unit/test_*.c, and helpers of the end-to-end and hostile
# tests for each .c file there; all linked against the components without their main ---
UNITS    := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/test_*.c))
HELPERS  := $(patsubst tests/%.c,$(B)/%,$(wildcard tests/e2e/*.c tests/hostile/*.c))
ALL_LIBS := $(foreach l,master ctl worker resolver authd common,$(call lib,$(l)))
TEST_LIBS := -lcmocka -lgssapi_krb5 -lkrb5 -lcrypt -lpam -lcares -lseccomp -lcap -lcrypto $(LANES) -lbsd -lpthread
$(UNITS) $(HELPERS): $(B)/%: $(O)/tests/%.o $(ALL_LIBS)
	$(call folder,$(@D))
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(TEST_LIBS)
# Of the benchmark: of one file each, but for the load generator, which is of several.
LOAD_SRC := $(wildcard tests/bench/load*.c)
BENCHERS := $(B)/bench/load $(patsubst tests/%.c,$(B)/%,$(filter-out $(LOAD_SRC),$(wildcard tests/bench/*.c)))
$(B)/bench/load: $(call obj,$(LOAD_SRC))
$(filter-out %/load,$(BENCHERS)): $(B)/%: $(O)/tests/%.o
$(B)/bench/floor $(B)/bench/gss_relay: $(O)/master/priority.o
# Those that stand for programs on MIT's API.
$(B)/bench/gss_load: $(O)/tests/bench/load_stats.o
$(B)/bench/gss_%: LIBS_BENCH := -lgssapi_krb5 -lpthread
$(BENCHERS):
	$(call folder,$(@D))
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_BENCH)
unit: $(UNITS)
	@set -e; for t in $(UNITS); do $$t; done
testbuild: all $(UNITS) $(HELPERS)

# The tests have no network, so what they use of npm's is fetched here: by name, version and hash, from
# whichever registry this machine has, and without running any package's scripts.
NPM := $(B)/npm/node_modules/.package-lock.json
$(NPM): $(addprefix tests/e2e/npm/,package.json package-lock.json .npmrc)
	@mkdir -p $(B)/npm
	$(call say,NPM,$(<D))
	$(Q)cp $^ $(B)/npm/
	$(Q)cd $(B)/npm && npm ci --loglevel=error --ignore-scripts --no-audit --no-fund >/dev/null
npm: $(NPM)

check: need-check
	@$(MAKE) -j$(JOBS) testbuild npm
ifndef SANITIZE
	@$(MAKE) -j$(JOBS) fuzzbuild
endif
	@B=$(B) SANITIZE=$(SANITIZE) tests/run

# --- how fast it is, against others on the same machine: not part of `make check` ---
benchbuild: all $(BENCHERS)
# What is asked for is looked at before more is installed, or anything built.
# No shell stays between make and it: make's signals are for it.
BENCH := exec env B=$(B) tests/bench/run
check-bench:
	$(call need,python3)
	@$(BENCH) check
bench: check-bench need-bench
	@$(MAKE) -j$(JOBS) benchbuild
	@$(BENCH)

# --- fuzzing: clang's libFuzzer with ASan and UBSan, in a build folder of its own. `make check` only
# runs the committed corpora; `make fuzz` looks for more, two targets at a time. ---
FB           := build-fuzz
FUZZ_SECONDS ?= 60
FUZZERS      := $(patsubst tests/fuzz/%.c,$(FB)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_MAKE    := $(MAKE) B=$(FB) CC=clang SANITIZE= CPPFLAGS_X=-DSANITIZED=1 WARN="-Wall -Wextra" \
    SANFLAGS="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined"
ifneq ($(filter $(FB),$(B)),)
$(FUZZERS): $(FB)/%: $(FB)/obj/tests/fuzz/%.o $(ALL_LIBS)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(filter-out -lcmocka,$(TEST_LIBS))
fuzzers: $(FUZZERS)
endif
fuzzbuild:
	+@$(FUZZ_MAKE) fuzzers
fuzz: need-check
	@$(MAKE) -j$(JOBS) fuzzbuild
	@B=$(B) FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run fuzz

# For reading, not for failing: the analyzer takes the lists of <sys/queue.h> for uses after free.
TIDY := -*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling
TIDY := $(TIDY),bugprone-sizeof*,bugprone-suspicious*,bugprone-string*,bugprone-infinite-loop,bugprone-signal-handler
lint: need-check
	$(call need,clang-tidy)
	@$(MAKE) $(B)/gen/master/conf_grammar.h
	@printf '%s\n' $(wildcard master/*.c worker/*.c authd/*.c common/*.c) | xargs -P $(JOBS) -I{} \
	    clang-tidy --quiet --checks='$(TIDY)' {} -- -std=c11 $(CPPFLAGS) 2>/dev/null
format:
	clang-format -i $(shell git ls-files '*.c' '*.h')

# --- packages (Debian 12), each list in this one place ---
PKGS_BUILD := gcc libc6-dev make bison libseccomp-dev libcap-dev libbsd-dev libc-ares-dev \
    libssl-dev libcrypt-dev libpam0g-dev libkrb5-dev $(PKGS_LANES)
PKGS_RUN   := curl ca-certificates
PKGS_CHECK := clang libclang-rt-dev clang-format libcmocka-dev mandoc iproute2 procps strace openssl \
    python3 python3-pytest python3-gssapi krb5-kdc krb5-admin-server krb5-user python3-socks curl ncat proxychains4 chromium dnsmasq-base rsyslog \
    fail2ban logrotate nftables bind9-dnsutils dante-client redsocks ngtcp2-client ngtcp2-server tnftp python3-pyftpdlib
PKGS_BENCH := python3 openssl krb5-kdc krb5-admin-server krb5-user iproute2 rsyslog dante-server microsocks gnuplot-nox
# Where node and npm are there from elsewhere, they stay.
PKGS_NODE   = $(if $(shell which node),,nodejs) $(if $(shell which npm),,npm)

# $(call need,PACKAGES): installs those that are missing, without starting their services; without
# root it names them and the command. Package lists are fetched where there are none, or when they
# turn out to be too old. Of dante-server nobody here wants the service, which its package would start with the next boot.
define need
	@missing=; for p in $(1); do \
	  dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then \
	  echo "Packages are missing. As root:"; \
	  echo "  apt-get install -y$$missing"; exit 1; \
	fi; \
	echo "Installing:$$missing"; \
	policy=/usr/sbin/policy-rc.d; export DEBIAN_FRONTEND=noninteractive; \
	if [ ! -e $$policy ]; then \
	  trap 'rm -f $$policy' EXIT; trap 'exit 130' INT TERM; \
	  printf '#!/bin/sh\nexit 101\n' >$$policy && chmod 755 $$policy; \
	fi; \
	install() { apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $$missing >/dev/null; }; \
	set -- /var/lib/apt/lists/*_Packages*; [ -e "$$1" ] || apt-get update -qq; \
	install || { apt-get update -qq && install; } || exit 1; \
	case "$$missing " in *" dante-server "*) update-rc.d danted disable;; esac
endef
need-build:
	$(call need,$(PKGS_BUILD))
need-run:
	$(call need,$(PKGS_BUILD) $(PKGS_RUN))
need-check:
	$(call need,$(PKGS_BUILD) $(PKGS_RUN) $(PKGS_CHECK) $(PKGS_NODE))
need-bench: check-bench
	$(call need,$(PKGS_BUILD) $(PKGS_BENCH))

# --- a gateway to try, in the foreground until Ctrl-C ---
PORT := 1080
check-port:
	@case '$(PORT)' in '' | 0* | *[!0-9]* | ??????*) false;; *) [ $(PORT) -le 65535 ];; esac || { \
	  echo "make run: PORT=$(PORT) is no port, expected a number from 1 to 65535"; exit 1; }
run: check-port need-run
	@$(MAKE) -j$(JOBS) all
	@printf '%s\n' '' \
	  'Sallyport starts on 127.0.0.1:$(PORT) and [::1]:$(PORT); Ctrl-C ends it. From another terminal, try:' \
	  '' \
	  '  curl -x socks5h://127.0.0.1:$(PORT) https://www.example.com/' \
	  '' \
	  'or, without any network, the gateway through itself:' \
	  '' \
	  "  printf '\\5\\1\\0\\n' | curl -sN -x socks5h://127.0.0.1:$(PORT) telnet://127.0.0.1:$(PORT) | od -An -tx1" \
	  '' \
	  'which prints 05 00, its answer to a SOCKS greeting.' \
	  ''
	@exec $(B)/sallyportd -d -D port=$(PORT) -f etc/examples/local.conf

# --- install ---
INCLUDEDIR  ?= $(PREFIX)/include
LIBDIR      ?= $(PREFIX)/lib
MANDIR      ?= $(PREFIX)/share/man
DOCDIR      ?= $(PREFIX)/share/doc/sallyport
UNITDIR     ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
CONFDIR     := $(SYSCONFDIR)/sallyport
LOGDIR      := /var/log/sallyport

# What is installed: mode, source, target. One list serves install and uninstall. Files under
# SYSCONFDIR are an operator's: install does not overwrite them, uninstall keeps changed ones.
INSTALLED = \
    755 $(B)/sallyportd   $(SBINDIR)/sallyportd \
    755 $(B)/sallyportctl $(SBINDIR)/sallyportctl \
    755 $(B)/worker       $(LIBEXECDIR)/worker \
    755 $(B)/resolver     $(LIBEXECDIR)/resolver \
    755 $(B)/authd        $(LIBEXECDIR)/authd \
    644 common/sallyport.h $(INCLUDEDIR)/sallyport.h \
    644 $(LIBRARY) $(LIBDIR)/libsallyport.a \
    644 etc/systemd/sallyport.service  $(UNITDIR)/sallyport.service \
    644 etc/systemd/sallyport.sysusers $(SYSUSERSDIR)/sallyport.conf \
    644 etc/systemd/sallyport.tmpfiles $(TMPFILESDIR)/sallyport.conf \
    $(foreach m,$(wildcard etc/man/*.3),644 $(m) $(MANDIR)/man3/$(notdir $(m))) \
    $(foreach m,$(wildcard etc/man/*.5),644 $(m) $(MANDIR)/man5/$(notdir $(m))) \
    $(foreach m,$(wildcard etc/man/*.7),644 $(m) $(MANDIR)/man7/$(notdir $(m))) \
    $(foreach m,$(wildcard etc/man/*.8),644 $(m) $(MANDIR)/man8/$(notdir $(m))) \
    $(foreach e,$(wildcard etc/examples/*),644 $(e) $(DOCDIR)/examples/$(notdir $(e))) \
    644 README.md    $(DOCDIR)/README.md \
    644 CHANGELOG.md $(DOCDIR)/CHANGELOG.md \
    644 LICENSE      $(DOCDIR)/copyright
CONFFILES = \
    640 etc/sallyport.conf $(CONFDIR)/sallyport.conf \
    $(foreach f,$(wildcard etc/rsyslog/*.conf),644 $(f) $(SYSCONFDIR)/rsyslog.d/$(notdir $(f))) \
    $(foreach f,$(wildcard etc/logrotate/sallyport),644 $(f) $(SYSCONFDIR)/logrotate.d/sallyport) \
    $(foreach f,$(wildcard etc/fail2ban/filter.d/*),644 $(f) $(SYSCONFDIR)/fail2ban/filter.d/$(notdir $(f))) \
    $(foreach f,$(wildcard etc/fail2ban/jail.d/*),644 $(f) $(SYSCONFDIR)/fail2ban/jail.d/$(notdir $(f)))

# The paths in the texts that are installed follow PREFIX and SYSCONFDIR.
PLACED = sed -e 's|/usr/sbin/|$(SBINDIR)/|g' -e 's|/usr/libexec/sallyport|$(LIBEXECDIR)|g' \
    -e 's|/usr/share/doc/sallyport|$(DOCDIR)|g' -e 's|/etc/sallyport|$(CONFDIR)|g'
put = { install -D -m $$1 $$2 "$(DESTDIR)$$3" && { [ $$1 = 755 ] || $(PLACED) -i "$(DESTDIR)$$3"; }; } || exit 1

install: all
	@set -- $(INSTALLED); while [ $$# -gt 0 ]; do $(put); shift 3; done
	@set -- $(CONFFILES); while [ $$# -gt 0 ]; do \
	  if [ -e "$(DESTDIR)$$3" ]; then echo "kept: $(DESTDIR)$$3"; else $(put); fi; shift 3; done
	@[ -d "$(DESTDIR)$(LOGDIR)" ] || install -d -m 750 "$(DESTDIR)$(LOGDIR)"
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
	  systemd-sysusers sallyport.conf; systemd-tmpfiles --create sallyport.conf; \
	  systemctl daemon-reload; fi
	@echo "Installed. Next: edit $(CONFDIR)/sallyport.conf, then sallyportd -n checks it."

# What an operator or the gateway made is kept, and named.
uninstall:
	@set -- $(INSTALLED); while [ $$# -gt 0 ]; do rm -f "$(DESTDIR)$$3"; shift 3; done
	@set -- $(CONFFILES); while [ $$# -gt 0 ]; do \
	  if $(PLACED) $$2 | cmp -s - "$(DESTDIR)$$3"; then rm -f "$(DESTDIR)$$3"; \
	  elif [ -e "$(DESTDIR)$$3" ]; then echo "kept, because it was changed: $(DESTDIR)$$3"; fi; \
	  shift 3; done
	@for d in $(LIBEXECDIR) $(DOCDIR)/examples $(DOCDIR) $(CONFDIR) $(LOGDIR); do \
	  rmdir "$(DESTDIR)$$d" 2>/dev/null || true; done
	@find "$(DESTDIR)$(CONFDIR)" "$(DESTDIR)$(LOGDIR)" "$(DESTDIR)$(LOGDIR)".log* -type f \
	  ! -path "$(DESTDIR)$(CONFDIR)/sallyport.conf" 2>/dev/null | sed 's/^/kept: /'
	@users=$$(grep -o '^sallyport-[a-z]*' "$(DESTDIR)/etc/passwd" 2>/dev/null | xargs); \
	  [ -z "$$users" ] || echo "kept: the system users $$users (userdel removes one)"

# What this file begins with.
help:
	@sed '/^#/!Q; s/^# \{0,1\}//' $(firstword $(MAKEFILE_LIST))

clean:
	rm -rf build build-san build-fuzz

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: all unit bench benchbuild check-bench need-bench testbuild npm check fuzzers fuzzbuild fuzz lint format need-build need-run need-check \
    check-port run help install uninstall clean FORCE
# No rules of make's own: one would make master/conf.c from master/conf.y.
MAKEFLAGS += -r
.SUFFIXES:
.SECONDARY:
.DELETE_ON_ERROR:
