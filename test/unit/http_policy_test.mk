http_policy_test_SRCS = src/agent/kms/http_policy.c
