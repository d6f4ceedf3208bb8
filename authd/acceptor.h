/*
 * The acceptor role: GSSAPI's server side (RFC 1961), with a keytab that the master passes.
 */
#ifndef AUTHD_ACCEPTOR_H
#define AUTHD_ACCEPTOR_H

#include <gssapi/gssapi.h>
#include <krb5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "authd/exchange.h"
#include "authd/holding.h"
#include "common/ev.h"
#include "common/image.h"
#include "common/msg.h"

#define ACCEPTOR_ROUNDS 10 /* tokens of one client: SPNEGO takes three, and the level one */

extern const struct check_role acceptor_role;

/* Before the sandbox. 0, or -1 with errno. */
int acceptor_init(struct loop *l, const struct msg_init *init);

/* The keys in force when an exchange began: a reload does not break it. */
struct acceptor_cred {
	unsigned refs;
	gss_cred_id_t gss;
};

/* What an exchange holds (x->check). */
struct acceptor {
	struct exchange *owner;
	struct holding holding;
	/* The client's token as far as it has come; `kind` is 0 before the first. */
	uint8_t *token; /* malloc'ed */
	uint32_t total, at;
	uint8_t kind; /* enum token_kind */

	unsigned rounds;
	struct acceptor_cred *cred;
	gss_ctx_id_t context;
	bool complete; /* the context is: the level is next */
	bool spnego;

	/* For the client, once the master has the verdict. */
	uint8_t *level_token; /* malloc'ed */
	size_t level_token_len;
	struct msg_auth_keys keys;
};

/* --- acceptor_token.c: pieces become tokens --- */

/* AUTH_TOKEN. False: refused. */
bool acceptor_piece(struct worker *w, const struct msg *m);
/* The token is not needed any more. */
void acceptor_token_drop(struct exchange *x);
/* Nothing of x is. */
void acceptor_holding_drop(struct exchange *x);
void acceptor_worker_begin(struct worker *w);
void acceptor_worker_end(struct worker *w);
/* So many slots a worker has. */
void acceptor_token_init(const struct msg_init *init);

/* --- acceptor_context.c: rounds of gss_accept_sec_context --- */

/* Takes x's token. VERDICT_NONE: the exchange goes on, and the reply has been sent. */
enum verdict_code acceptor_context_round(struct exchange *x, const struct image *img);
/* Configuration of libkrb5 in force, for names; read anew at each reload. 0, or an error's code. */
krb5_error_code acceptor_names_load(void);

/* --- acceptor_level.c: the protection level, RFC 1961 section 4 --- */

/* VERDICT_ACCEPT: level, answer and keys are in x. */
enum verdict_code acceptor_level_round(struct exchange *x, const struct image *img);

/* What a client that asks for this is answered; LEVEL_COUNT: nothing that may be. */
enum level acceptor_level_choose(unsigned asked, bool clear_allowed, bool demanded);

#endif
