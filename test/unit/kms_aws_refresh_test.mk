kms_aws_refresh_test_SRCS = $(AWS_CREDENTIALS_SRCS)
kms_aws_refresh_test_LIBS = -Wl,--wrap=clock_gettime $(KMS_LIBS)
$(BUILD)/kms_aws_refresh_test.o: CPPFLAGS += -DTOOLS='"$(TOP)/test/tools"'
