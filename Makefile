# Sallyport. `make run` and `make check` do everything on a fresh machine; see README.md.
#
#   B=build           build folder
#   SANITIZE=1        ASan and UBSan (build folder build-san)
#   PREFIX, DESTDIR   as usual, for install

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

CC       ?= cc
CFLAGS   ?= -O2 -g
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

obj = $(patsubst %.c,$(B)/%.o,$(1))
# A component without its main, so that tests can link it.
lib = $(B)/lib$(1).a

LIBS_sallyportd   := -lseccomp -lcap -lbsd
LIBS_sallyportctl := -lcrypt -lbsd
LIBS_worker       := -lseccomp -lcrypto -lbsd
LIBS_resolver     := -lcares -lseccomp -lbsd
LIBS_authd        := -lcrypt -lpam -lseccomp -lbsd -lpthread

all: $(BINS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# The grammar (master/conf.y) becomes C in the build folder.
$(B)/gen/master/conf_grammar.c $(B)/gen/master/conf_grammar.h &: master/conf.y
	@mkdir -p $(B)/gen/master
	bison -Wall -Werror -d -o $(B)/gen/master/conf_grammar.c $<
$(B)/master/conf_grammar.o: $(B)/gen/master/conf_grammar.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Wno-conversion -c -o $@ $<
$(call obj,$(MASTER_SRC)): | $(B)/gen/master/conf_grammar.h

$(call lib,common): $(call obj,$(COMMON_SRC))
$(call lib,master): $(filter-out %/main.o,$(call obj,$(MASTER_SRC))) $(B)/master/conf_grammar.o
$(call lib,ctl): $(filter-out %/ctl.o,$(call obj,$(CTL_SRC)))
$(call lib,worker): $(filter-out %/main.o,$(call obj,$(WORKER_SRC)))
$(call lib,resolver): $(filter-out %/resolver.o,$(call obj,$(RESOLVER_SRC)))
$(call lib,authd): $(filter-out %/main.o,$(call obj,$(AUTHD_SRC)))
$(B)/lib%.a:
	@mkdir -p $(@D)
	rm -f $@
	ar crs $@ $^

$(B)/sallyportd: $(B)/master/main.o $(call lib,master) $(call lib,common)
$(B)/sallyportctl: $(B)/master/ctl.o $(call lib,ctl) $(call lib,common)
$(B)/worker: $(B)/worker/main.o $(call lib,worker) $(call lib,common)
$(B)/resolver: $(B)/worker/resolver.o $(call lib,resolver) $(call lib,common)
$(B)/authd: $(B)/authd/main.o $(call lib,authd) $(call lib,common)
$(BINS):
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS_$(@F))

# --- unit tests: one binary a tests/unit/test_*.c, linked against the components ---
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNITS    := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SRC))
ALL_LIBS := $(foreach l,master ctl worker resolver authd common,$(call lib,$(l)))
$(B)/unit/%: $(B)/tests/unit/%.o $(ALL_LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka -lcrypt -lpam -lcares -lseccomp -lcap -lcrypto -lbsd -lpthread
unit: $(UNITS)
	@set -e; for t in $(UNITS); do $$t; done

clean:
	rm -rf build build-san

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: all unit clean
.SECONDARY:
.DELETE_ON_ERROR:
