/*
 * A directory of its own for a log's socket and file, the configuration that names them, and
 * syslog's daemon. Included by its tests after cmocka.h.
 */
#ifndef TESTS_UNIT_LOG_WORLD_H
#define TESTS_UNIT_LOG_WORLD_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/log.h"
#include "tests/unit/turns.h"

static char dir[64], sock_path[80], file_path[80];
static struct loop *loop;
static struct conf conf;
static struct conf_log conf_syslog, conf_file;

static inline int
make_log(void)
{
	snprintf(dir, sizeof(dir), "/tmp/sallyport-log.XXXXXX");
	if (mkdtemp(dir) == NULL || (loop = loop_new()) == NULL)
		return -1;
	snprintf(sock_path, sizeof(sock_path), "%s/socket", dir);
	snprintf(file_path, sizeof(file_path), "%s/log", dir);
	memset(&conf, 0, sizeof(conf));
	STAILQ_INIT(&conf.logs);
	conf_syslog = (struct conf_log){ .kind = LOGTO_SYSLOG,
		.facility = LOG_DAEMON,
		.path = sock_path,
		.where = { "test.conf", 1 } };
	conf_file =
	    (struct conf_log){ .kind = LOGTO_FILE, .path = file_path, .where = { "test.conf", 2 } };
	return 0;
}

static inline int
remove_log(void)
{
	loop_free(loop);
	unlink(sock_path);
	unlink(file_path);
	return rmdir(dir);
}

static inline void
use(struct conf_log *c)
{
	STAILQ_INSERT_TAIL(&conf.logs, c, entry);
}

static inline int
daemon_start(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, sock_path);
	assert_int_not_equal(fd, -1);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

#endif
