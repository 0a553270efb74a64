# pg_envelope: the library (PGXS) and the agent, a program of its own.
#
#   make                     build both
#   sudo make install        install them into the server of $(PG_CONFIG)
#   make check               the whole test suite, on throwaway clusters
#   make check-versions      its tests of the server on PostgreSQL 15, 17 and 18 (as root: debootstrap)
#   make check-hardened      the tests on servers built to notice more (hours; test/LONG_RUNS.md)
#   make check-crash         each crash point of the sources with all that can happen there (test/LONG_RUNS.md)
#   make check-history       sixteen clients and a killer for ten minutes, or SECONDS=… (test/LONG_RUNS.md)
#   make demo, demo-stop     the main job on a million rows; remove it again (KMS=openbao: with a key service)
#   make drill               dump, wipe, restore, open: a rehearsal on a throwaway cluster
#   make bench               what a value costs, beside a yardstick and pgcrypto
#   make bench-kms          what the way to a key service costs, against a stub
#   make instructions        how many instructions a value takes, against the committed numbers
#   make installcheck        the SQL tests against a running server
#   make lint                the rules that a compiler does not know
#   make format              lay out all C files, as pgindent does
#   make unit, asan, fuzz    the tests of the pure rooms alone
#   make mutants             breaks the product in many ways, and wants each noticed

# The doors need neither a server's headers nor a compiler to open: they get
# what is missing themselves.  PGXS has recipes for some of their names, so it
# stays out when one is asked for; other goals beside them get a make of their own.
DOORS = check check-crash check-history check-hardened check-versions demo demo-stop drill bench bench-kms instructions installcheck lint format unit asan fuzz mutants
PG_CONFIG ?= pg_config

ifneq ($(filter $(DOORS),$(MAKECMDGOALS)),)

.PHONY: $(MAKECMDGOALS)
.NOTPARALLEL:

check:
	@test/run.sh
check-crash:
	@PGE_CRASH=all test/tools/long_tap.sh crash 633_crash_points
check-history:
	@PGE_HISTORY_SECONDS='$(or $(SECONDS),600)' test/tools/long_tap.sh history 636_history
check-hardened:
	@test/hardened/run.sh
check-versions:
	@test/versions/run.sh
demo:
	@KMS='$(KMS)' test/demo/demo.sh start
demo-stop:
	@test/demo/demo.sh stop
drill:
	@test/drill/drill.sh
bench-kms:
	@test/bench/kms/bench_kms.sh
bench:
	@test/bench/bench.sh
instructions:
	@test/instructions/run.sh
installcheck:
	@PG_CONFIG='$(PG_CONFIG)' test/tools/installcheck.sh
lint:
	@test/lint/run.sh
format:
	@test/lint/format.pl
unit:
	@$(MAKE) --no-print-directory -C test/unit check
asan:
	@$(MAKE) --no-print-directory -C test/unit asan
fuzz:
	@$(MAKE) --no-print-directory -C test/fuzz check
mutants:
	@test/mutants/run.sh

$(filter-out $(DOORS),$(MAKECMDGOALS)):
	@$(MAKE) --no-print-directory $@

else

EXTENSION = pg_envelope
MODULE_big = pg_envelope
DATA = $(wildcard pg_envelope--*.sql)

