/*
 * Rounds of a context, and who the client then is. GSSAPI judges the tokens; what is ours is which
 * service, which encryption type and which names are served. Delegated credentials are never asked
 * for, so libgssapi keeps none.
 */
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "authd/acceptor.h"
#include "authd/acceptor_fault.h"
#include "authd/contexts.h"
#include "authd/pieces.h"
#include "common/encap.h"

#define PRINCIPAL_MAX 1024 /* octets of one as text; a longer one has no name here */

/* The shared one that the names of now are read by. */
static krb5_context names;

krb5_error_code
acceptor_names_load(void)
{
	krb5_context k;
	krb5_principal nobody;
	krb5_error_code code = contexts_share();
	char name[USER_MAX + 1];

	if (code != 0 || (code = krb5_init_context(&k)) != 0)
		return code;
	/* Its plug-ins are loaded at the first name. */
	if (krb5_parse_name(k, "nobody@INVALID", &nobody) == 0) {
		(void)krb5_aname_to_localname(k, nobody, sizeof(name), name);
		krb5_free_principal(k, nobody);
	}
	if (names != NULL)
		krb5_free_context(names);
	names = k;
	return 0;
}

/* --- names --- */

/* A name as text and as a principal, without NULs. 0 or -1. */
static int
principal_of(gss_name_t name, char text[PRINCIPAL_MAX + 1], krb5_principal *principal)
{
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor;
	int result = -1;

	if (gss_display_name(&minor, name, &out, NULL) == GSS_S_COMPLETE &&
	    out.length <= PRINCIPAL_MAX && memchr(out.value, '\0', out.length) == NULL) {
		memcpy(text, out.value, out.length);
		text[out.length] = '\0';
		if (krb5_parse_name(names, text, principal) == 0)
			result = 0;
	}
	(void)gss_release_buffer(&minor, &out);
	return result;
}

/* A NUL is where libkrb5's local names end, so that what is behind it would count for nothing. */
static bool
principal_plain(krb5_const_principal p)
{
	for (int i = 0; i < p->length; i++) {
		if (p->data[i].length > 0 &&
		    memchr(p->data[i].data, '\0', p->data[i].length) != NULL)
			return false;
	}
	return memchr(p->realm.data, '\0', p->realm.length) == NULL;
}

/* x->name, by the configuration; VERDICT_NONE: it has one. */
static enum verdict_code
user_of(struct exchange *x, const struct image *img, gss_name_t client)
{
	char text[PRINCIPAL_MAX + 1], local[USER_MAX + 1];
	const char *name = text;
	krb5_principal p;
	enum verdict_code v = VERDICT_NO_NAME;

	if (principal_of(client, text, &p) == -1)
		return v;
	size_t len = strlen(text);
	x->user_len = (uint8_t)(len < USER_MAX ? len : USER_MAX);
	memcpy(x->user, text, x->user_len);
	if (principal_plain(p) &&
	    !krb5_principal_compare_any_realm(names, p, krb5_anonymous_principal())) {
		if ((img->gssapi & GSSAPI_PRINCIPAL) == 0)
			name = krb5_aname_to_localname(names, p, sizeof(local), local) == 0 ? local
											    : "";
		len = strlen(name);
		if (len > 0 && len <= USER_MAX) {
			memcpy(x->name, name, len);
			x->name_len = (uint8_t)len;
			v = VERDICT_NONE;
		}
	}
	krb5_free_principal(names, p);
	return v;
}

/* Is the principal of ours that the client used one of those that are named? Where none is, it is
 * not asked for: libgssapi takes as long for it as for the client's. */
