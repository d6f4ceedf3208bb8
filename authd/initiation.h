/*
 * One authentication of this gateway to an upstream, from the client's side of RFC 1961: what a
 * thread works on, since the Kerberos library may wait for a KDC.
 */
#ifndef AUTHD_INITIATION_H
#define AUTHD_INITIATION_H

#include <gssapi/gssapi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/encap.h"
#include "common/msg.h"

#define INITIATION_TEXT 320 /* octets: "service@host"; other texts are shorter */

struct initiation {
	/* What is wanted. */
	char target[INITIATION_TEXT]; /* "service@host" */
	char ccache[PATH_MAX_MSG];    /* where there is no keytab */
	char keytab[64];              /* "" : none */
	char principal[PATH_MAX_MSG]; /* of the keytab; "" : its first */
	enum level level;
	/* What the upstream has said, to be taken by the next step. */
	enum token_kind kind;
	uint8_t *in;
	size_t in_len;
	/* What a step leaves: tokens for the upstream (malloc'ed), and a verdict; VERDICT_NONE: it
	 * goes on. */
	uint8_t *context, *wrapped;
	size_t context_len, wrapped_len;
	bool has_context, has_level; /* there is one, perhaps empty */
	enum verdict_code verdict;
	struct encap_params params; /* accepted */
	char why[160];              /* words of the library; "" : none */
	/* Its own. */
	gss_ctx_id_t gss;
	gss_cred_id_t cred;
	bool established;
};

/* One step: the first makes the first token. May block. */
void initiation_step(struct initiation *i);
/* Wipes and frees all that hangs on it. */
void initiation_end(struct initiation *i);

#endif
