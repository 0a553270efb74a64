# FAILING_MEMORY: agent_memory_test.mk; exchanges are the test's own
kms_aws_memory_test_SRCS = $(filter-out src/agent/kms/http%,$(AWS_CREDENTIALS_SRCS))
kms_aws_memory_test_LIBS = $(FAILING_MEMORY) -ljansson
$(BUILD)/kms_aws_memory_test.o: CPPFLAGS += -DTOOLS='"$(TOP)/test/tools"'
