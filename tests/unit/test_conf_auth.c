/*
 * The configuration of authentication: `auth gssapi` and what belongs to it, and rules that ask for
 * what no session can have.
 */
#include "tests/unit/conf_text.h"

#define STATEMENTS "a statement auth password file, auth password pam or auth gssapi keytab"
#define KEYTAB     "auth gssapi keytab \"/k\""

static const struct {
	const char *text, *want;
} bad[] = {
	{ "pass auth password",
	    "c.conf:2: the rule asks for auth password and no such method is configured, expected a statement "
	    "auth password file or auth password pam" },
	{ "pass user alice",
	    "c.conf:2: the rule asks for a user or group and no method is configured, expected " STATEMENTS },
	{ "block group g",
	    "c.conf:2: the rule asks for a user or group and no method is configured, expected " STATEMENTS },
	{ "pass from any",
	    "c.conf:2: the rule can never match: it passes authenticated sessions and no method "
	    "is configured, expected auth none on it or " STATEMENTS },
	{ "auth password pam \"other\"\npass user alice auth none",
	    "c.conf:3: the rule can never match: auth none asks for no user, expected auth password or auth gssapi, "
	    "or no user and group" },
	{ "auth password pam \"other\"\nauth prefer none\npass from any",
	    "c.conf:4: the rule can never match: auth prefer leaves out password, expected password in auth "
	    "prefer" },
	{ "auth gssapi keytab k", "c.conf:2: \"k\" is not a keytab, expected an absolute path" },
	{ "auth gssapi", "c.conf:2: the line ends too early, expected keytab" },
	{ KEYTAB "\n" KEYTAB,
	    "c.conf:3: auth gssapi stands a second time, expected it once (first: c.conf:2)" },
	{ KEYTAB " service socks service host",
	    "c.conf:2: service stands a second time, expected it once (first: c.conf:2)" },
	{ KEYTAB " service socks/gateway",
	    "c.conf:2: \"socks/gateway\" is no service, expected the first part of a principal, as socks of "
	    "socks/gateway.example.com" },
	{ KEYTAB " service { socks, socks }",
	    "c.conf:2: service \"socks\" stands twice in the list, expected it once" },
	{ KEYTAB " service \"\"", "c.conf:2: \"\" is no service, expected 1 to 255 octets" },
	{ KEYTAB " allow all",
	    "c.conf:2: auth gssapi cannot allow \"all\", expected clear, nec or expired" },
	{ KEYTAB " allow clear allow { nec, clear }",
	    "c.conf:2: allow clear stands twice in auth gssapi, expected it once" },
	{ KEYTAB " names short", "c.conf:2: unknown names \"short\", expected local or principal" },
	{ KEYTAB " names local names principal",
	    "c.conf:2: names stands a second time, expected it once (first: c.conf:2)" },
	{ KEYTAB " clear",
	    "c.conf:2: unknown word \"clear\", expected the end of the line, allow, names or service" },
	{ "kerberos config krb5.conf",
	    "c.conf:2: \"krb5.conf\" is not a Kerberos configuration, expected an absolute path" },
	{ "kerberos config \"/a\"\nkerberos config \"/b\"",
	    "c.conf:3: kerberos config stands a second time, expected it once (first: c.conf:2)" },
	{ "process acceptor uid 7\nprocess acceptor chroot \"/x\"",
	    "c.conf:3: process acceptor stands a second time, expected it once (first: c.conf:2)" },
	{ "auth prefer gssapi",
	    "c.conf:2: auth prefer has no method that is configured, expected an auth password or auth gssapi "
	    "statement, or none in the list" },
	{ "pass auth gssapi",
	    "c.conf:2: the rule asks for auth gssapi and no such method is configured, expected a statement auth "
	    "gssapi keytab" },
	{ KEYTAB "\npass auth { gssapi, password }",
	    "c.conf:3: the rule asks for auth password and no such method is configured, expected a statement auth "
	    "password file or auth password pam" },
	{ KEYTAB "\npass auth gssapi, gssapi",
	    "c.conf:3: auth gssapi stands twice in a rule, expected it once" },
	{ KEYTAB "\nauth prefer none\npass",
	    "c.conf:4: the rule can never match: auth prefer leaves out gssapi, expected gssapi in auth prefer" },
	{ KEYTAB "\nauth password pam x\nauth prefer none\npass",
	    "c.conf:5: the rule can never match: auth prefer leaves out gssapi and password, expected one of them "
	    "in auth prefer" },
	{ KEYTAB "\nauth password pam x\nauth prefer password\npass auth gssapi",
	    "c.conf:5: the rule can never match: auth prefer leaves out gssapi, expected gssapi in auth prefer" },
	{ KEYTAB "\npass protection clear",
	    "c.conf:3: unknown word \"clear\", expected confidentiality or integrity" },
	{ KEYTAB "\npass protection integrity protection confidentiality",
	    "c.conf:3: protection stands twice in a rule, expected it once, with a list in { }" },
	{ KEYTAB "\nblock protection integrity",
	    "c.conf:3: protection stands in a block rule, which would block the sessions that are protected, "
	    "expected it in a pass rule" },
	{ KEYTAB "\npass auth none protection integrity",
	    "c.conf:3: protection stands beside auth none, which protects nothing, expected auth gssapi" },
	{ KEYTAB "\nauth password pam x\npass auth { none, password } protection integrity",
	    "c.conf:4: protection stands beside auth password, which protects nothing, expected auth gssapi" },
	{ "pass protection integrity",
	    "c.conf:2: the rule asks for protection and auth gssapi is not configured, expected a statement auth "
	    "gssapi keytab" },
	{ KEYTAB "\nauth password pam x\nauth prefer password\npass protection integrity",
	    "c.conf:5: the rule can never match: auth prefer leaves out gssapi, expected gssapi in auth prefer" },
	/* One error brings no second one with it. */
	{ "auth gssapi keytab k\npass auth gssapi protection integrity",
	    "c.conf:2: \"k\" is not a keytab, expected an absolute path" },
};

