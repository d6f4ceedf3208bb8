/*
 * The context and the level, as the client of RFC 1961 sections 3 and 4. Trusts the GSSAPI library;
 * what the upstream sends is the library's to judge, and its answer to the level is judged here.
 *
 * RFC 1961 section 3.2 has the client ask for delegation. This one does not: a gateway has no use
 * for its client's tickets, and one that is taken over could use them all. Flags that section 4
 * needs are asked for instead.
 */
#include "authd/initiation.h"

#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "authd/keys.h"

#define FLAGS                                                                            \
	(GSS_C_MUTUAL_FLAG | GSS_C_REPLAY_FLAG | GSS_C_SEQUENCE_FLAG | GSS_C_CONF_FLAG | \
	    GSS_C_INTEG_FLAG)

/* The library's words for the operator. */
static void
explain(struct initiation *i, OM_uint32 major, OM_uint32 minor)
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	OM_uint32 unused, more = 0;
	int type = minor != 0 ? GSS_C_MECH_CODE : GSS_C_GSS_CODE;

	if (gss_display_status(&unused, minor != 0 ? minor : major, type,
		(gss_OID)(uintptr_t)gss_mech_krb5, &more, &text) != GSS_S_COMPLETE)
		return;
	snprintf(i->why, sizeof(i->why), "%.*s", (int)text.length, (const char *)text.value);
	(void)gss_release_buffer(&unused, &text);
}

static enum verdict_code
verdict_of(OM_uint32 major, OM_uint32 minor)
{
	switch ((krb5_error_code)minor) {
	case KRB5KRB_AP_ERR_SKEW:
		return VERDICT_SKEW;
	case KRB5KRB_AP_ERR_TKT_EXPIRED:
	case KRB5KDC_ERR_NAME_EXP:
	case KRB5_CC_NOTFOUND:
	case KRB5_FCC_NOFILE:
	case KRB5_FCC_PERM:
		return VERDICT_TICKET;
	case KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN:
		return VERDICT_SERVICE;
	case KRB5_KDC_UNREACH:
	case KRB5_REALM_CANT_RESOLVE:
		return VERDICT_FAILED;
	}
	switch (GSS_ROUTINE_ERROR(major)) {
	case GSS_S_NO_CRED:
	case GSS_S_DEFECTIVE_CREDENTIAL:
	case GSS_S_CREDENTIALS_EXPIRED:
		return VERDICT_TICKET;
	default:
		return VERDICT_GSSAPI;
	}
}

static void
refused(struct initiation *i, OM_uint32 major, OM_uint32 minor)
{
	i->verdict = verdict_of(major, minor);
	explain(i, major, minor);
}

static OM_uint32
name_of(const char *text, gss_OID type, gss_name_t *name, OM_uint32 *minor)
{
	gss_buffer_desc b = { .length = strlen(text), .value = (void *)(uintptr_t)text };

	return gss_import_name(minor, &b, type, name);
}

/* The credentials: of a keytab, which the library turns into a ticket and renews by itself, or of a
 * cache that another program fills. */
static OM_uint32
acquire(struct initiation *i, OM_uint32 *minor)
{
	gss_key_value_element_desc e[2];
	gss_key_value_set_desc store = { .elements = e };
	gss_name_t name = GSS_C_NO_NAME;
	char memory[sizeof(i->keytab) + 16];
	OM_uint32 major = GSS_S_COMPLETE, unused;

	if (i->keytab[0] != '\0') {
		snprintf(memory, sizeof(memory), "MEMORY:tickets-%s", strrchr(i->keytab, ':') + 1);
		e[store.count++] = (gss_key_value_element_desc){ "client_keytab", i->keytab };
		e[store.count++] = (gss_key_value_element_desc){ "ccache", memory };
	} else {
		e[store.count++] = (gss_key_value_element_desc){ "ccache", i->ccache };
	}
	if (i->principal[0] != '\0')
		major = name_of(i->principal, GSS_C_NT_USER_NAME, &name, minor);
	if (major == GSS_S_COMPLETE)
		major = gss_acquire_cred_from(minor, name, GSS_C_INDEFINITE, GSS_C_NO_OID_SET,
		    GSS_C_INITIATE, &store, &i->cred, NULL, NULL);
	if (name != GSS_C_NO_NAME)
		(void)gss_release_name(&unused, &name);
	return major;
}

static bool
copy_out(const gss_buffer_desc *b, uint8_t **out, size_t *len)
{
	*len = 0;
	if (b->length > TOKEN_MAX || (*out = malloc(b->length + 1)) == NULL)
		return false;
	memcpy(*out, b->value, b->length);
	*len = b->length;
	return true;
}

