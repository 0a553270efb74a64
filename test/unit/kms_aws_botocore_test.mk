kms_aws_botocore_test_SRCS = src/agent/kms/kms_aws_sign.c
$(BUILD)/kms_aws_botocore_test.o: CPPFLAGS += -DTOOLS='"$(TOP)/test/tools"'
