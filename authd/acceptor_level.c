/*
 * The protection level, RFC 1961 section 4. The client's octet comes in a token of the context,
 * which GSSAPI checks; the choice is the rules'. What leaves for the worker are the derived keys:
 * the context itself ends here.
 */
#include <gssapi/gssapi_krb5.h>
#include <stdlib.h>
#include <string.h>

#include "authd/acceptor.h"
#include "authd/keys.h"
#include "common/rules.h"

/* RFC 4121 section 4.2.6.2: two octets say that it is a Wrap token, and its number follows the
 * first eight. */
#define WRAP_ID_0 0x05
#define WRAP_ID_1 0x04
#define WRAP_SEQ  8
#define WRAP_HEAD 16

enum level
acceptor_level_choose(unsigned asked, bool clear_allowed, bool demanded)
{
	if (asked >= LEVEL_COUNT)
		return LEVEL_COUNT;
	if (demanded)
		return LEVEL_CONFIDENTIALITY;
	if (asked == LEVEL_CLEAR && !clear_allowed)
		return LEVEL_INTEGRITY;
	return (enum level)asked;
}

/* The number of a Wrap token; false: it is none. */
static bool
wrap_number(const struct acceptor *a, uint64_t *number)
{
	if (a->at < WRAP_HEAD || a->token[0] != WRAP_ID_0 || a->token[1] != WRAP_ID_1)
		return false;
	*number = 0;
	for (unsigned i = 0; i < 8; i++)
		*number = *number << 8 | a->token[WRAP_SEQ + i];
	return true;
}

/* The octet in a token of the context (section 4.3: without confidentiality), and the number of the
 * client's next one. */
static enum verdict_code
octet_unwrap(struct acceptor *a, unsigned *asked, uint64_t *next)
{
	gss_buffer_desc in = { .length = a->at, .value = a->token }, out = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor;
	int confidential = 0;
	enum verdict_code v = VERDICT_GSSAPI;

	/* Read first, because gss_unwrap turns the token in its place, and believed only when that
	 * has vouched for it. SPNEGO's own MICs count too: it is not always the context's first. */
	bool numbered = wrap_number(a, next);
	/* Not GSS_ERROR: a token out of its order is told beside success. */
	if (gss_unwrap(&minor, a->context, &in, &out, &confidential, NULL) == GSS_S_COMPLETE &&
	    numbered) {
		v = VERDICT_LEVEL;
		if (confidential == 0 && out.length == 1) {
			*asked = *(const uint8_t *)out.value;
			v = VERDICT_NONE;
		}
		(*next)++;
	}
	(void)gss_release_buffer(&minor, &out);
	return v;
}

/* a->level_token: the octet as the client asked, wrapped or bare. */
static int
octet_wrap(struct acceptor *a, enum level level, bool bare)
{
	uint8_t octet = (uint8_t)level;
	gss_buffer_desc in = { .length = 1, .value = &octet }, out = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor;
	int confidential;

	if (!bare && gss_wrap(&minor, a->context, 0, GSS_C_QOP_DEFAULT, &in, &confidential, &out) !=
			 GSS_S_COMPLETE)
		return -1;
	size_t len = bare ? 1 : out.length;
	if ((a->level_token = malloc(len)) != NULL) {
		memcpy(a->level_token, bare ? in.value : out.value, len);
		a->level_token_len = len;
	}
	if (!bare)
		(void)gss_release_buffer(&minor, &out);
	return a->level_token != NULL ? 0 : -1;
}

/* The end of the context: its keys, derived, in a->keys. `next`: the client's next number, or 0
 * where it has sent no token yet. */
static int
keys_export(struct acceptor *a, enum level level, uint64_t next)
{
	struct encap_params *p = &a->keys.params;
	void *lucid = NULL;
	OM_uint32 minor;
	int result;

	if (gss_krb5_export_lucid_sec_context(&minor, &a->context, 1, &lucid) != GSS_S_COMPLETE)
		return -1;
	result = keys_derive(lucid, 0, p);
	(void)gss_krb5_free_lucid_sec_context(&minor, lucid);
	if (result == 0) {
		p->level = (uint8_t)level;
		if (next != 0)
			p->receive.seq = next;
	}
	return result;
}

static bool
demanded(const struct exchange *x, const struct image *img)
{
	return rules_wants_confidentiality(
	    img, &x->client.a, x->name, x->name_len, x->groups, x->groups_len);
}

enum verdict_code
acceptor_level_round(struct exchange *x, const struct image *img)
{
	struct acceptor *a = x->check;
	bool bare = a->at == 1 && (img->gssapi & GSSAPI_NEC) != 0;
	unsigned asked = 0;
	uint64_t next = 0;
	OM_uint32 minor, lifetime = 0;
	enum verdict_code v = VERDICT_NONE;

	if (bare)
		asked = a->token[0];
	else
		v = octet_unwrap(a, &asked, &next);
	if (v != VERDICT_NONE)
		return v;
	enum level level =
	    acceptor_level_choose(asked, (img->gssapi & GSSAPI_CLEAR) != 0, demanded(x, img));
	/* Without a token of the client's its next number is not known after SPNEGO, which counts
	 * its own; NEC's clients do not speak that. */
	if (level == LEVEL_COUNT || (bare && a->spnego && level > LEVEL_CLEAR))
		return VERDICT_LEVEL;
	if (gss_context_time(&minor, a->context, &lifetime) != GSS_S_COMPLETE || lifetime == 0)
		lifetime = 0;
	if ((img->gssapi & GSSAPI_EXPIRED) != 0)
		lifetime = UINT32_MAX;
	if (lifetime == 0)
		return VERDICT_TICKET;
	if (octet_wrap(a, level, bare) == -1 ||
	    (level > LEVEL_CLEAR && keys_export(a, level, next) == -1))
		return VERDICT_FAILED;
	a->keys.sid = x->sid;
	a->keys.lifetime = lifetime;
	x->level = (uint8_t)level;
	return VERDICT_ACCEPT;
}
