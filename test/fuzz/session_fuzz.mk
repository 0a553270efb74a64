session_fuzz_SRCS = src/agent/client_session.c src/agent/frame_stream.c src/agent/handshake.c
