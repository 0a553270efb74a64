kms_sessions_test_SRCS = src/agent/kms_sessions.c $(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/kms/kms_config*.c)) \
	src/agent/kms/kms_detail.c src/agent/kms/kms_instance.c src/agent/kms/key_uri.c
