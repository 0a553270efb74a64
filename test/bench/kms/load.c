/*-------------------------------------------------------------------------
 *
 * load.c
 *	  How many calls a second the stub answers: so many connections, each asking again
 *	  as soon as it is answered.
 *
 * usage: load PORT CONNECTIONS SECONDS PATH		prints calls per second
 * The certificate is not looked at: it is our own stub on loopback.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

static SSL_CTX *tls;
static uint16_t port;
static char request[1200];
static pthread_barrier_t all_connected;
static atomic_ulong answered;
static atomic_bool counting;
static atomic_bool over;

static void *run(void *arg);
static SSL *connect_to_stub(void);
static bool ask(SSL *ssl);

static void
die(const char *what)
{
	fprintf(stderr, "load: ");
	perror(what);
	exit(1);
}

int
main(int argc, char **argv)
{
	int			connections;
	double		seconds;
	struct timespec since,
				until;
	pthread_t  *threads;

	if (argc != 5)
		die("usage: load PORT CONNECTIONS SECONDS PATH");
	port = (uint16_t) strtoul(argv[1], NULL, 10);
	connections = (int) strtol(argv[2], NULL, 10);
	seconds = strtod(argv[3], NULL);
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: stub\r\n\r\n", argv[4]);
	tls = SSL_CTX_new(TLS_client_method());
	threads = calloc((size_t) connections, sizeof(pthread_t));
	if (tls == NULL || threads == NULL || pthread_barrier_init(&all_connected, NULL, (unsigned) connections + 1) != 0)
		die("out of memory");
	for (int i = 0; i < connections; i++)
		if (pthread_create(&threads[i], NULL, run, NULL) != 0)
			die("pthread_create");
	pthread_barrier_wait(&all_connected);
	clock_gettime(CLOCK_MONOTONIC, &since);
	atomic_store(&counting, true);
	usleep((useconds_t) (seconds * 1000000));
	atomic_store(&over, true);
	clock_gettime(CLOCK_MONOTONIC, &until);
	for (int i = 0; i < connections; i++)
		pthread_join(threads[i], NULL);
	printf("%.0f\n", (double) atomic_load(&answered) /
		   ((double) (until.tv_sec - since.tv_sec) + (double) (until.tv_nsec - since.tv_nsec) / 1e9));
	return 0;
}

static void *
run(void *arg)
{
	SSL		   *ssl = connect_to_stub();

	pthread_barrier_wait(&all_connected);
	while (!atomic_load(&over))
	{
		if (!ask(ssl))
			die("the stub does not answer");
		if (atomic_load(&counting) && !atomic_load(&over))
			atomic_fetch_add(&answered, 1);
	}
	SSL_free(ssl);
	return arg;
}

static SSL *
connect_to_stub(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int			on = 1;
	SSL		   *ssl = SSL_new(tls);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || ssl == NULL || connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
		SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
		die("cannot connect");
	return ssl;
}

static bool
ask(SSL *ssl)
{
	char		answer[4096];
	int			len = 0;
	const char *end;
	const char *length;

	if (SSL_write(ssl, request, (int) strlen(request)) <= 0)
		return false;
	for (;;)
	{
		int			n = SSL_read(ssl, answer + len, (int) sizeof(answer) - 1 - len);

		if (n <= 0)
			return false;
		len += n;
		answer[len] = '\0';
		end = strstr(answer, "\r\n\r\n");
		length = strstr(answer, "Content-Length: ");
		if (end != NULL && length != NULL && strncmp(answer, "HTTP/1.1 200", 12) == 0 &&
			end + 4 - answer + strtol(length + 16, NULL, 10) == len)
			return true;
	}
}
