aws_answer_fuzz_SRCS = src/agent/kms/encoding.c src/agent/kms/json.c src/agent/kms/key_uri.c src/agent/kms/kms_aws_errors.c src/agent/kms/kms_aws_messages.c src/agent/kms/kms_aws_settings.c \
	src/agent/kms/kms_detail.c src/agent/kms/kms_instance.c
aws_answer_fuzz_LIBS = -ljansson
