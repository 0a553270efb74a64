kms_aws_sign_test_SRCS = src/agent/kms/kms_aws_sign.c
