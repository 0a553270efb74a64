keyring_file_test_SRCS = src/agent/kms/key_memory.c src/agent/kms/keyring_file.c
keyring_file_test_LIBS = $(FREED_KEYS)