static void
each_error(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_error(bad[i].text, bad[i].want);
}

static struct conf *
good(const char *text)
{
	char whole[1024], *said;

	snprintf(whole, sizeof(whole), "listen on 127.0.0.1\n%s\n", text);
	struct conf *c = load_text(whole, &said);
	if (c == NULL || said[0] != '\0')
		fail_msg("\"%s\" gave\n%s", text, said);
	free(said);
	return c;
}

static void
what_gssapi_makes(void **state)
{
	(void)state;
	struct conf *c = good(KEYTAB "\npass");
	assert_string_equal(c->gssapi.keytab, "/k");
	assert_int_equal(c->gssapi.flags, 0);
	assert_true(STAILQ_EMPTY(&c->gssapi.services));
	assert_string_equal(c->krb5_conf, "/etc/krb5.conf");
	assert_int_equal(c->prefer_n, 3);
	assert_int_equal(c->prefer[0], METHOD_GSSAPI);
	conf_free(c);
	c = good("process acceptor uid 7 chroot \"/x\"\nkerberos config \"/y\"\n" KEYTAB
		 " names principal allow nec service { socks, rcmd } allow { expired, clear }\n"
		 "auth prefer none, gssapi\npass auth { gssapi, none }\n"
		 "pass auth gssapi protection integrity\npass protection confidentiality");
	assert_int_equal(
	    c->gssapi.flags, GSSAPI_CLEAR | GSSAPI_NEC | GSSAPI_EXPIRED | GSSAPI_PRINCIPAL);
	const struct conf_str *s = STAILQ_FIRST(&c->gssapi.services);
	assert_string_equal(s->s, "socks");
	assert_string_equal(STAILQ_NEXT(s, entry)->s, "rcmd");
	assert_string_equal(c->krb5_conf, "/y");
	assert_int_equal(c->process[ROLE_ACCEPTOR].uid, 7);
	assert_string_equal(c->process[ROLE_ACCEPTOR].chroot, "/x");
	assert_int_equal(c->prefer[1], METHOD_GSSAPI);
	const struct conf_rule *r = STAILQ_FIRST(&c->rules);
	assert_int_equal(r->methods, METHOD_BIT(METHOD_GSSAPI) | METHOD_BIT(METHOD_NONE));
	assert_int_equal(r->protection, PROTECTION_ANY);
	r = STAILQ_NEXT(r, entry);
	assert_int_equal(r->protection, PROTECTION_INTEGRITY);
	assert_int_equal(STAILQ_NEXT(r, entry)->protection, PROTECTION_CONFIDENTIALITY);
	conf_free(c);
	c = good(KEYTAB " names local\npass");
	assert_int_equal(c->gssapi.flags, 0);
	conf_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_error),
		cmocka_unit_test(what_gssapi_makes),
	};

	return cmocka_run_group_tests_name("conf_auth", tests, dir_make, dir_remove);
}
