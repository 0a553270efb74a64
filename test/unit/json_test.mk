json_test_SRCS = src/agent/kms/json.c src/agent/kms/kms_detail.c
json_test_LIBS = $(FAILING_MEMORY) $(KMS_LIBS)
