/*
 * The acceptor role. Owns the keytab in force and the environment that libkrb5 works in. Whom it
 * trusts: the master, for the keytab and the directory; a client's token is GSSAPI's to judge.
 *
 * libkrb5 reads its configuration when keytab and configuration come into force, and opens the
 * replay cache for each client. Both are in the one directory that this process may still open
 * files in, which is its working directory (and its root, where there is a chroot): their names are
 * relative.
 */
#include "authd/acceptor.h"

#include <errno.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "authd/keys.h"
#include "authd/keytab.h"
#include "authd/link.h"
#include "authd/pieces.h"
#include "authd/wipe.h"
#include "common/child.h"

#define CONFIGURATION "krb5.conf"
#define REPLAY_CACHE  "file2:rcache" /* without it, a replay would be accepted */

static struct {
	krb5_context k;
	bool asked;                 /* the master has sent a keytab, good or not */
	struct acceptor_cred *cred; /* NULL: none could be read yet */
	uint32_t keys;
} here;

/* --- credentials --- */

static gss_OID_desc mech_krb5 = { 9, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02" };
static gss_OID_desc mech_spnego = { 6, "\x2b\x06\x01\x05\x05\x02" };

static void
cred_put(struct acceptor_cred *c)
{
	OM_uint32 minor;

	if (c == NULL || --c->refs > 0)
		return;
	(void)gss_release_cred(&minor, &c->gss);
	free(c);
}

/* Of a keytab in memory, which libgssapi then holds; SPNEGO may choose Kerberos alone. */
static struct acceptor_cred *
cred_new(const char *keytab)
{
	gss_OID_desc both[] = { mech_krb5, mech_spnego };
	gss_OID_set_desc mechs = { 2, both }, krb5 = { 1, &mech_krb5 };
	gss_key_value_element_desc elements[] = { { "keytab", keytab },
		{ "rcache", REPLAY_CACHE } };
	gss_key_value_set_desc store = { 2, elements };
	struct acceptor_cred *c = calloc(1, sizeof(*c));
	OM_uint32 minor;

	if (c == NULL)
		return NULL;
	c->refs = 1;
	if (gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &mechs, GSS_C_ACCEPT,
		&store, &c->gss, NULL, NULL) == GSS_S_COMPLETE &&
	    gss_set_neg_mechs(&minor, c->gss, &krb5) == GSS_S_COMPLETE)
		return c;
	cred_put(c);
	return NULL;
}

/* The new keytab's credentials come into force, or an error's text into `what`. */
static void
keytab_take(int fd, char *what, size_t what_size)
{
	char name[KEYTAB_MEMORY_NAME];
	krb5_keytab kt;
	int keys = keytab_load(here.k, fd, &kt, name, what, what_size);

	if (keys == -1)
		return;
	struct acceptor_cred *c = cred_new(name);
	krb5_kt_close(here.k, kt);
	if (c == NULL || acceptor_names_load() != 0) {
		snprintf(what, what_size,
		    c == NULL ? "GSSAPI does not take it" : "krb5.conf cannot be read");
		cred_put(c);
		return;
	}
	cred_put(here.cred);
	here.cred = c;
	here.keys = (uint32_t)keys;
}

static bool
acceptor_keytab(const struct msg *m)
{
	struct msg_keytab_ack ack = { 0 };
	struct msg_keytab k;

	memcpy(&k, m->payload, sizeof(k));
	if (k.index != 0)
		return false;
	here.asked = true;
	keytab_take(m->fd, ack.what, sizeof(ack.what));
	ack.keys = here.keys;
	(void)chan_send(link_master(), MSG_KEYTAB_ACK, &ack, sizeof(ack), -1);
	exchange_room();
	return true;
}

/* --- rounds --- */

static bool
acceptor_room(void)
{
	return here.asked && link_image() != NULL;
}

static void
acceptor_begin(struct exchange *x)
{
	struct acceptor *a = x->check;
	enum verdict_code v = VERDICT_FAILED;

	if (a->cred == NULL && (a->cred = here.cred) != NULL)
		a->cred->refs++;
	if (a->cred != NULL)
		v = a->complete ? acceptor_level_round(x, link_image())
				: acceptor_context_round(x, link_image());
	wipe_stack();
	if (v == VERDICT_NONE) {
		acceptor_token_drop(x);
		exchange_next(x);
	} else
		exchange_done(x, v);
}

/* Design, "A session, message by message", 1: only now, when the master has the verdict. */
static void
acceptor_accepted(struct exchange *x)
{
	struct acceptor *a = x->check;

	pieces_send(&x->worker->chan, x->sid, TOKEN_LEVEL, a->level_token, a->level_token_len);
	(void)chan_send(&x->worker->chan, MSG_AUTH_KEYS, &a->keys, sizeof(a->keys), -1);
}

static void
acceptor_release(struct exchange *x)
{
	struct acceptor *a = x->check;
	OM_uint32 minor;

	if (a->context != GSS_C_NO_CONTEXT)
		(void)gss_delete_sec_context(&minor, &a->context, GSS_C_NO_BUFFER);
	cred_put(a->cred);
	a->cred = NULL;
	acceptor_holding_drop(x);
}

static void
acceptor_forget(struct exchange *x)
{
	struct acceptor *a = x->check;

	free(a->level_token);
	explicit_bzero(a, sizeof(*a));
	free(a);
	x->check = NULL;
}

/* --- the start --- */

/* All that libgssapi and libkrb5 open once: an acceptor with an empty keytab, a name. */
static int
warm_up(void)
{
	krb5_keytab kt;

	if (krb5_init_context(&here.k) != 0 || acceptor_names_load() != 0 ||
	    krb5_kt_resolve(here.k, "MEMORY:0", &kt) != 0)
		return -1;
	cred_put(cred_new("MEMORY:0")); /* none comes of it: it is empty */
	krb5_kt_close(here.k, kt);
	return 0;
}

int
acceptor_init(struct loop *l, const struct msg_init *init)
{
	(void)l;
	acceptor_token_init(init);
	/* Nothing of the machine's mechanisms, caches or traces. */
	if (chdir(init->directory) == -1 || clearenv() != 0 ||
	    setenv("KRB5_CONFIG", CONFIGURATION, 1) == -1 ||
	    setenv("GSS_MECH_CONFIG", "no-mechanisms", 1) == -1 || keys_init() == -1)
		return -1;
	if (warm_up() == 0)
		return 0;
	errno = EINVAL;
	return -1;
}

const struct check_role acceptor_role = {
	.method = METHOD_GSSAPI,
	.at_once = true,
	.room = acceptor_room,
	.begin = acceptor_begin,
	.accepted = acceptor_accepted,
	.release = acceptor_release,
	.forget = acceptor_forget,
	.worker_begin = acceptor_worker_begin,
	.worker_end = acceptor_worker_end,
	.token = acceptor_piece,
	.keytab = acceptor_keytab,
};
