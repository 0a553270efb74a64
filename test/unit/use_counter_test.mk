# The table needs the server's headers (atomics), but no server.
.DEFAULT_GOAL := all
PG_CONFIG ?= pg_config
$(BUILD)/use_counter_test.o: CPPFLAGS += -isystem $(shell $(PG_CONFIG) --includedir-server)
