http_test_SRCS = $(patsubst %,src/agent/kms/%.c,http http_answer http_facts http_memory http_transfer http_url) src/agent/kms/kms_detail.c src/agent/kms/passphrase.c
http_test_LIBS = $(FREED_KEYS) -lcurl -lssl
$(BUILD)/http_test.o: CPPFLAGS += -DTOOLS='"$(TOP)/test/tools"'