/* Section 4.4: the level that is asked for, without confidentiality. */
static void
ask_level(struct initiation *i)
{
	uint8_t octet = (uint8_t)i->level;
	gss_buffer_desc in = { .length = 1, .value = &octet }, out = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor, major;

	major = gss_wrap(&minor, i->gss, 0, GSS_C_QOP_DEFAULT, &in, NULL, &out);
	if (major != GSS_S_COMPLETE)
		refused(i, major, minor);
	else if (!(i->has_level = copy_out(&out, &i->wrapped, &i->wrapped_len)))
		i->verdict = VERDICT_FAILED;
	(void)gss_release_buffer(&minor, &out);
}

static void
context_step(struct initiation *i)
{
	gss_buffer_desc in = { .length = i->in_len, .value = i->in }, out = GSS_C_EMPTY_BUFFER;
	gss_name_t target = GSS_C_NO_NAME;
	OM_uint32 minor = 0, major, unused, flags = 0;

	if (i->established) { /* section 3.6: the server has answered our last token with none */
		if (i->in_len > 0)
			i->verdict = VERDICT_GSSAPI;
		else
			ask_level(i);
		return;
	}
	major = i->gss == GSS_C_NO_CONTEXT ? acquire(i, &minor) : GSS_S_COMPLETE;
	if (major == GSS_S_COMPLETE)
		major = name_of(i->target, GSS_C_NT_HOSTBASED_SERVICE, &target, &minor);
	if (major == GSS_S_COMPLETE)
		major = gss_init_sec_context(&minor, i->cred, &i->gss, target,
		    (gss_OID)(uintptr_t)gss_mech_krb5, FLAGS, 0, GSS_C_NO_CHANNEL_BINDINGS, &in,
		    NULL, &out, &flags, NULL);
	(void)gss_release_name(&unused, &target);
	if (GSS_ERROR(major)) {
		refused(i, major, minor);
	} else if (out.length > 0 &&
		   !(i->has_context = copy_out(&out, &i->context, &i->context_len))) {
		i->verdict = VERDICT_FAILED;
	} else if (major == GSS_S_COMPLETE) {
		i->established = true;
		if ((flags & FLAGS) != FLAGS)
			i->verdict = VERDICT_GSSAPI;
		else if (!i->has_context)
			ask_level(i);
	} else if (!i->has_context) {
		i->verdict = VERDICT_GSSAPI; /* it waits for something, and says nothing */
	}
	(void)gss_release_buffer(&unused, &out);
}

/* Section 4.4: "If the server's choice of protection level is unacceptable to the client, then the
 * client must close its connection". Level 3 leaves confidentiality to the sender. */
static bool
acceptable(enum level wanted, uint8_t answer)
{
	if (wanted == LEVEL_CONFIDENTIALITY)
		return answer == LEVEL_CONFIDENTIALITY;
	return answer >= LEVEL_INTEGRITY && answer <= LEVEL_SELECTIVE;
}

static void
export_keys(struct initiation *i, uint8_t level)
{
	void *lucid = NULL;
	OM_uint32 minor, major;

	major = gss_krb5_export_lucid_sec_context(&minor, &i->gss, 1, &lucid);
	if (major != GSS_S_COMPLETE) {
		refused(i, major, minor);
		return;
	}
	/* One token has been taken: the level's. */
	int r = keys_derive(lucid, 1, &i->params);
	(void)gss_krb5_free_lucid_sec_context(&minor, lucid);
	i->params.level = level;
	i->verdict = r == 0 ? VERDICT_ACCEPT : VERDICT_ENCTYPE;
}

static void
level_step(struct initiation *i)
{
	gss_buffer_desc in = { .length = i->in_len, .value = i->in }, out = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor, major;

	if (!i->established || i->in_len == 0) {
		i->verdict = VERDICT_GSSAPI;
		return;
	}
	major = gss_unwrap(&minor, i->gss, &in, &out, NULL, NULL);
	uint8_t level = out.length == 1 ? *(const uint8_t *)out.value : 0;
	/* A token out of turn (a supplementary code) is as wrong as one that does not unwrap. */
	if (major != GSS_S_COMPLETE)
		refused(i, major, minor);
	else if (!acceptable(i->level, level))
		i->verdict = VERDICT_LEVEL;
	else
		export_keys(i, level);
	(void)gss_release_buffer(&minor, &out);
}

void
initiation_step(struct initiation *i)
{
	i->has_context = i->has_level = false;
	if (i->kind == TOKEN_LEVEL)
		level_step(i);
	else
		context_step(i);
}

void
initiation_end(struct initiation *i)
{
	OM_uint32 minor;

	if (i->gss != GSS_C_NO_CONTEXT)
		(void)gss_delete_sec_context(&minor, &i->gss, GSS_C_NO_BUFFER);
	if (i->cred != GSS_C_NO_CREDENTIAL)
		(void)gss_release_cred(&minor, &i->cred);
	free(i->in);
	free(i->context);
	free(i->wrapped);
	explicit_bzero(i, sizeof(*i));
}
