/*-------------------------------------------------------------------------
 *
 * notify.c
 *	  What a service manager hears of us.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/notify.h"

static struct sockaddr_un manager;
static socklen_t manager_len;	/* 0: nobody asked */

void
pge_notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t		len = path == NULL ? 0 : strlen(path);

	/* "@" stands for the NUL that an abstract name begins with */
	if (len > 1 && len < sizeof(manager.sun_path) && (path[0] == '/' || path[0] == '@'))
	{
		manager.sun_family = AF_UNIX;
		memcpy(manager.sun_path, path, len);
		if (path[0] == '@')
			manager.sun_path[0] = '\0';
		manager_len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len);
	}
	(void) unsetenv("NOTIFY_SOCKET");
}

void
pge_notify(const char *state)
{
	int			fd;

	if (manager_len == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void) sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
				  (const struct sockaddr *) &manager, manager_len);
	close(fd);
}
