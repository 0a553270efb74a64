request_fuzz_SRCS = src/agent/requests.c src/agent/kms_sessions.c
