kms_vault_settings_test_SRCS = src/agent/kms/encoding.c src/agent/kms/json.c src/agent/kms/key_uri.c src/agent/kms/kms_config.c src/agent/kms/kms_config_agent.c \
	src/agent/kms/kms_detail.c src/agent/kms/kms_instance.c src/agent/kms/kms_vault_batch_messages.c src/agent/kms/kms_vault_messages.c src/agent/kms/kms_vault_settings.c
kms_vault_settings_test_LIBS = -ljansson
