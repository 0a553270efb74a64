local_unwrap_fuzz_SRCS = $(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/kms/*.c))
