kms_aws_messages_test_SRCS = src/agent/kms/encoding.c src/agent/kms/json.c src/agent/kms/kms_aws_errors.c src/agent/kms/kms_aws_messages.c src/agent/kms/kms_detail.c
kms_aws_messages_test_LIBS = -ljansson
