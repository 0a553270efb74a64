# What AWS's credentials need besides their own files.
AWS_CREDENTIALS_SRCS = $(patsubst %,src/agent/kms/%.c,kms_aws_credentials kms_aws_credentials_settings kms_aws_files kms_aws_issued \
	kms_aws_profile kms_aws_settings kms_aws_sign kms_aws_sources kms_aws_sts xml encoding http http_answer http_credential http_facts http_memory \
	http_policy http_transfer http_url json key_memory key_uri kms_config kms_config_agent kms_detail kms_instance secret_file)
kms_aws_credentials_test_SRCS = $(AWS_CREDENTIALS_SRCS)
kms_aws_credentials_test_LIBS = $(FREED_KEYS) $(KMS_LIBS)
$(BUILD)/kms_aws_credentials_test.o: CPPFLAGS += -DTOOLS='"$(TOP)/test/tools"'
