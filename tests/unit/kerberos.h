/*
 * A realm (tests/kdc) and pairs of MIT's own contexts, one side of which is exported to be ours:
 * for the tests of keys and tokens. In a header, because every tests/unit/test_*.c is a program of
 * its own.
 */
#ifndef TESTS_UNIT_KERBEROS_H
#define TESTS_UNIT_KERBEROS_H

#include <gssapi/gssapi_krb5.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "authd/keys.h"
#include "worker/token.h"

static char realm_dir[] = "/tmp/sallyport-test-realm.XXXXXX";

static inline int
kdc(const char *command)
{
	const char *top = getenv("SALLYPORT_TOP");
	char line[512];

	snprintf(line, sizeof(line), "%s/tests/kdc %s %s >/dev/null </dev/null",
	    top != NULL ? top : ".", command, realm_dir);
	return system(line) == 0 ? 0 : -1;
}

static inline void
set(const char *name, const char *format, ...)
{
	char value[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(value, sizeof(value), format, ap);
	va_end(ap);
	setenv(name, value, 1);
}

static inline int
realm_start(void **state)
{
	(void)state;
	if (mkdtemp(realm_dir) == NULL || kdc("start") == -1 || keys_init() == -1 ||
	    token_init() == -1)
		return -1;
	set("KRB5_KTNAME", "FILE:%s/keytab", realm_dir);
	set("KRB5_CLIENT_KTNAME", "FILE:%s/alice.keytab", realm_dir);
	set("KRB5RCACHENAME", "none:");
	return 0;
}
static inline int
realm_stop(void **state)
{
	(void)state;
	return kdc("stop");
}

/* --- a context with MIT on one side --- */

struct pair {
	gss_ctx_id_t mit;
	struct encap_params ours; /* level 3 */
};

/* A context of one enctype is established between two of MIT's sides. */
static inline void
establish(uint32_t enctype, bool mutual, gss_ctx_id_t *initiator, gss_ctx_id_t *acceptor)
{
	char text[] = "socks@gateway.test";
	gss_buffer_desc name = { sizeof(text) - 1, text }, to = { 0, NULL }, from = { 0, NULL },
			last = { 0, NULL };
	OM_uint32 minor, flags = GSS_C_CONF_FLAG | GSS_C_INTEG_FLAG | GSS_C_REPLAY_FLAG |
				 GSS_C_SEQUENCE_FLAG | (mutual ? GSS_C_MUTUAL_FLAG : 0);
	gss_name_t target;

	*initiator = *acceptor = GSS_C_NO_CONTEXT;
	assert_int_equal(
	    gss_import_name(&minor, &name, GSS_C_NT_HOSTBASED_SERVICE, &target), GSS_S_COMPLETE);
	set("KRB5_CONFIG", "%s/krb5-%u.conf", realm_dir, enctype);
	set("KRB5CCNAME", "MEMORY:%u", enctype);
	assert_int_equal(gss_init_sec_context(&minor, GSS_C_NO_CREDENTIAL, initiator, target,
			     GSS_C_NO_OID, flags, 0, NULL, NULL, NULL, &to, NULL, NULL),
	    mutual ? GSS_S_CONTINUE_NEEDED : GSS_S_COMPLETE);
	set("KRB5_CONFIG", "%s/krb5.conf", realm_dir);
	assert_int_equal(gss_accept_sec_context(&minor, acceptor, GSS_C_NO_CREDENTIAL, &to, NULL,
			     NULL, NULL, &from, NULL, NULL, NULL),
	    GSS_S_COMPLETE);
	set("KRB5_CONFIG", "%s/krb5-%u.conf", realm_dir, enctype);
	if (mutual)
		assert_int_equal(
		    gss_init_sec_context(&minor, GSS_C_NO_CREDENTIAL, initiator, target,
			GSS_C_NO_OID, flags, 0, NULL, &from, NULL, &last, NULL, NULL),
		    GSS_S_COMPLETE);
	gss_release_buffer(&minor, &to);
	gss_release_buffer(&minor, &from);
	gss_release_buffer(&minor, &last);
	gss_release_name(&minor, &target);
}

/* Our side is made of the exported context, after it took so many tokens. */
static inline void export(gss_ctx_id_t *ctx, unsigned taken, struct encap_params *out)
{
	OM_uint32 minor;
	void *lucid;

	assert_int_equal(gss_krb5_export_lucid_sec_context(&minor, ctx, 1, &lucid), GSS_S_COMPLETE);
	assert_int_equal(keys_derive(lucid, taken, out), 0);
	assert_int_equal(gss_krb5_free_lucid_sec_context(&minor, lucid), GSS_S_COMPLETE);
	if (*ctx != GSS_C_NO_CONTEXT)
		gss_delete_sec_context(&minor, ctx, NULL);
}

static inline struct pair
pair_new(uint32_t enctype, bool ours_accepts, bool mutual)
{
	gss_ctx_id_t initiator, acceptor;
	struct pair p;

	establish(enctype, mutual, &initiator, &acceptor);
	export(ours_accepts ? &acceptor : &initiator, 0, &p.ours);
	p.mit = ours_accepts ? initiator : acceptor;
	assert_int_equal(p.ours.enctype, enctype);
	assert_int_equal(p.ours.acceptor, ours_accepts);
	assert_int_equal(p.ours.subkey, mutual);
	p.ours.level = LEVEL_SELECTIVE;
	return p;
}

static inline void
pair_free(struct pair *p)
{
	OM_uint32 minor;

	gss_delete_sec_context(&minor, &p->mit, NULL);
}

#endif
