/*-------------------------------------------------------------------------
 *
 * stub.c
 *	  A key service that costs nothing but its latency, for bench-kms.
 *
 * TLS on a loopback port; every answer leaves a fixed time after its request came
 * in, however many there are.  What it speaks is in stub_vault.c
 * and stub_aws.c; its ciphertexts are toys, but one that was moved or altered does not open.
 *
 * usage: stub PORT LATENCY_MS CERTIFICATE KEY
 * Standard input is its control: "stats" prints a line of JSON with what was
 * counted, "reset" sets that to zero, the end of the input ends it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "stub.h"

#define REQUEST_MAX	(4 * 1024 * 1024)
#define EVENTS		256

typedef struct Connection
{
	int			fd;
	SSL		   *ssl;
	bool		shaken;			/* the handshake is done */
	char	   *in;
	size_t		in_len;
	size_t		in_capacity;
	char	   *out;			/* the answer, NULL while none is due */
	size_t		out_len;
	size_t		out_sent;
	uint64_t	due_us;
	bool		waiting;		/* among the answers that are not yet due */
	bool		closed;
	struct Connection *next_due;
} Connection;

static SSL_CTX *tls;
static int	poll_fd;
static int	listen_fd;
static uint64_t latency_us;
static uint64_t handshakes;
static Connection *due_first;
static Connection *due_last;

static void listen_on(const char *port);
static void load_certificate(const char *certificate, const char *key);
static void watch(int fd, uint32_t events, void *what);
static bool obey(void);
static void accept_all(void);
static void go_on(Connection *c);
static bool receive(Connection *c);
static void take_requests(Connection *c);
static size_t request_length(const Connection *c, size_t *header_len);
static void answer(Connection *c, size_t header_len, size_t total);
static void send_due(void);
static bool transmit(Connection *c);
static void drop(Connection *c);
static uint64_t now_us(void);

int
main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];

	if (argc != 5)
		stub_die("usage: stub PORT LATENCY_MS CERTIFICATE KEY");
	signal(SIGPIPE, SIG_IGN);
	latency_us = strtoul(argv[2], NULL, 10) * 1000;
	load_certificate(argv[3], argv[4]);
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (poll_fd < 0)
		stub_die("epoll_create1");
	listen_on(argv[1]);
	watch(STDIN_FILENO, EPOLLIN, NULL);
	printf("ready\n");
	fflush(stdout);
	for (;;)
	{
		int64_t		left = due_first == NULL ? 1000000 : (int64_t) (due_first->due_us - now_us());
		struct timespec wait = {0, left <= 0 ? 0 : left >= 1000000 ? 999999999 : left * 1000};
		int			n = epoll_pwait2(poll_fd, events, EVENTS, &wait, NULL);

		for (int i = 0; i < n; i++)
		{
			if (events[i].data.ptr == NULL && !obey())
				return 0;
			else if (events[i].data.ptr == &listen_fd)
				accept_all();
			else if (events[i].data.ptr != NULL)
				go_on(events[i].data.ptr);
		}
		send_due();
	}
}

void
stub_die(const char *what)
{
	fprintf(stderr, "stub: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
listen_on(const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t) strtoul(port, NULL, 10))};
	int			on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listen_fd < 0 || setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		bind(listen_fd, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(listen_fd, 1024) != 0)
		stub_die("cannot listen");
	watch(listen_fd, EPOLLIN, &listen_fd);
}

