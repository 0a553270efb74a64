config_command_test_SRCS = $(kms_config_test_SRCS) src/agent/config_command.c src/agent/kms/kms_config_file.c
config_command_test_LIBS = -Wl,--wrap=geteuid
