kms_config_memory_test_SRCS = $(kms_config_test_SRCS) src/agent/kms/kms_config_file.c
kms_config_memory_test_LIBS = $(FAILING_MEMORY)
