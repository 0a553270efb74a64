aws_profile_fuzz_SRCS = src/agent/kms/kms_aws_profile.c src/agent/kms/kms_detail.c
