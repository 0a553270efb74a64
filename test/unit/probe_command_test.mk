probe_command_test_SRCS = $(kms_config_test_SRCS) src/agent/probe_command.c src/agent/kms/json.c src/agent/kms/kms_config_file.c src/agent/kms/kms_way.c
probe_command_test_LIBS = -ljansson
