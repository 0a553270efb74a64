# The slots need the server's headers (atomics), but no server.
.DEFAULT_GOAL := all
PG_CONFIG ?= pg_config
$(BUILD)/dek_cache_test: $(BUILD)/src/cache/dek_cache.o
$(BUILD)/dek_cache_test.o $(BUILD)/src/cache/dek_cache.o: CPPFLAGS += -isystem $(shell $(PG_CONFIG) --includedir-server)
