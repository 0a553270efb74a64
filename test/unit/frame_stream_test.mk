frame_stream_test_SRCS = src/agent/frame_stream.c
# to look at each block before it is freed
frame_stream_test_LIBS = -Wl,--wrap=free
