http_service_test_SRCS = src/agent/kms/http_service.c src/agent/kms/http_credential.c src/agent/kms/http_policy.c \
	src/agent/kms/key_memory.c src/agent/kms/kms_detail.c
http_service_test_LIBS = $(FREED_KEYS) -Wl,--wrap=clock_gettime
