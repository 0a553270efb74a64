# The server's headers, but no server.
.DEFAULT_GOAL := all
PG_CONFIG ?= pg_config
$(BUILD)/unwrap_test: $(BUILD)/src/ops/unwrap.o
$(BUILD)/unwrap_test.o $(BUILD)/src/ops/unwrap.o: CPPFLAGS += -isystem $(shell $(PG_CONFIG) --includedir-server)
