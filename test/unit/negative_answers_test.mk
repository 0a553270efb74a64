negative_answers_test_SRCS = src/agent/negative_answers.c src/agent/single_flight.c
