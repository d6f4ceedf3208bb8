/*
 * The whole way of a rule: from the configuration's text, through the image, to an answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "tests/unit/policy_ask.h"

#define WEB(dest) "src 10.1.0.9 method none cmd connect port 443 " dest

/* The image of a configuration that is in order but for its rules; NULL with errors on stderr. */
static void *
image_of(const char *rules, size_t *size)
{
	char path[] = "/tmp/test_rules_conf.XXXXXX";
	struct image_inputs in = {
		.hosts_path = "/nonexistent", .resolv_conf_path = "/nonexistent", .workers = 1
	};
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	fprintf(f, "listen on 127.0.0.1 port 1080\nlog stderr\n%s\n", rules);
	fclose(f);
	struct conf *c = conf_load(path, NULL, 0, stderr);
	unlink(path);
	void *block = c != NULL ? image_build(c, &in, 1, size) : NULL;
	if (c != NULL)
		conf_free(c);
	return block;
}

static void
expect_conf(const char *rules, const char *query, const char *answer)
{
	size_t size;
	void *block = image_of(rules, &size);
	char got[64];

	assert_non_null(block);
	if (strcmp(ask(block, query, got), answer) != 0)
		fail_msg("\n%s\n  %s\n  got %s, want %s", rules, query, got, answer);
	free(block);
}

static void
test_destinations(void **state)
{
	static const char list[] = "pass from any to { any, !192.0.2.0/24, 127.0.0.1 } auth none";
	static const char merged[] =
	    "table <a> { 10.2.0.0/16, !10.2.9.0/24 }\ntable <b> { 10.3.0.0/16 }\n"
	    "pass from any to { <a>, <b>, 10.2.9.7, WWW.Example.COM., .Test } auth none";

	(void)state;
	expect_conf(list, WEB("name - addr 198.51.100.1"), "pass 1");
	expect_conf(list, WEB("name - addr 2001:db8::1"), "pass 1");
	expect_conf(list, WEB("name - addr 192.0.2.1"), "block -");
	expect_conf(list, WEB("name - addr ::ffff:192.0.2.1"), "block -");
	expect_conf(list, WEB("name - addr 127.0.0.1"), "pass 1");
	expect_conf(list, WEB("name - addr 0.0.0.0"), "pass 1");
	expect_conf(list, WEB("name - addr 127.0.0.2"), "block -");
	expect_conf(list, WEB("name - addr ::1"), "block -");
	expect_conf(merged, WEB("name - addr 10.2.1.1"), "pass 1");
	expect_conf(merged, WEB("name - addr 10.2.9.1"), "block -");
	expect_conf(merged, WEB("name - addr 10.2.9.7"), "pass 1");
	expect_conf(merged, WEB("name - addr 10.3.9.1"), "pass 1");
	expect_conf(merged, WEB("name - addr 10.4.0.1"), "block -");
	expect_conf(merged, WEB("name www.example.com addr 203.0.113.1"), "pass 1");
	expect_conf(merged, WEB("name a.b.test addr 203.0.113.1"), "pass 1");
	expect_conf(merged, WEB("name test addr 203.0.113.1"), "pass 1");
	expect_conf(merged, WEB("name a.test addr 127.0.0.1"), "block -");
	expect_conf("nat64 2001:db8:64::/96\npass from any to 192.0.2.1 auth none",
	    WEB("name - addr 2001:db8:64::192.0.2.1"), "pass 1");
}

static void
test_sources(void **state)
{
	static const char rules[] =
	    "table <branch> { 10.1.0.0/16, !10.1.9.0/24 }\n"
	    "block from 10.1.0.8 to any\n"
	    "pass connect from { <branch>, 10.1.9.5 } to any port { 80, 443-444 } auth none";

	(void)state;
	expect_conf(rules, "src 10.1.0.9", "maybe 2");
	expect_conf(rules, "src 10.1.0.9 name - addr 198.51.100.1 port 443 cmd connect", "pass 2");
	expect_conf(rules, "src 10.1.0.9 port 445", "block -");
	expect_conf(rules, "src 10.1.0.8", "block 1");
	expect_conf(rules, "src 10.1.9.1", "block -");
	expect_conf(rules, "src 10.1.9.5", "maybe 2");
	expect_conf(rules, "src ::ffff:10.1.9.1", "block -");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
