jobs_test_SRCS = src/agent/jobs.c src/agent/single_flight.c src/agent/requests.c src/agent/kms_sessions.c src/agent/kms_reload.c src/agent/agent_settings.c \
	$(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/kms/kms_config*.c)) \
	src/agent/kms/kms_detail.c src/agent/kms/kms_instance.c src/agent/kms/key_uri.c
