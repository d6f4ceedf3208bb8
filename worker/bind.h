/*
 * BIND (RFC 1928 section 4): a listener of the master's making, the first reply with its address,
 * and the peer that is waited for.
 */
#ifndef WORKER_BIND_H
#define WORKER_BIND_H

#include <stdint.h>

#include "common/addr.h"

struct session;

/* Asks for a listener: for the one peer that was asked for (all-zero: any that the rules let pass)
 * by this rule, or for the addresses of the session's name. The session may have ended when these
 * return. */
void bind_address(struct session *s, const struct addr *peer, uint32_t rule);
void bind_name(struct session *s);
/* The master's answer; takes over fd. */
void bind_listening(
    struct session *s, int fd, const struct addrport *bound, const struct addrport *advertised);
/* The client's socket has something to say while its peer is waited for. */
void bind_client(struct session *s, uint32_t events);
/* The session's deadline is over: the look-up's, or `timeout bind`. */
void bind_timeout(struct session *s);
/* Closes the listener; nothing where there is no BIND. */
void bind_free(struct session *s);

#endif
