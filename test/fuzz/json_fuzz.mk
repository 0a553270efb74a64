json_fuzz_SRCS = src/agent/kms/json.c src/agent/kms/kms_detail.c
json_fuzz_LIBS = $(KMS_LIBS)
