kek_uri_fuzz_SRCS = src/agent/kms/key_memory.c src/agent/kms/keyring_file.c
