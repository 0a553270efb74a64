http_test_SRCS = $(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/kms/http*.c)) src/agent/kms/kms_detail.c src/agent/kms/passphrase.c
http_test_LIBS = -Wl,--wrap=free -lcurl -lssl
$(BUILD)/http_test.o: CPPFLAGS += -DTOOLS='"$(TOP)/test/tools"'
