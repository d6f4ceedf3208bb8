/*
 * UDP ASSOCIATE, RFC 1928 sections 4 and 7: a session whose data are datagrams. The descriptor that
 * its client's datagrams come in on (the relay socket) stands in the session's TARGET side.
 */
#ifndef WORKER_UDP_H
#define WORKER_UDP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/image.h"
#include "common/msg.h"

struct session;
struct worker;

/* The request: the rules, the relay socket, the question to the master. The session may have ended
 * when it returns. */
void udp_associate(struct session *s);
/* The request of a session whose upstream has made a relay: tcp is the connection that it lives by,
 * and via the rule that names it. True: tcp is the association's now. */
bool udp_associate_via(struct session *s, int tcp, const struct addrport *relay,
    const struct image_upstream *up, uint32_t via);
/* The master lets it be: the reply, and datagrams from now on. */
void udp_granted(struct session *s);
/* The TCP connection that the request came on, with which the association ends. */
void udp_control(struct session *s);
/* Datagrams from the client. */
void udp_relay(struct session *s);
/* MSG_TWINNED: the master's answer. False: it was not asked for that. */
bool udp_twinned(struct worker *w, const struct msg *m);
/* `timeout udp` is over. */
void udp_timeout(struct session *s);
/* What was counted, for the closing record; what still waits is counted as dropped. */
void udp_account(struct session *s, struct msg_close *m);
/* Everything but the session's own descriptors; nothing where there is no association. */
void udp_free(struct session *s);

#endif
