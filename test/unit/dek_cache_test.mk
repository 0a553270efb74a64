# The slots need the server's headers (atomics), but no server.
.DEFAULT_GOAL := all
PG_CONFIG ?= pg_config
$(BUILD)/dek_cache_test.o: CPPFLAGS += -isystem $(shell $(PG_CONFIG) --includedir-server)
