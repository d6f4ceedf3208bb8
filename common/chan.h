/*
 * A channel between two processes: a SOCK_SEQPACKET socket in the event loop, with a bounded queue.
 *
 * No send blocks. Messages of one turn travel together: chan_send appends to a packet that leaves
 * at the end of the turn, or once the peer has room; chan_send_late, to one that leaves with the
 * next turn that has something to say, since each packet wakes the peer. While more than
 * CHAN_QUEUE_SOFT octets wait to be taken by the peer, its own messages are not read (unless
 * keep_reading), so a peer that never reads stops itself; past CHAN_QUEUE_HARD chan_send fails and
 * the owner gives the peer up.
 */
#ifndef COMMON_CHAN_H
#define COMMON_CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/ev.h"
#include "common/msg.h"

#define CHAN_QUEUE_SOFT (256u * 1024)      /* octets: backpressure starts */
#define CHAN_LATE_MS    3                  /* the longest that chan_send_late holds back */
#define CHAN_QUEUE_HARD (4u * 1024 * 1024) /* octets: the peer is lost */

enum chan_end {
	CHAN_CLOSED, /* the peer closed or died; all that it had sent has been read */
	CHAN_FAULT /* it sent what the table or the callback refuses, or its queue is past the hard
		      limit; `fault` says what */
};

struct chan_packet;

struct chan {
	struct ev ev;
	struct loop *loop;
	enum role self, peer;
	uint32_t peer_spawn;
	bool keep_reading; /* read on, also past the soft limit (the master and authd of each other)
			    */
	/* One received message; false: the message is refused (malformed, early, repeated ...),
	 * which ends the channel with CHAN_FAULT. msg->fd is closed by chan unless the callback set
	 * it to -1. */
	bool (*on_msg)(struct chan *c, struct msg *m);
	/* The channel has ended (descriptor closed already); called once, never from chan_send. */
	void (*on_end)(struct chan *c, enum chan_end why);
	/* Optional: packets are about to leave. What must be done before the peer learns of it is
	 * done here, whichever way they leave and whatever was armed first in this turn. */
	void (*before_send)(struct chan *c);
	/* Optional: the queue fell below the soft limit again. */
	void (*on_room)(struct chan *c);
	void *owner;
	const char *fault;   /* after CHAN_FAULT: a constant text */
	unsigned fault_type; /* the message's type, or MSG_COUNT */

	/* chan.c's own */
	struct deadline turn; /* flushes at the end of the turn */
	STAILQ_HEAD(, chan_packet) out;
	struct chan_packet *open;  /* the last of out, if more may be put into it */
	struct chan_packet *spare; /* to be filled next */
	size_t queued;             /* octets in out */
	uint64_t packets_queued, packets_sent;
	bool late; /* `turn` is for messages that nobody waits for */
	bool throttled, broken, ended, paused;
};

/* Makes a connected pair, close-on-exec, non-blocking, with peer credentials off. 0 or -1, errno.
 */
int chan_pair(int fd[2]);

/* Adopts fd (made non-blocking) and puts it into the loop. The callbacks must be set before. */
int chan_start(
    struct chan *c, struct loop *l, int fd, enum role self, enum role peer, uint32_t spawn);

/*
 * Queues one message: `head_len` octets of fixed struct and then the `tail` octets. Takes over fd
 * (-1: none): it is closed once sent or on failure. 0, or -1 with ENOBUFS (hard limit; the channel
 * ends with CHAN_FAULT in this turn) or ENOTCONN (already ended). A size outside the table is a bug
 * and aborts.
 */
int chan_send_tail(struct chan *c, enum msg_type t, const void *head, size_t head_len,
    const void *tail, size_t tail_len, int fd);
static inline int
chan_send(struct chan *c, enum msg_type t, const void *payload, size_t len, int fd)
{
	return chan_send_tail(c, t, payload, len, NULL, 0, fd);
}

/* Likewise of a message that nobody waits for. Messages keep their order. */
int chan_send_late(struct chan *c, enum msg_type t, const void *payload, size_t len);

/* Sends a message at once, in a packet of its own before what is queued. The descriptor (-1: none)
 * stays the caller's. 0, or -1 with errno (EAGAIN: the peer has not read what was sent before). */
int chan_lend(struct chan *c, enum msg_type t, const void *payload, size_t len, int fd);

/* Tries to send what is queued now. After it, chan_mark() <= chan_sent() tells whether everything
 * queued before the mark has been taken by the kernel. */
void chan_flush(struct chan *c);
uint64_t chan_mark(const struct chan *c);
uint64_t chan_sent(const struct chan *c);

/* True while more than the soft limit waits: make no new requests of this peer. */
bool chan_full(const struct chan *c);

/* Reads and dispatches what is there now, up to the end of what was queued at the call (the master
 * drains authd's channels so before it judges a worker). */
void chan_drain(struct chan *c);

/* Stops or resumes reading, on top of backpressure. */
void chan_pause(struct chan *c, bool pause);

/* Closes without a callback; safe when not started or already ended. */
void chan_stop(struct chan *c);

/* Before anything else in a child, when no loop runs yet: one blocking receive of one message, with
 * a time-out in ms. 0, or -1 with errno (EPROTO: not allowed by the table; ECONNRESET: closed). */
int chan_recv_one(
    int fd, enum role self, enum role peer, void *buf, size_t size, struct msg *m, int timeout_ms);
/* Likewise, one blocking send. 0 or -1, errno. */
int chan_send_one(int fd, enum role self, enum role peer, enum msg_type t, const void *p,
    size_t len, int pass_fd);

#endif
