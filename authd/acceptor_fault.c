/*
 * The meaning of errors. Trusts libgssapi's numbers; a client can only choose among them.
 */
#include "authd/acceptor_fault.h"

#include <krb5.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* In the texts that name the principal. */
#define NOT_FOUND "not found in keytab"

static const struct {
	krb5_error_code code;
	enum verdict_code verdict;
} meanings[] = {
	{ KRB5KRB_AP_ERR_REPEAT, VERDICT_REPLAY },
	{ KRB5KRB_AP_ERR_SKEW, VERDICT_SKEW },
	{ KRB5KRB_AP_ERR_TKT_EXPIRED, VERDICT_TICKET },
	{ KRB5KRB_AP_ERR_TKT_NYV, VERDICT_TICKET },
	{ KRB5KRB_AP_ERR_TKT_INVALID, VERDICT_TICKET },
	{ KRB5KRB_AP_WRONG_PRINC, VERDICT_SERVICE },
	{ KRB5KRB_AP_ERR_NOT_US, VERDICT_SERVICE },
	{ KRB5KRB_AP_ERR_NOKEY, VERDICT_SERVICE },
	{ KRB5KRB_AP_ERR_BADKEYVER, VERDICT_SERVICE },
	{ KRB5_KT_NOTFOUND, VERDICT_SERVICE },
	{ KRB5_KT_KVNONOTFOUND, VERDICT_SERVICE },
	{ KRB5_BAD_ENCTYPE, VERDICT_ENCTYPE },
	{ KRB5_PROG_ETYPE_NOSUPP, VERDICT_ENCTYPE },
	{ KRB5_NOPERM_ETYPE, VERDICT_ENCTYPE },
	/* of our own side: the replay cache cannot be used */
	{ KRB5_RC_IO, VERDICT_FAILED },
	{ KRB5_RC_IO_PERM, VERDICT_FAILED },
	{ KRB5_RC_IO_SPACE, VERDICT_FAILED },
	{ KRB5_RC_IO_UNKNOWN, VERDICT_FAILED },
};

/* libgssapi gives SPNEGO's errors numbers of its own, and only their texts are libkrb5's: a text of
 * another version or language costs no more than an exact word in the audit trail. */
static enum verdict_code
by_text(OM_uint32 minor, gss_OID mech)
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	OM_uint32 unused, more = 0;
	enum verdict_code v = VERDICT_NONE;

	if (gss_display_status(&unused, minor, GSS_C_MECH_CODE, mech, &more, &text) !=
	    GSS_S_COMPLETE)
		return v;
	for (size_t i = 0; v == VERDICT_NONE && i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		const char *plain = krb5_get_error_message(NULL, meanings[i].code);

		if (plain != NULL && strlen(plain) == text.length &&
		    memcmp(plain, text.value, text.length) == 0)
			v = meanings[i].verdict;
		krb5_free_error_message(NULL, plain);
	}
	if (v == VERDICT_NONE &&
	    memmem(text.value, text.length, NOT_FOUND, sizeof(NOT_FOUND) - 1) != NULL)
		v = VERDICT_SERVICE;
	(void)gss_release_buffer(&unused, &text);
	return v;
}

enum verdict_code
acceptor_fault(OM_uint32 major, OM_uint32 minor, gss_OID mech)
{
	enum verdict_code v;

	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		if ((OM_uint32)meanings[i].code == minor)
			return meanings[i].verdict;
	}
	if ((v = by_text(minor, mech)) != VERDICT_NONE)
		return v;
	switch (GSS_ROUTINE_ERROR(major)) {
	case GSS_S_DUPLICATE_TOKEN:
		return VERDICT_REPLAY;
	case GSS_S_CREDENTIALS_EXPIRED:
	case GSS_S_CONTEXT_EXPIRED:
		return VERDICT_TICKET;
	default:
		return VERDICT_GSSAPI;
	}
}
