client_session_test_SRCS = $(filter-out src/agent/main.c src/agent/serve.c src/agent/loop.c src/agent/keyring_command.c src/agent/probe_command.c,$(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/*.c $(TOP)/src/agent/kms/*.c)))
client_session_test_LIBS = $(KMS_LIBS)
