http_answer_fuzz_SRCS = src/agent/kms/http_answer.c
http_answer_fuzz_LIBS = -lcurl
