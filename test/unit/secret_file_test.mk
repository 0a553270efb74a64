secret_file_test_SRCS = src/agent/kms/secret_file.c src/agent/kms/kms_detail.c
