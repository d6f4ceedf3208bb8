/*
 * What comes from a client before the relay: its octets into a small buffer, and one step a
 * message.
 */
#ifndef WORKER_HANDSHAKE_H
#define WORKER_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;
struct worker;

/* What a step found. */
enum step {
	STEP_AGAIN, /* a message was taken: the next step may follow */
	STEP_MORE,  /* the message is not whole yet */
	STEP_ROOM,  /* it is, but the process it goes to has no room; handshake_resume goes on */
	STEP_WAIT,  /* another process has the session now */
	STEP_OVER   /* the session has left the handshake, or has ended: touch it no more */
};

void handshake_event(struct session *s, uint32_t events);
/* Goes on with what is in the buffer. */
void handshake_run(struct session *s);
/* Takes n octets out of the buffer and wipes where they were. */
void handshake_take(struct session *s, size_t n);
/* Sends octets that may be many: what the client does not take now, it takes before the next step.
 * False: it is gone, and the session has ended. */
bool handshake_send(struct session *s, const void *data, size_t len);
/* The client is known, and what follows is encapsulated if that was agreed: what has come of it
 * already too. False: it was not sound, and the session has ended. */
bool handshake_protected(struct session *s);
/* `timeout handshake` is over. */
void handshake_timeout(struct session *s);
/* There is room again at the master or at authd: all that waited for it goes on. */
void handshake_resume(struct worker *w);

enum step greeting_step(struct session *s);
enum step socks4_step(struct session *s); /* a greeting whose version octet is 4 */
enum step auth_step(struct session *s);
enum step request_step(struct session *s);

#endif
