aws_issued_fuzz_SRCS = $(patsubst %,src/agent/kms/%.c,json key_memory kms_aws_issued kms_aws_sign kms_aws_sts kms_detail xml)
aws_issued_fuzz_LIBS = -ljansson
