settings_fuzz_SRCS = src/agent/agent_settings.c
