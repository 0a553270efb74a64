key_uri_test_SRCS = src/agent/kms/key_uri.c src/agent/kms/kms_detail.c
