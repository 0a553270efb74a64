kms_aws_settings_test_SRCS = src/agent/kms/key_uri.c src/agent/kms/kms_aws_settings.c src/agent/kms/kms_config.c src/agent/kms/kms_config_agent.c \
	src/agent/kms/kms_detail.c src/agent/kms/kms_instance.c
