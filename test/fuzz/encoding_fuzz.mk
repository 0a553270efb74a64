encoding_fuzz_SRCS = src/agent/kms/encoding.c
