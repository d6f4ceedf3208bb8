/*
 * What becomes of a configuration, hosts and resolv.conf in the policy image.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "master/image_parts.h"
#include "tests/unit/policy.h"

static char dir[] = "/tmp/test_image_build.XXXXXX";

static int
setup(void **state)
{
	(void)state;
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

/* A file of this text; the caller unlinks it. */
static const char *
file(struct policy *p, const char *name, const char *text, size_t len)
{
	char *path = policy_keep(p, 128);

	snprintf(path, 128, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
	return path;
}

/* The addresses of a name, joined; "-" where there is none. */
static const char *
host(const struct image *img, const char *name, char out[4096])
{
	const struct image_host *h = image_host(img, (const uint8_t *)name, strlen(name));
	char text[ADDR_TEXT];

	strcpy(out, h == NULL ? "-" : "");
	if (h == NULL)
		return out;
	const struct addr *a = image_at(img, h->addrs);
	for (uint32_t i = 0; i < h->addrs.n; i++) {
		strcat(out, i > 0 ? " " : "");
		strcat(out, addr_format(&a[i], text, sizeof(text)));
	}
	return out;
}

static struct policy *
with_hosts(const char *text, size_t len)
{
	struct policy *p = policy_parse("");

	p->hosts = file(p, "hosts", text, len);
	assert_non_null(policy_image(p));
	unlink(p->hosts);
	return p;
}

static void
test_hosts(void **state)
{
	static const char text[] = "# comment\n"
				   "127.0.0.1 localhost\n"
				   "::1\tLocalHost ip6-localhost # the same machine\n"
				   "\n   \t \n"
				   "192.0.2.1  WWW.Example.COM. www\r\n"
				   "192.0.2.1 www\n"
				   "192.0.2.2 www\n"
				   " 2001:db8::2 www\n"
				   "fe80::1%lo scoped\n"
				   "192.0.2.300 bad1\n"
				   "bad2 192.0.2.9\n"
				   "192.0.2.9\n"
				   "192.0.2.9 a..b .c 1.2.3.4 0x7f.1 ok#not\n"
				   "192.0.2.9 nul\0name after\n"
				   "192.0.2.10 last";
	struct policy *p = with_hosts(text, sizeof(text) - 1);
	char out[4096];

	(void)state;
	assert_string_equal(host(p->img, "localhost", out), "127.0.0.1 ::1");
	assert_string_equal(host(p->img, "ip6-localhost", out), "::1");
	assert_string_equal(host(p->img, "www.example.com", out), "192.0.2.1");
	assert_string_equal(host(p->img, "www", out), "192.0.2.1 192.0.2.2 2001:db8::2");
	assert_string_equal(host(p->img, "ok", out), "192.0.2.9");
	assert_string_equal(host(p->img, "after", out), "192.0.2.9");
	assert_string_equal(host(p->img, "last", out), "192.0.2.10");
	static const char *const none[] = { "scoped", "bad1", "bad2", "192.0.2.9", "a..b", "a", "b",
		"c", "nul", "1.2.3.4", "0x7f.1", "not", "okcomment", "#", "comment" };
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_string_equal(host(p->img, none[i], out), "-");
	assert_int_equal(p->img->hosts.n, 7);
	policy_free(p);
}

/* A name with very many addresses, very many names, a line and a word without end. */
static void
test_hosts_large(void **state)
{
	size_t size = 8u << 20, n = 0;
	char *text = malloc(size), out[4096], name[32];

	(void)state;
	for (int i = 0; i < 100; i++)
		n += (size_t)snprintf(
		    text + n, size - n, "192.0.2.%d many\n2001:db8::%x many\n", i, i + 1);
	for (int i = 0; i < 100000; i++)
		n += (size_t)snprintf(text + n, size - n, "10.%d.%d.%d h%d.test\n", i >> 16,
		    i >> 8 & 255, i & 255, i);
	n += (size_t)snprintf(text + n, size - n, "192.0.2.77 ");
	memset(text + n, 'x', 100000);
	n += 100000;
	n += (size_t)snprintf(text + n, size - n, " behind\n");
	struct policy *p = with_hosts(text, n);
	assert_int_equal(p->img->hosts.n, 100002);
	for (int i = 0; i < 100000; i += 997) {
		snprintf(name, sizeof(name), "h%d.test", i);
		assert_string_not_equal(host(p->img, name, out), "-");
	}
	assert_string_equal(host(p->img, "behind", out), "192.0.2.77");
	const struct image_host *h = image_host(p->img, (const uint8_t *)"many", 4);
	assert_int_equal(h->addrs.n, 2 * ANSWER_ADDRS);
	policy_free(p);
	free(text);
}

/* Not there, a directory, a FIFO: empty, and no wait. */
static void
test_unreadable(void **state)
{
	struct policy *p = policy_parse("");
	char path[128];

	(void)state;
	p->hosts = p->resolv = dir;
	assert_non_null(policy_image(p));
	assert_int_equal(p->img->hosts.n, 0);
	assert_int_equal(p->img->servers.n, 1);
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	p->hosts = p->resolv = path;
	assert_non_null(policy_image(p));
	assert_int_equal(p->img->hosts.n, 0);
	unlink(path);
	assert_non_null(policy_image(p));
	policy_free(p);
}

static void
expect_resolv(const char *text, const char *servers, uint32_t timeout, uint32_t attempts)
{
	struct policy *p = policy_parse("");
	char got[1024] = "", one[ADDR_TEXT];

	p->resolv = file(p, "resolv.conf", text, strlen(text));
	assert_non_null(policy_image(p));
	unlink(p->resolv);
	const struct addrport *ap = image_at(p->img, p->img->servers);
	for (uint32_t i = 0; i < p->img->servers.n; i++) {
		strcat(got, i > 0 ? " " : "");
		strcat(got, addrport_format(&ap[i], one, sizeof(one)));
	}
	assert_string_equal(got, servers);
	assert_int_equal(p->img->dns_timeout, timeout);
	assert_int_equal(p->img->dns_attempts, attempts);
	policy_free(p);
}

static void
test_resolv(void **state)
{
	(void)state;
	expect_resolv("", "127.0.0.1:53", 5000, 2);
	expect_resolv("nameserver 192.0.2.53\n", "192.0.2.53:53", 5000, 2);
	expect_resolv(
	    "# x\n; nameserver 1.1.1.1\nnameserver\t2001:db8::53\nnameserver 192.0.2.53 # y",
	    "[2001:db8::53]:53 192.0.2.53:53", 5000, 2);
	expect_resolv("nameserver fe80::1%lo\nnameserver fe80::2%7\n",
	    "[fe80::1%1]:53 [fe80::2%7]:53", 5000, 2);
	expect_resolv(
	    "nameserver fe80::1%nosuchinterface\nnameserver fe80::1%\nnameserver fe80::1%7x\n",
	    "127.0.0.1:53", 5000, 2);
	expect_resolv("nameserver\nnameserver x\nnameserverx 1.1.1.1\nsearch 1.1.1.1\n",
	    "127.0.0.1:53", 5000, 2);
	expect_resolv("options timeout:3 rotate attempts:4\n", "127.0.0.1:53", 3000, 4);
	expect_resolv("options timeout:3\noptions ndots:2 attempts:1\n", "127.0.0.1:53", 3000, 1);
	expect_resolv("options timeout:0 attempts:0\n", "127.0.0.1:53", 1000, 1);
	expect_resolv("options timeout:99999999999999999999999 attempts:4294967297\n",
	    "127.0.0.1:53", 30000, 5);
	expect_resolv(
	    "options timeout: attempts:x timeout:-1 xtimeout:3\n", "127.0.0.1:53", 5000, 2);
	expect_resolv(
	    "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n"
	    "nameserver 10.0.0.5\nnameserver 10.0.0.6\nnameserver 10.0.0.7\nnameserver 10.0.0.8\n"
	    "nameserver 10.0.0.9\n",
	    "10.0.0.1:53 10.0.0.2:53 10.0.0.3:53 10.0.0.4:53 10.0.0.5:53 10.0.0.6:53 10.0.0.7:53 10.0.0.8:53",
	    5000, 2);
}

/* `resolver` in the configuration: resolv.conf is not read. */
static void
test_servers(void **state)
{
	struct policy *p = policy_parse("");
	struct conf_server *s = policy_keep(p, sizeof(*s));
	static const char text[] = "nameserver 192.0.2.1\noptions timeout:1\n";

	(void)state;
	p->resolv = file(p, "resolv.conf", text, strlen(text));
	s->ap.a = (struct addr){ .family = ADDR_V4, .b = { 192, 0, 2, 53 } };
	STAILQ_INSERT_TAIL(&p->conf.servers, s, entry);
	assert_non_null(policy_image(p));
	unlink(p->resolv);
	const struct addrport *ap = image_at(p->img, p->img->servers);
	assert_int_equal(p->img->servers.n, 1);
	assert_int_equal(addr_cmp(&ap->a, &s->ap.a), 0);
	assert_int_equal(ap->port, 53);
	assert_int_equal(p->img->dns_timeout, DNS_TIMEOUT_MS);
	policy_free(p);
}

/* Canonical, sorted, each once, none of another special range. */
static void
test_own(void **state)
{
	struct policy *p = policy_new(
	    "nat64 2001:db8:64::/96\n"
	    "own 192.0.2.9 127.0.0.1 ::1 fe80::1 ::ffff:192.0.2.9 192.0.2.8 192.0.2.9 127.0.0.0/8 "
	    "10.1.2.3 10.1.0.0/16 10.1.0.0 10.2.0.0 "
	    "2001:db8:64::192.0.2.7 2002:c000:206::1 2001:db8::1 224.0.0.1");
	static const char *const want[] = { "10.1.0.0/16", "10.2.0.0/32", "192.0.2.6/32",
		"192.0.2.7/32", "192.0.2.8/32", "192.0.2.9/32", "2001:db8::1/128" };
	const struct prefix *own = image_at(p->img, p->img->own);
	char text[ADDR_TEXT];

	(void)state;
	assert_int_equal(p->img->own.n, 7);
	for (size_t i = 0; i < 7; i++)
		assert_string_equal(prefix_format(&own[i], text, sizeof(text)), want[i]);
	policy_free(p);
}

static void
test_settings(void **state)
{
	struct policy *p = policy_parse("pass");
	struct conf *c = &p->conf;

	(void)state;
	c->timeouts = (struct conf_timeouts){ 1, 2, 3, 4, 5, 6 };
	assert_non_null(policy_image(p));
	assert_int_equal(p->img->methods, METHOD_BIT(METHOD_NONE));
	assert_int_equal(p->img->timeout_handshake, 1);
	assert_int_equal(p->img->timeout_connect, 2);
	assert_int_equal(p->img->timeout_idle, 3);
	assert_int_equal(p->img->timeout_half_closed, 4);
	assert_int_equal(p->img->timeout_bind, 5);
	assert_int_equal(p->img->timeout_udp, 6);
	assert_true(p->img->handshakes >= 1000);
	c->limit_sessions = 500;
	assert_non_null(policy_image(p));
	assert_int_equal(p->img->handshakes, 500);
	c->limit_sessions = 1;
	assert_non_null(policy_image(p));
	assert_true(p->img->handshakes > 0 && p->img->handshakes < 100);
	char service[] = "sallyport";
	c->pam_service = service;
	c->prefer[0] = METHOD_NONE;
	c->prefer[1] = METHOD_PASSWORD;
	c->prefer_n = 2;
	assert_non_null(policy_image(p));
	assert_int_equal(p->img->methods, METHOD_BIT(METHOD_NONE) | METHOD_BIT(METHOD_PASSWORD));
	assert_int_equal(p->img->prefer_n, 2);
	assert_int_equal(p->img->prefer[0], METHOD_NONE);
	assert_int_equal(p->img->gssapi, 0);
	char keytab[] = "/k";
	struct conf_str socks = { .s = service, .len = sizeof(service) - 1 };
	c->gssapi.keytab = keytab;
	c->gssapi.flags = GSSAPI_NEC | GSSAPI_PRINCIPAL;
	STAILQ_INIT(&c->gssapi.services);
	STAILQ_INSERT_TAIL(&c->gssapi.services, &socks, entry);
	STAILQ_FIRST(&c->rules)->protection = PROTECTION_CONFIDENTIALITY;
	assert_non_null(policy_image(p));
	assert_true(p->img->methods & METHOD_BIT(METHOD_GSSAPI));
	assert_int_equal(p->img->gssapi, GSSAPI_NEC | GSSAPI_PRINCIPAL);
	assert_int_equal(p->img->gssapi_services.n, 1);
	const struct image_str *first = image_at(p->img, p->img->gssapi_services);
	assert_memory_equal(image_octets(p->img, *first), "sallyport", first->len);
	assert_int_equal(rules_rule(p->img, 0)->protection, PROTECTION_CONFIDENTIALITY);
	policy_free(p);
}

/* What BIND, UDP ASSOCIATE and SOCKS4 are served with. */
static void
test_serving(void **state)
{
	struct policy *p = policy_parse("pass");
	struct conf *c = &p->conf;
	struct conf_ports port = { .first = 20, .last = 21 };
	struct conf_rule *r = STAILQ_FIRST(&c->rules);

	(void)state;
	c->bind_ports.first = 40000;
	c->bind_ports.last = 40999;
	c->udp_ports.first = c->udp_ports.last = 50000;
	c->bind_advertise.v4 = (struct addr){ .family = ADDR_V4, .b = { 192, 0, 2, 1 } };
	c->udp_advertise.v6 = (struct addr){ .family = ADDR_V6, .b = { 0x20, 1 } };
	c->limit_targets = 9;
	c->udp_fragments = c->udp_replies_any = c->socks4 = true;
	r->timeouts = (struct conf_timeouts){ 0, 0, 0, 0, 7, 8 };
	STAILQ_INSERT_TAIL(&r->bind_ports, &port, entry);
	assert_non_null(policy_image(p));
	const struct image *img = p->img;
	assert_int_equal(img->bind_ports.first, 40000);
	assert_int_equal(img->bind_ports.last, 40999);
	assert_int_equal(img->udp_ports.first, 50000);
	assert_int_equal(img->udp_ports.last, 50000);
	assert_int_equal(img->bind_advertise.n, 1);
	assert_int_equal(addr_cmp(image_at(img, img->bind_advertise), &c->bind_advertise.v4), 0);
	assert_int_equal(img->udp_advertise.n, 1);
	assert_int_equal(addr_cmp(image_at(img, img->udp_advertise), &c->udp_advertise.v6), 0);
	assert_int_equal(img->udp_targets, 9);
	assert_int_equal(img->udp_fragments, 1);
	assert_int_equal(img->udp_replies_any, 1);
	assert_int_equal(img->socks4, 1);
	const struct image_rule *rule = image_at(img, img->rules);
	assert_int_equal(rule->timeout_bind, 7);
	assert_int_equal(rule->timeout_udp, 8);
	assert_int_equal(rule->bind_ports.n, 1);
	const struct image_ports *ports = image_at(img, rule->bind_ports);
	assert_int_equal(ports->first, 20);
	assert_int_equal(ports->last, 21);
	STAILQ_REMOVE(&r->bind_ports, &port, conf_ports, entry);
	policy_free(p);
}

static void
test_rules(void **state)
{
	struct policy *p = policy_parse("table t 10.0.0.0/8\n"
					"block log\n"
					"pass from <t> to any\n"
					"pass to .A.test\n"
					"pass to <t>\n"
					"pass to { any, <t> }\n"
					"pass to { any a.test }");
	struct conf_rule *first = STAILQ_FIRST(&p->conf.rules);

	(void)state;
	first->timeouts = (struct conf_timeouts){ 0, 5, 6, 7, 0, 0 };
	policy_egress(p, &first->egress, (struct addr){ .family = ADDR_V6, .b = { 0x20, 1 } });
	first->egress.device = "eth1";
	first->egress.mark = 7;
	first->egress.pick = EGRESS_ROUND_ROBIN;
	assert_non_null(policy_image(p));
	const struct image_rule *r = image_at(p->img, p->img->rules);
	assert_int_equal(p->img->rules.n, 6);
	assert_int_equal(r[0].action, RULE_BLOCK);
	assert_int_equal(r[0].log, 1);
	assert_int_equal(r[0].timeout_connect, 5);
	assert_int_equal(r[0].timeout_idle, 6);
	assert_int_equal(r[0].timeout_half_closed, 7);
	assert_int_equal(r[0].egress.from.n, 1);
	assert_int_equal(r[0].egress.mark, 7);
	assert_int_equal(r[0].egress.pick, EGRESS_ROUND_ROBIN);
	assert_int_equal(r[0].egress.device.len, 4);
	assert_memory_equal(image_octets(p->img, r[0].egress.device), "eth1", 4);
	assert_true(image_has_mark(p->img, 7));
	assert_false(image_has_mark(p->img, 0));
	assert_int_equal(r[0].from, RULE_ANY);
	assert_int_equal(r[0].to, RULE_ANY);
	assert_int_equal(r[1].action, RULE_PASS);
	assert_int_equal(r[1].from, 0);
	assert_int_equal(r[1].to, RULE_ANY);
	assert_int_equal(r[2].to, RULE_NO_TABLE);
	const struct image_name *name = image_at(p->img, r[2].to_names);
	assert_int_equal(name->suffix, 1);
	assert_int_equal(name->name.len, 6);
	assert_memory_equal(image_octets(p->img, name->name), "a.test", 6);
	assert_int_equal(r[3].to, 0);
	/* "any" beside a table: a table of its own. */
	assert_int_equal(r[4].to, 1);
	assert_int_equal(p->img->tables.n, 2);
	assert_int_equal(r[5].to, RULE_ANY);
	policy_free(p);
}

/* What would make a rule mean something else than it says is refused. */
static void
test_refused(void **state)
{
	struct policy *p = policy_parse("table a 10.0.0.0/8\ntable b 11.0.0.0/8\npass from <a>");

	(void)state;
	STAILQ_FIRST(&p->conf.tables)->index = 1;
	errno = 0;
	assert_null(policy_image(p));
	assert_int_equal(errno, EINVAL);
	STAILQ_FIRST(&p->conf.tables)->index = 0;
	assert_non_null(policy_image(p));
	policy_free(p);

	static const char *const names[] = { "a..b", ".", "..a" };
	for (size_t i = 0; i < 3; i++) {
		p = policy_parse("pass");
		struct conf_rule *r = STAILQ_FIRST(&p->conf.rules);
		r->to_given = true;
		policy_str(p, &r->to_names, names[i]);
		assert_null(policy_image(p));
		assert_int_equal(errno, EINVAL);
		policy_free(p);
	}
	/* A nat64 prefix too long to hold an address. */
	p = policy_parse("nat64 2001:db8::/100");
	assert_null(policy_image(p));
	policy_free(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_hosts_large),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_resolv),
		cmocka_unit_test(test_servers),
		cmocka_unit_test(test_own),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_serving),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