static bool
service_served(const struct image *img, gss_ctx_id_t context)
{
	const struct image_str *s = image_at(img, img->gssapi_services);
	gss_name_t service = GSS_C_NO_NAME;
	char text[PRINCIPAL_MAX + 1];
	krb5_principal p;
	OM_uint32 minor;
	bool served = img->gssapi_services.n == 0;

	if (served || gss_inquire_context(&minor, context, NULL, &service, NULL, NULL, NULL, NULL,
			  NULL) != GSS_S_COMPLETE)
		return served;
	if (service != GSS_C_NO_NAME && principal_of(service, text, &p) == 0) {
		for (uint32_t i = 0; !served && p->length > 0 && i < img->gssapi_services.n; i++)
			served = s[i].len == p->data[0].length &&
				 memcmp(image_octets(img, s[i]), p->data[0].data, s[i].len) == 0;
		krb5_free_principal(names, p);
	}
	(void)gss_release_name(&minor, &service);
	return served;
}

/* --- the context --- */

/* The number of the encryption type of the key that protects messages; 0: none is known. */
static unsigned
enctype_of(gss_ctx_id_t context)
{
	gss_buffer_set_t set = GSS_C_NO_BUFFER_SET;
	OM_uint32 minor;
	unsigned enctype = 0;

	/* The key, and an object identifier whose last arc is its type: below 128, one octet. */
	if (gss_inquire_sec_context_by_oid(&minor, context, GSS_C_INQ_SSPI_SESSION_KEY, &set) ==
		GSS_S_COMPLETE &&
	    set->count == 2 && set->elements[1].length > 0)
		enctype = ((const uint8_t *)set->elements[1].value)[set->elements[1].length - 1];
	for (size_t i = 0; set != GSS_C_NO_BUFFER_SET && i < set->count; i++)
		explicit_bzero(set->elements[i].value, set->elements[i].length);
	(void)gss_release_buffer_set(&minor, &set);
	return enctype;
}

static bool
enctype_is_aes(unsigned enctype)
{
	return enctype == ENCTYPE_AES128_SHA1 || enctype == ENCTYPE_AES256_SHA1 ||
	       enctype == ENCTYPE_AES128_SHA256 || enctype == ENCTYPE_AES256_SHA384;
}

/* The context is there: may this client be who it is, to this service, with this key? */
static enum verdict_code
established(struct exchange *x, const struct image *img)
{
	struct acceptor *a = x->check;
	gss_name_t client = GSS_C_NO_NAME;
	OM_uint32 minor, flags = 0;
	enum verdict_code v = VERDICT_GSSAPI;

	if (gss_inquire_context(&minor, a->context, &client, NULL, NULL, NULL, &flags, NULL,
		NULL) == GSS_S_COMPLETE &&
	    client != GSS_C_NO_NAME) {
		v = user_of(x, img, client);
		if (!service_served(img, a->context))
			v = VERDICT_SERVICE;
		else if (!enctype_is_aes(enctype_of(a->context)))
			v = VERDICT_ENCTYPE;
		else if ((flags & GSS_C_ANON_FLAG) != 0)
			v = VERDICT_NO_NAME;
	}
	(void)gss_release_name(&minor, &client);
	return v;
}

enum verdict_code
acceptor_context_round(struct exchange *x, const struct image *img)
{
	struct acceptor *a = x->check;
	gss_buffer_desc in = { .length = a->at, .value = a->at > 0 ? a->token : (void *)"" };
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	gss_OID mech = GSS_C_NO_OID;
	OM_uint32 major, minor, unused;
	enum verdict_code v = VERDICT_NONE;

	major = gss_accept_sec_context(&minor, &a->context, a->cred->gss, &in,
	    GSS_C_NO_CHANNEL_BINDINGS, NULL, &mech, &out, NULL, NULL, NULL);
	if (GSS_ERROR(major))
		v = acceptor_fault(major, minor, mech);
	else if (out.length > TOKEN_MAX)
		v = VERDICT_FAILED;
	else if ((major & GSS_S_CONTINUE_NEEDED) == 0) {
		a->complete = true;
		v = established(x, img);
	}
	/* A token beside an error says more than the client needs to know: RFC 1961 section 3.7
	 * has an octet for that. Complete without one, it is told so with an empty one (3.6). */
	if (v == VERDICT_NONE)
		pieces_send(&x->worker->chan, x->sid, TOKEN_CONTEXT, out.value, out.length);
	(void)gss_release_buffer(&unused, &out);
	return v;
}
