/* A packet of arbitrary octets on a channel: first octet picks the two roles. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/chan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

static bool
on_msg(struct chan *c, struct msg *m)
{
	const uint8_t *p = m->payload;

	(void)c;
	/* All of the payload must be readable, and within the table. */
	for (size_t i = 0; i < m->len; i++)
		sink += p[i];
	if (m->len > MSG_PAYLOAD)
		abort();
	return true;
}

static void
on_end(struct chan *c, enum chan_end why)
{
	(void)c;
	(void)why;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum role pairs[][2] = { { ROLE_MASTER, ROLE_WORKER },
		{ ROLE_WORKER, ROLE_MASTER }, { ROLE_MASTER, ROLE_PASSWORD },
		{ ROLE_PASSWORD, ROLE_WORKER }, { ROLE_WORKER, ROLE_PASSWORD },
		{ ROLE_RESOLVER, ROLE_WORKER }, { ROLE_WORKER, ROLE_RESOLVER } };
	static struct loop *loop;
	struct chan c = { .on_msg = on_msg, .on_end = on_end };
	int sv[2];

	if (size < 2 || size > MSG_PACKET_MAX)
		return 0;
	if (loop == NULL && (loop = loop_new()) == NULL)
		abort();
	unsigned i = data[0] % (sizeof(pairs) / sizeof(pairs[0]));
	if (chan_pair(sv) == -1 || chan_start(&c, loop, sv[0], pairs[i][0], pairs[i][1], 1) == -1)
		abort();
	(void)!send(sv[1], data + 1, size - 1, MSG_DONTWAIT);
	chan_drain(&c);
	chan_stop(&c);
	close(sv[1]);
	return 0;
}
