# The server's headers, but no server.  Bound at once: the dynamic linker would
# save registers on the stack that we look at, with the key in one of them.
.DEFAULT_GOAL := all
PG_CONFIG ?= pg_config
miss_test_LIBS = -Wl,-z,now
$(BUILD)/miss_test: $(BUILD)/src/ops/dek.o
$(BUILD)/miss_test.o $(BUILD)/src/ops/dek.o: CPPFLAGS += -isystem $(shell $(PG_CONFIG) --includedir-server)
