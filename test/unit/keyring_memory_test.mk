# FAILING_MEMORY: agent_memory_test.mk
keyring_memory_test_SRCS = src/agent/keyring_command.c $(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/kms/*.c))
keyring_memory_test_LIBS = -Wl,--wrap=pge_scrypt,--wrap=pge_crypto_selftest,--wrap=pge_passphrase_ask $(FAILING_MEMORY) $(KMS_LIBS)
