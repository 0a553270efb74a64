vault_answer_fuzz_SRCS = src/agent/kms/encoding.c src/agent/kms/json.c src/agent/kms/kms_detail.c src/agent/kms/kms_vault_batch_messages.c src/agent/kms/kms_vault_messages.c
vault_answer_fuzz_LIBS = -ljansson
