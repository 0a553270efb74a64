# The agent as it is (but for its command line), and an allocator that fails.
agent_memory_test_SRCS = $(filter-out src/agent/main.c src/agent/keyring_command.c src/agent/probe_command.c,$(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/*.c $(TOP)/src/agent/kms/*.c)))
agent_memory_test_LIBS = -Wl,--wrap=pge_scrypt $(FAILING_MEMORY) $(KMS_LIBS)

# The sanitizers' own allocator stays where it is (failing_memory.h).
ifneq ($(findstring -fsanitize=,$(CFLAGS)),)
FAILING_MEMORY = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free,--wrap=strdup,--wrap=strndup
endif
