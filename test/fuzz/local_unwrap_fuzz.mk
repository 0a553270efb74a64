local_unwrap_fuzz_SRCS = $(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/kms/*.c))
local_unwrap_fuzz_LIBS = $(KMS_LIBS)
