encoding_test_SRCS = src/agent/kms/encoding.c
