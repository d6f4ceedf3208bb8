/*
 * A worker's side of authentication: its channels to the processes of authd, and the exchange of
 * each method.
 */
#ifndef WORKER_AUTH_H
#define WORKER_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/msg.h"
#include "worker/handshake.h"
#include "worker/worker.h"

struct session;

/* A (new) channel to authd in this role; what waited for an old one fails. 0 or -1, errno. */
int auth_peer(struct worker *w, int fd, enum role role, uint32_t spawn);
/* May something be asked of it now? */
bool auth_ready(const struct worker *w, enum service v);
/* Asks, or goes on in what was asked: from now on an answer is owed. 0, or -1: it cannot be. */
int auth_ask(struct session *s, enum service v, enum msg_type t, const void *head, size_t head_len,
    const void *tail, size_t tail_len);
/* Tells authd that the client has gone, if it works for it. */
void auth_abort(struct session *s);
/* Turns a client away, in the words of its method. */
void auth_denied(struct session *s, enum reason why);
/* `timeout handshake` is over. */
void auth_timeout(struct session *s);
/* The session that a service's message is for, as far as it may be sent now: NULL with *sane true
 * where what it belongs to has ended meanwhile. */
struct session *auth_session(struct worker *w, enum service v, struct sid sid, bool *sane);

/* --- auth_password.c: RFC 1929 --- */

enum step auth_password_step(struct session *s);
/* The octets that end it; their length. */
size_t auth_password_final(bool accepted, uint8_t out[2]);

/* --- auth_gssapi.c: RFC 1961 --- */

enum step auth_gssapi_step(struct session *s);
/* The abort message, where one can still be told from a token; its length. */
size_t auth_gssapi_abort(const struct session *s, uint8_t out[2]);
/* Messages of the acceptor; false: refused. */
bool auth_gssapi_reply(struct worker *w, const struct msg *m);
bool auth_gssapi_keys(struct worker *w, const struct msg *m);
/* May it give this result now? */
bool auth_gssapi_may_end(const struct session *s, const struct msg_auth_result *r);

#endif
