hostile_uris_test_SRCS = $(kms_config_test_SRCS)
