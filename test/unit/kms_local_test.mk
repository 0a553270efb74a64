kms_local_test_SRCS = $(patsubst $(TOP)/%,%,$(wildcard $(TOP)/src/agent/kms/*.c))
kms_local_test_LIBS = $(FREED_KEYS) $(KMS_LIBS)
# with the switch that makes the provider slow
$(BUILD)/src/agent/kms/kms_local.o $(BUILD)/src/agent/kms/kms_local_hooks.o: CPPFLAGS += -DPGE_TEST_BUILD
