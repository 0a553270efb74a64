kek_uri_fuzz_SRCS = src/agent/kms/keyring_file.c
