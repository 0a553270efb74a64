kms_aws_answers_test_SRCS = $(patsubst %,src/agent/kms/%.c,json key_memory kms_aws_issued kms_aws_profile kms_aws_sign kms_aws_sts kms_detail xml)
kms_aws_answers_test_LIBS = -ljansson