# The pure rooms: the C library and OpenSSL only.  Shared by library, agent,
# unit tests and fuzzers; compiled for the latter without the server's headers.
PURE_SRCS = $(wildcard src/crypto/*.c src/format/*.c) src/base/secret.c src/base/status.c
# Not a byte of it in a user's build (test/t/634_packaged_programs.pl).
PURE_SRCS += $(if $(findstring PGE_TEST_BUILD,$(TEST_CPPFLAGS)),src/base/crash_point.c)
AGENT_SRCS = $(wildcard src/agent/*.c src/agent/kms/*.c)
SERVER_SRCS = src/pg_envelope.c $(filter-out $(PURE_SRCS) src/base/crash_point.c,$(wildcard src/base/*.c)) \
	$(wildcard src/keyring/*.c src/cache/*.c src/ops/*.c src/sqlapi/*.c)
# Linked last: their large buffers would set apart, on more pages of each backend,
# the variables that it writes.
BUFFER_SRCS = $(wildcard src/keeper/*.c src/client/*.c)

OBJS = $(patsubst %.c,%.o,$(PURE_SRCS) $(SERVER_SRCS) $(BUFFER_SRCS))
AGENT_OBJS = $(patsubst src/%.c,build/agent/%.o,$(AGENT_SRCS) $(PURE_SRCS))

WARNINGS = -Wall -Wextra -Werror -Wno-declaration-after-statement
HARDENING = -fstack-protector-strong -fstack-clash-protection -fno-strict-aliasing
# Calls among our own files may be inlined, those of others need no stub (-z now).
FASTER = -fno-semantic-interposition -fno-plt
# The server's own flags are gcc's when gcc built it.
ifneq ($(findstring clang,$(CC)),)
WARNINGS += -Wno-unknown-warning-option -Wno-ignored-optimization-argument
endif
# TEST_…: for builds of the test suite only (test/suites.sh, test/hardened).
OBJS += $(TEST_OBJS)
AGENT_OBJS += $(TEST_AGENT_OBJS)
PG_CPPFLAGS = -Isrc $(TEST_CPPFLAGS)
PG_CFLAGS = $(WARNINGS) $(HARDENING) $(FASTER) $(TEST_CFLAGS)
SHLIB_LINK = -lcrypto -Wl,--version-script=src/exports.map -Wl,-z,relro,-z,now,-z,noexecstack
EXTRA_CLEAN = build pg_envelope_agent
NO_INSTALLCHECK = 1

# No bitcode: a copy of the cryptography that the JIT could compile differently
# would escape the tests of its wipes (PostgreSQL's own switch).
override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error PostgreSQL's headers for extensions are not here: install postgresql-server-dev-15, or name another server's pg_config with PG_CONFIG=...)
endif
include $(PGXS)
# Headers of the server and of the system are not ours to warn about.
override CPPFLAGS := $(patsubst -I/%,-isystem /%,$(CPPFLAGS))

AGENT_CPPFLAGS = -Isrc -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 $(TEST_CPPFLAGS)
AGENT_CFLAGS = -std=gnu11 -O2 -g $(WARNINGS) $(HARDENING) -fPIE -pthread $(TEST_CFLAGS)
AGENT_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack $(TEST_AGENT_LDFLAGS)
AGENT_LIBS = -lcurl -ljansson -lssl -lcrypto -lpthread

all: pg_envelope_agent

build/agent/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(AGENT_CPPFLAGS) $(AGENT_CFLAGS) -MMD -MP -c -o $@ $<

pg_envelope_agent: $(AGENT_OBJS)
	$(CC) $(AGENT_CFLAGS) $(AGENT_LDFLAGS) -o $@ $^ $(AGENT_LIBS)

-include $(AGENT_OBJS:.o=.d)

# Any header may matter to any object of the library; rebuilding all is quick.
$(OBJS): Makefile $(wildcard src/*/*.h)

install: install-agent
install-agent: pg_envelope_agent
	$(MKDIR_P) '$(DESTDIR)$(bindir)' '$(DESTDIR)$(datadir)/extension'
	$(INSTALL_PROGRAM) pg_envelope_agent '$(DESTDIR)$(bindir)/pg_envelope_agent'
	sed 's|@bindir@|$(bindir)|' systemd/pg_envelope_agent.service.in >'$(DESTDIR)$(datadir)/extension/pg_envelope_agent.service'

uninstall: uninstall-agent
uninstall-agent:
	rm -f '$(DESTDIR)$(bindir)/pg_envelope_agent' '$(DESTDIR)$(datadir)/extension/pg_envelope_agent.service'

.PHONY: install-agent uninstall-agent

endif
