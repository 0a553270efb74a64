# pg_envelope: the library (PGXS) and the agent, a program of its own.
#
#   make                     build both
#   sudo make install        install them into the server of $(PG_CONFIG)
#   make check               the whole test suite, on a throwaway cluster
#   make installcheck        the SQL tests against a running server
#   make lint                the rules that a compiler does not know

EXTENSION = pg_envelope
MODULE_big = pg_envelope
DATA = $(wildcard pg_envelope--*.sql)
REGRESS = $(sort $(basename $(notdir $(wildcard sql/*.sql))))
REGRESS_OPTS = --inputdir=. --load-extension=pg_envelope

# The pure rooms: the C library and OpenSSL only.  Shared by library, agent,
# unit tests and fuzzers; compiled for the latter without the server's headers.
PURE_SRCS = $(wildcard src/crypto/*.c src/format/*.c) src/base/secret.c src/base/status.c
AGENT_SRCS = $(wildcard src/agent/*.c src/agent/kms/*.c)
SERVER_SRCS = src/pg_envelope.c $(filter-out $(PURE_SRCS),$(wildcard src/base/*.c)) \
	$(wildcard src/keyring/*.c src/cache/*.c src/keeper/*.c src/client/*.c src/ops/*.c src/sqlapi/*.c)

OBJS = $(patsubst %.c,%.o,$(SERVER_SRCS) $(PURE_SRCS))
AGENT_OBJS = $(patsubst src/%.c,build/agent/%.o,$(AGENT_SRCS) $(PURE_SRCS))

WARNINGS = -Wall -Wextra -Werror -Wno-declaration-after-statement
HARDENING = -fstack-protector-strong -fstack-clash-protection -fno-strict-aliasing
PG_CPPFLAGS = -Isrc $(TEST_CPPFLAGS)
PG_CFLAGS = $(WARNINGS) $(HARDENING)
SHLIB_LINK = -lcrypto -Wl,--version-script=src/exports.map -Wl,-z,relro,-z,now,-z,noexecstack
EXTRA_CLEAN = build pg_envelope_agent

PG_CONFIG ?= pg_config
# No bitcode: a copy of the cryptography that the JIT could compile differently
# would escape the tests of its wipes (PostgreSQL's own switch).
override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
# Headers of the server and of the system are not ours to warn about.
override CPPFLAGS := $(patsubst -I/%,-isystem /%,$(CPPFLAGS))

AGENT_CPPFLAGS = -Isrc -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 $(TEST_CPPFLAGS)
AGENT_CFLAGS = -std=gnu11 -O2 -g $(WARNINGS) $(HARDENING) -fPIE -pthread
AGENT_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack
AGENT_LIBS = -lcurl -lcrypto -lpthread

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
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) pg_envelope_agent '$(DESTDIR)$(bindir)/pg_envelope_agent'

uninstall: uninstall-agent
uninstall-agent:
	rm -f '$(DESTDIR)$(bindir)/pg_envelope_agent'

.PHONY: install-agent uninstall-agent

check:
	./test/run.sh
.PHONY: check
