aws_faults_test_SRCS = src/agent/requests.c src/agent/kms_sessions.c \
	$(filter-out src/agent/kms/kms_local% src/agent/kms/kms_registry.c src/agent/kms/keyring_% src/agent/kms/loaded_keyring.c src/agent/kms/passphrase.c, \
	$(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/kms/*.c)))
aws_faults_test_LIBS = $(FREED_KEYS) $(KMS_LIBS)
$(BUILD)/aws_faults_test.o: CPPFLAGS += -DTOOLS='"$(TOP)/test/tools"'