static void
load_certificate(const char *certificate, const char *key)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (tls == NULL || SSL_CTX_use_certificate_file(tls, certificate, SSL_FILETYPE_PEM) != 1 ||
		SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
		stub_die("the certificate or its key cannot be used");
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static void
watch(int fd, uint32_t events, void *what)
{
	struct epoll_event event = {.events = events, .data.ptr = what};

	if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		stub_die("epoll_ctl");
}

/* false: the input has ended. */
static bool
obey(void)
{
	char		line[64];
	ssize_t		n = read(STDIN_FILENO, line, sizeof(line) - 1);

	if (n <= 0)
		return false;
	line[n] = '\0';
	if (strcmp(line, "stats\n") == 0)
		stub_print_calls(handshakes);
	else if (strcmp(line, "reset\n") == 0)
	{
		handshakes = 0;
		stub_forget_calls();
		printf("{}\n");
	}
	fflush(stdout);
	return true;
}

static void
accept_all(void)
{
	int			fd;
	int			on = 1;

	while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
	{
		Connection *c = calloc(1, sizeof(Connection));

		if (c == NULL || (c->ssl = SSL_new(tls)) == NULL || SSL_set_fd(c->ssl, fd) != 1)
			stub_die("out of memory");
		c->fd = fd;
		(void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		SSL_set_accept_state(c->ssl);
		/* edge-triggered: everything is done until it would block */
		watch(fd, EPOLLIN | EPOLLOUT | EPOLLET, c);
	}
}

static void
go_on(Connection *c)
{
	if (!c->shaken)
	{
		int			done = SSL_do_handshake(c->ssl);

		if (done == 1)
		{
			c->shaken = true;
			handshakes++;
		}
		else
		{
			int			why = SSL_get_error(c->ssl, done);

			ERR_clear_error();
			if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
				drop(c);
			return;
		}
	}
	if ((c->out != NULL && !c->waiting && !transmit(c)) || !receive(c))
	{
		drop(c);
		return;
	}
	take_requests(c);
}

/* false: it is closed. */
static bool
receive(Connection *c)
{
	for (;;)
	{
		int			n;

		if (c->in_len == c->in_capacity)
		{
			c->in_capacity = c->in_capacity == 0 ? 16384 : c->in_capacity * 2;
			c->in = c->in_capacity > REQUEST_MAX ? NULL : realloc(c->in, c->in_capacity);
			if (c->in == NULL)
				stub_die("a request is too long");
		}
		n = SSL_read(c->ssl, c->in + c->in_len, (int) (c->in_capacity - c->in_len));
		if (n <= 0)
		{
			int			why = SSL_get_error(c->ssl, n);

			ERR_clear_error();
			return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
		}
		c->in_len += (size_t) n;
	}
}

/* One at a time, as HTTP/1.1 has it: the next after the answer. */
static void
take_requests(Connection *c)
{
	size_t		header_len;
	size_t		total;

	if (c->out != NULL || (total = request_length(c, &header_len)) == 0)
		return;
	answer(c, header_len, total);
	memmove(c->in, c->in + total, c->in_len - total);
	c->in_len -= total;
	c->due_us = now_us() + latency_us;
	c->waiting = true;
	c->next_due = NULL;
	if (due_last != NULL)
		due_last->next_due = c;
	else
		due_first = c;
	due_last = c;
}

/* 0: it is not all there yet. */
static size_t
request_length(const Connection *c, size_t *header_len)
{
	const char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
	const char *length;
	size_t		body = 0;

	if (end == NULL)
		return 0;
	*header_len = (size_t) (end - c->in) + 4;
	length = memmem(c->in, *header_len, "\r\nContent-Length:", 17);
	if (length != NULL)
		body = strtoul(length + 17, NULL, 10);
	return c->in_len >= *header_len + body ? *header_len + body : 0;
}

static void
answer(Connection *c, size_t header_len, size_t total)
{
	char		method[8];
	char		path[1024];
	int			status = 400;
	char	   *body;
	int			len;

	c->in[header_len - 1] = '\0';
	if (sscanf(c->in, "%7s %1023s", method, path) != 2)
		stub_die("a request that is none");
	body = stub_answer(method, path, c->in, c->in + header_len, total - header_len, &status);
	len = asprintf(&c->out, "HTTP/1.1 %d Stub\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
				   status, strlen(body), body);
	free(body);
	if (len < 0)
		stub_die("out of memory");
	c->out_len = (size_t) len;
	c->out_sent = 0;
}

static void
send_due(void)
{
	while (due_first != NULL && due_first->due_us <= now_us())
	{
		Connection *c = due_first;

		due_first = c->next_due;
		if (due_first == NULL)
			due_last = NULL;
		c->waiting = false;
		if (c->closed || !transmit(c))
			drop(c);
		else
			take_requests(c);
	}
}

/* false: it is closed.  What is left goes out when the socket takes more. */
static bool
transmit(Connection *c)
{
	while (c->out_sent < c->out_len)
	{
		int			n = SSL_write(c->ssl, c->out + c->out_sent, (int) (c->out_len - c->out_sent));

		if (n <= 0)
		{
			int			why = SSL_get_error(c->ssl, n);

			ERR_clear_error();
			return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
		}
		c->out_sent += (size_t) n;
	}
	free(c->out);
	c->out = NULL;
	return true;
}

static void
drop(Connection *c)
{
	if (c->waiting)
	{
		/* its answer is in the queue, which finds it closed */
		if (!c->closed)
			(void) epoll_ctl(poll_fd, EPOLL_CTL_DEL, c->fd, NULL);
		c->closed = true;
		return;
	}
	SSL_free(c->ssl);
	close(c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

static uint64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}
