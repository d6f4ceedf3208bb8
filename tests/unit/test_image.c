/*
 * The policy image as a reader gets it: a block with anything in it that leads outside is refused,
 * and so is a memfd that could still change; look-ups agree with a search by hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/policy.h"

static const char full_policy[] =
    "password\nown 203.0.113.5 2001:db8::5 2001:db8::6\nnat64 2001:db8:64::/96\n"
    "table net 10.0.0.0/8 !10.2.0.0/16 10.2.3.0/24 2001:db8::/32 !2001:db8:1::/48\n"
    "group web alice bob\ngroup ops carol\n"
    "block log from <net> to { 192.0.2.0/24 .example.com www.example.org } port { 80 443-444 }\n"
    "pass connect from any to any user { alice bob } group { web ops } auth password";

static struct policy *
full(void)
{
	char path[] = "/tmp/test_image.XXXXXX";
	static const char hosts[] =
	    "127.0.0.1 localhost\n192.0.2.7 b.test a.test\n2001:db8::7 a.test\n";
	struct policy *p = policy_parse(full_policy);
	int fd = mkstemp(path);

	assert_true(fd != -1);
	assert_int_equal(write(fd, hosts, sizeof(hosts) - 1), (ssize_t)sizeof(hosts) - 1);
	close(fd);
	p->hosts = path;
	const struct addr from = { .family = ADDR_V4, .b = { 192, 0, 2, 9 } };
	policy_egress(p, &p->conf.egress, from);
	policy_egress(p, &STAILQ_FIRST(&p->conf.rules)->egress, from);
	p->conf.egress.device = "lo";
	p->conf.bind_advertise.v4 = p->conf.udp_advertise.v4 = from;
	struct conf_ports *port = policy_keep(p, sizeof(*port));
	port->first = port->last = 20;
	STAILQ_INSERT_TAIL(&STAILQ_FIRST(&p->conf.rules)->bind_ports, port, entry);
	assert_non_null(policy_image(p));
	p->hosts = "/nonexistent";
	unlink(path);
	return p;
}

/* A copy whose end is the end of its memory, for the sanitizers. */
static struct image *
copy(const struct policy *p)
{
	struct image *img = malloc(p->size);

	assert_non_null(img);
	memcpy(img, p->block, p->size);
	return img;
}

/* --- every list and string of an image, found through the image itself --- */

struct ref {
	size_t at; /* of its struct image_list or image_str in the block */
	size_t element;
};

static size_t
refs_of(const struct image *img, struct ref *r)
{
	const char *base = (const char *)img;
	size_t n = 0;

#define REF(field, size) r[n++] = (struct ref){ (size_t)((const char *)&(field)-base), size }
#define STRS(list)                                                \
	do {                                                      \
		const struct image_str *s_ = image_at(img, list); \
		REF(list, sizeof(*s_));                           \
		for (uint32_t i_ = 0; i_ < (list).n; i_++)        \
			REF(s_[i_], 1);                           \
	} while (0)
	REF(img->rules, sizeof(struct image_rule));
	REF(img->tables, sizeof(struct image_table));
	REF(img->groups, sizeof(struct image_group));
	REF(img->hosts, sizeof(struct image_host));
	REF(img->servers, sizeof(struct addrport));
	REF(img->nat64, sizeof(struct prefix));
	REF(img->own, sizeof(struct prefix));
	REF(img->egress.from, sizeof(struct addr));
	REF(img->egress.device, 1);
	REF(img->bind_advertise, sizeof(struct addr));
	REF(img->udp_advertise, sizeof(struct addr));
	const struct image_table *t = image_at(img, img->tables);
	for (uint32_t i = 0; i < img->tables.n; i++) {
		REF(t[i].v4, sizeof(struct image_range4));
		REF(t[i].v6, sizeof(struct image_range6));
	}
	const struct image_group *g = image_at(img, img->groups);
	for (uint32_t i = 0; i < img->groups.n; i++) {
		REF(g[i].name, 1);
		STRS(g[i].users);
	}
	const struct image_host *h = image_at(img, img->hosts);
	for (uint32_t i = 0; i < img->hosts.n; i++) {
		REF(h[i].name, 1);
		REF(h[i].addrs, sizeof(struct addr));
	}
	const struct image_rule *rule = image_at(img, img->rules);
	for (uint32_t i = 0; i < img->rules.n; i++) {
		const struct image_name *name = image_at(img, rule[i].to_names);
		REF(rule[i].to_names, sizeof(struct image_name));
		for (uint32_t k = 0; k < rule[i].to_names.n; k++)
			REF(name[k].name, 1);
		REF(rule[i].ports, sizeof(struct image_ports));
		REF(rule[i].egress.from, sizeof(struct addr));
		REF(rule[i].bind_ports, sizeof(struct image_ports));
		STRS(rule[i].users);
		STRS(rule[i].groups);
	}
	return n;
}

static void
assert_refused(const struct policy *p, size_t at, struct image_list with, const char *what)
{
	struct image *img = copy(p);

	memcpy((char *)img + at, &with, sizeof(with));
	if (image_check(img, p->size) == 0)
		fail_msg("%s at %zu: taken with offset %u, number %u", what, at, with.off, with.n);
	free(img);
}

static void
test_every_offset(void **state)
{
	struct policy *p = full();
	struct ref refs[256];
	size_t n = refs_of(p->img, refs);
	uint32_t size = (uint32_t)p->size, used = 0;

	(void)state;
	assert_true(n > 40);
	assert_int_equal(image_check(p->block, p->size), 0);
	for (size_t i = 0; i < n; i++) {
		struct image_list l;
		memcpy(&l, (char *)p->block + refs[i].at, sizeof(l));
		uint32_t many = l.n == 0 ? 1 : l.n;
		uint32_t offs[] = { 0, 1, 8, sizeof(struct image) - 8, l.off + 1, l.off + 4, size,
			size + 8, size - 8 + 4, 0x7ffffff8, 0xfffffff8, UINT32_MAX };
		for (size_t k = 0; k < sizeof(offs) / sizeof(offs[0]); k++)
			assert_refused(
			    p, refs[i].at, (struct image_list){ offs[k], many }, "offset");
		/* One element more than there is room for, and numbers whose product overflows. */
		uint32_t room = (size - l.off) / (uint32_t)refs[i].element;
		uint32_t ns[] = { room + 1, UINT32_MAX, 1u << 31, (1u << 29) + 1,
			UINT32_MAX / 24 + 1 };
		for (size_t k = 0; k < sizeof(ns) / sizeof(ns[0]); k++)
			assert_refused(
			    p, refs[i].at, (struct image_list){ l.off, ns[k] }, "number");
		assert_refused(p, refs[i].at, (struct image_list){ 8, 0 }, "empty");
		used += l.n > 0;
	}
	/* The policy filled most of them: the test means something. */
	assert_true(used > 30);
	policy_free(p);
}

static void
test_head(void **state)
{
	struct policy *p = full();

	(void)state;
	for (size_t len = 0; len < p->size; len++) {
		struct image *img = malloc(len + 1);
		memcpy(img, p->block, len);
		assert_int_equal(image_check(img, len), -1);
		/* Also with a head that says so: the end of the last list is gone. */
		if (len >= sizeof(struct image)) {
			img->size = (uint32_t)len;
			if (len / 8 < p->size / 8 - 1)
				assert_int_equal(image_check(img, len), -1);
		}
		free(img);
	}
	struct image *img = copy(p);
	img->magic ^= 1;
	assert_int_equal(image_check(img, p->size), -1);
	img->magic ^= 1;
	assert_int_equal(image_check(img, p->size), 0);
	img->prefer_n = sizeof(img->prefer) + 1;
	assert_int_equal(image_check(img, p->size), -1);
	img->prefer_n = 1;
	img->prefer[0] = METHOD_COUNT;
	assert_int_equal(image_check(img, p->size), -1);
	free(img);
	policy_free(p);
}

/* Values, not offsets: each poke makes one thing wrong. */
#define POKE(list, type, change)                                       \
	do {                                                           \
		struct image *i_ = copy(p);                            \
		type *e = (type *)(void *)((char *)i_ + i_->list.off); \
		assert_true(i_->list.n > 0);                           \
		change;                                                \
		if (image_check(i_, p->size) == 0)                     \
			fail_msg("taken: %s: %s", #list, #change);     \
		free(i_);                                              \
	} while (0)
#define FIELD(change) POKE(rules, struct image_rule, ((void)e, change))
#define RANGES(type, family, change)                                    \
	POKE(tables, struct image_table, {                              \
		type *r = (type *)(void *)((char *)i_ + e->family.off); \
		assert_true(e->family.n > 3);                           \
		change;                                                 \
	})

static void
test_values(void **state)
{
	struct policy *p = full();

	(void)state;
	POKE(rules, struct image_rule, e->action = 2);
	POKE(rules, struct image_rule, e->log = 2);
	POKE(rules, struct image_rule, e->from = i_->tables.n);
	POKE(rules, struct image_rule, e->from = RULE_NO_TABLE);
	POKE(rules, struct image_rule, e->to = i_->tables.n);
	POKE(rules, struct image_rule, e->egress.from = i_->own);
	FIELD(i_->bind_advertise = i_->own);
	POKE(own, struct prefix, e[0] = e[1]);
	POKE(own, struct prefix, e[0].len = 33);
	POKE(own, struct prefix, e[1].len = 129);
	POKE(own, struct prefix, e[1].len = 64);
	POKE(own, struct prefix, e[0].a.family = 5);
	POKE(egress.from, struct addr, e->family = ADDR_NONE);
	POKE(bind_advertise, struct addr, e->family = ADDR_NONE);
	POKE(udp_advertise, struct addr, e->family = ADDR_NONE);
	FIELD(i_->bind_ports.first = 1);
	FIELD(i_->udp_ports.first = 1);
	FIELD(i_->udp_replies_any = 2);
	FIELD(i_->udp_fragments = 2);
	FIELD(i_->socks4 = 2);
	FIELD(i_->egress.pick = 2);
	FIELD(e->egress.pick = 2);
	FIELD(i_->egress.device.len = EGRESS_DEVICE_MAX + 1);
	POKE(servers, struct addrport, e->a.family = ADDR_NONE);
	POKE(nat64, struct prefix, e->len = 97);
	POKE(nat64, struct prefix, e->a.family = ADDR_V4);
	POKE(hosts, struct image_host, e[0].name = e[1].name);
	POKE(hosts, struct image_host, {
		struct image_host first = e[0];
		e[0] = e[1];
		e[1] = first;
	});
	RANGES(struct image_range4, v4, r[0].start = 1);
	RANGES(struct image_range4, v4, r[2].start = r[1].start);
	RANGES(struct image_range4, v4, r[2].start = 0);
	RANGES(struct image_range4, v4, r[1].plen = 33);
	RANGES(struct image_range6, v6, r[0].start[15] = 1);
	RANGES(struct image_range6, v6, memcpy(r[2].start, r[1].start, 16));
	RANGES(struct image_range6, v6, r[1].plen = 129);
	struct image *img = copy(p);
	struct image_rule *r = (struct image_rule *)(void *)((char *)img + img->rules.off);
	struct image_ports *ports = (struct image_ports *)(void *)((char *)img + r->ports.off);
	ports[1].first = 445;
	assert_int_equal(image_check(img, p->size), -1);
	ports[1].first = 443;
	struct image_name *names = (struct image_name *)(void *)((char *)img + r->to_names.off);
	names[0].suffix = 2;
	assert_int_equal(image_check(img, p->size), -1);
	names[0].suffix = 1;
	assert_int_equal(image_check(img, p->size), 0);
	names[0].name = (struct image_str){ 0, 0 };
	assert_int_equal(image_check(img, p->size), -1);
	free(img);
	policy_free(p);
}

static int
memfd_with(const void *block, size_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd != -1);
	assert_int_equal(write(fd, block, size), (ssize_t)size);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void
assert_unmapped(int fd, uint32_t size)
{
	errno = 0;
	assert_null(image_map(fd, size));
	assert_int_equal(errno, EINVAL);
}

static void
test_seals(void **state)
{
	static const int all[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL };
	struct policy *p = full();
	uint32_t size = (uint32_t)p->size;
	int every = 0;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		every |= all[i];
	for (size_t i = 0; i < 4; i++) {
		int fd = memfd_with(p->block, size, every & ~all[i]);
		assert_unmapped(fd, size);
		close(fd);
	}
	int fd = image_seal(p->block, size);
	assert_true(fd != -1);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & every, every);
	assert_unmapped(fd, size - 8);
	assert_unmapped(fd, size + 8);
	assert_unmapped(fd, 0);
	const struct image *img = image_map(fd, size);
	assert_non_null(img);
	assert_memory_equal(img, p->block, size);
	image_unmap(img);
	assert_int_equal(ftruncate(fd, 8), -1);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_ptr_equal(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	close(fd);

	/* Sealed, but not an image. */
	((struct image *)p->block)->magic ^= 1;
	fd = image_seal(p->block, size);
	assert_unmapped(fd, size);
	close(fd);
	/* A file has no seals. */
	fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_null(image_map(fd, size));
	close(fd);
	assert_null(image_map(-1, size));
	image_unmap(NULL);
	policy_free(p);
}

/* --- tables --- */

static uint8_t
by_hand(const struct conf_table *t, const struct addr *a)
{
	const struct conf_prefix *cp;
	int best = -1;
	bool negated = false;

	STAILQ_FOREACH (cp, &t->prefixes, entry) {
		if (!addr_in_prefix(a, &cp->p) || cp->p.len < best)
			continue;
		negated = cp->p.len == best ? negated || cp->negated : cp->negated;
		best = cp->p.len;
	}
	return best == -1 || negated ? PLEN_NONE : (uint8_t)best;
}

/* Random, but crowded: many nested and equal prefixes. */
static struct addr
random_addr(uint8_t family, unsigned spread)
{
	struct addr a = { .family = family };

	for (size_t i = 0; i < (family == ADDR_V4 ? 4u : 16u); i++)
		a.b[i] = (uint8_t)(random() % 4 == 0 ? 255 : (unsigned)random() % spread);
	return a;
}

static struct conf_table *
random_table(struct policy *p, struct conf_prefix *cp, size_t n, unsigned spread, bool negate)
{
	struct conf_table *t = policy_table(p, "random");
	char text[ADDR_TEXT], len[ADDR_TEXT + 8];

	for (size_t i = 0; i < n; i++) {
		uint8_t family = random() % 2 ? ADDR_V4 : ADDR_V6;
		struct addr a = random_addr(family, spread);
		snprintf(len, sizeof(len), "%s/%ld", addr_format(&a, text, sizeof(text)),
		    random() % (family == ADDR_V4 ? 33 : 129));
		assert_int_equal(prefix_parse(len, &cp[i].p, NULL), 0);
		cp[i].negated = negate && random() % 3 == 0;
		STAILQ_INSERT_TAIL(&t->prefixes, &cp[i], entry);
	}
	return t;
}

/* Sorted, disjoint, no two neighbours alike: what a binary search needs, and no more of them than
 * each prefix's two ends make. */
static void
assert_structure(const struct image *img, uint32_t table, size_t prefixes)
{
	const struct image_table *t = image_at(img, img->tables);
	const struct image_range4 *r4 = image_at(img, t[table].v4);
	const struct image_range6 *r6 = image_at(img, t[table].v6);

	assert_true(t[table].v4.n + t[table].v6.n <= 2 * prefixes + 2);
	for (uint32_t i = 1; i < t[table].v4.n; i++)
		assert_true(r4[i].start > r4[i - 1].start && r4[i].plen != r4[i - 1].plen);
	for (uint32_t i = 1; i < t[table].v6.n; i++)
		assert_true(
		    memcmp(r6[i].start, r6[i - 1].start, 16) > 0 && r6[i].plen != r6[i - 1].plen);
}

static void
compare(size_t prefixes, unsigned spread, bool negate, unsigned asked)
{
	struct policy *p = policy_parse("");
	struct conf_prefix *cp = calloc(prefixes + 1, sizeof(*cp));
	struct conf_table *t = random_table(p, cp, prefixes, spread, negate);
	unsigned matched = 0;

	assert_non_null(policy_image(p));
	assert_structure(p->img, 0, prefixes);
	for (unsigned i = 0; i < asked; i++) {
		struct addr a = random_addr(i % 2 ? ADDR_V4 : ADDR_V6, spread);
		/* The ends of prefixes, and their neighbours, are where a mistake would be. */
		if (i % 3 == 0 && prefixes > 0) {
			a = cp[(size_t)random() % prefixes].p.a;
			a.b[a.family == ADDR_V4 ? 3 : 15] =
			    (uint8_t)(a.b[a.family == ADDR_V4 ? 3 : 15] + random() % 3 - 1);
		}
		uint8_t want = by_hand(t, &a);
		assert_int_equal(image_table_lookup(p->img, 0, &a), want);
		matched += want != PLEN_NONE;
	}
	assert_true(prefixes < 10 || (matched > 0 && (!negate || matched < asked)));
	policy_free(p);
	free(cp);
}

static void
test_tables(void **state)
{
	(void)state;
	srandom(7);
	for (size_t n = 0; n < 40; n++)
		compare(n, 4, n % 2, 200);
	compare(2000, 3, true, 2000);
	compare(2000, 256, true, 2000);
	compare(500, 2, false, 2000);
}

static void
test_table_large(void **state)
{
	(void)state;
	srandom(8);
	compare(100000, 256, false, 60);
}

static void
test_table_edges(void **state)
{
	static const struct {
		const char *table, *address;
		uint8_t want;
	} t[] = {
		{ "0.0.0.0/0", "0.0.0.0", 0 },
		{ "0.0.0.0/0", "255.255.255.255", 0 },
		{ "0.0.0.0/0", "::1", PLEN_NONE },
		{ "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0 },
		{ "255.255.255.255", "255.255.255.255", 32 },
		{ "255.255.255.255", "255.255.255.254", PLEN_NONE },
		{ "128.0.0.0/1 255.0.0.0/8", "255.255.255.255", 8 },
		{ "128.0.0.0/1 255.0.0.0/8", "254.0.0.0", 1 },
		{ "0.0.0.0/1 128.0.0.0/1", "128.0.0.0", 1 },
		{ "0.0.0.0/0 0.0.0.0/8", "0.0.0.0", 8 },
		{ "0.0.0.0/0 0.0.0.0/8", "1.0.0.0", 0 },
		{ "10.0.0.0/24 10.0.1.0/24", "10.0.1.0", 24 },
		{ "10.0.0.0/24 10.0.1.0/24", "10.0.2.0", PLEN_NONE },
		{ "!10.0.0.0/8", "10.0.0.1", PLEN_NONE },
		{ "10.0.0.0/8 !10.0.0.0/8", "10.0.0.1", PLEN_NONE },
		{ "!10.0.0.0/8 10.0.0.0/8", "10.0.0.1", PLEN_NONE },
		{ "10.0.0.0/8 10.0.0.0/8 10.0.0.0/16 10.0.0.0/16", "10.0.0.1", 16 },
		{ "10.0.0.0/8 10.0.0.0/8 10.0.0.0/16 10.0.0.0/16", "10.1.0.1", 8 },
		{ "10.0.0.0/8 10.255.0.0/16", "10.255.0.1", 16 },
		{ "10.0.0.0/8 10.255.0.0/16", "11.0.0.0", PLEN_NONE },
		{ "2001:db8::/32 2001:db8:ffff::/48", "2001:db9::", PLEN_NONE },
		{ "2001:db8::/32 2001:db8:ffff::/48", "2001:db8:ffff::1", 48 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char text[128];
		struct addr a;
		snprintf(text, sizeof(text), "table t %s", t[i].table);
		struct policy *p = policy_new(text);
		assert_int_equal(addr_parse(t[i].address, &a), 0);
		uint8_t got = image_table_lookup(p->img, 0, &a);
		if (got != t[i].want)
			fail_msg("%s in %s: %u", t[i].address, t[i].table, got);
		assert_int_equal(image_table_lookup(p->img, 1, &a), PLEN_NONE);
		a.family = ADDR_NONE;
		assert_int_equal(image_table_lookup(p->img, 0, &a), PLEN_NONE);
		policy_free(p);
	}
}

static void
test_hosts_and_own(void **state)
{
	struct policy *p = full();
	struct addr a;

	(void)state;
	static const char *const there[] = { "localhost", "a.test", "b.test" };
	static const char *const not_there[] = { "", "a", "a.tes", "a.testx", "c.test", "zzz",
		"A.TEST" };
	for (size_t i = 0; i < 3; i++)
		assert_non_null(image_host(p->img, (const uint8_t *)there[i], strlen(there[i])));
	for (size_t i = 0; i < 7; i++)
		assert_null(
		    image_host(p->img, (const uint8_t *)not_there[i], strlen(not_there[i])));
	policy_free(p);

	static const struct {
		const char *a;
		uint8_t want;
	} own[] = { { "203.0.113.5", 32 }, { "203.0.113.4", PLEN_NONE },
		{ "203.0.113.6", PLEN_NONE }, { "10.0.0.0", 16 }, { "10.0.255.255", 16 },
		{ "10.1.0.0", PLEN_NONE }, { "9.255.255.255", PLEN_NONE }, { "0.0.0.0", PLEN_NONE },
		{ "255.255.255.255", PLEN_NONE }, { "2001:db8::6", 128 },
		{ "2001:db8::7", PLEN_NONE }, { "::", PLEN_NONE } };
	p = policy_new("own 203.0.113.5 10.0.0.0/16 2001:db8::5 2001:db8::6");
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		assert_int_equal(addr_parse(own[i].a, &a), 0);
		if (image_own(p->img, &a) != own[i].want)
			fail_msg("%s: %u", own[i].a, image_own(p->img, &a));
	}
	policy_free(p);
}

static void
test_bytes_cmp(void **state)
{
	(void)state;
	assert_true(image_bytes_cmp((const uint8_t *)"a", 1, (const uint8_t *)"b", 1) < 0);
	assert_true(image_bytes_cmp((const uint8_t *)"a", 1, (const uint8_t *)"aa", 2) < 0);
	assert_true(image_bytes_cmp((const uint8_t *)"aa", 2, (const uint8_t *)"a", 1) > 0);
	assert_true(image_bytes_cmp((const uint8_t *)"b", 1, (const uint8_t *)"aa", 2) > 0);
	assert_true(image_bytes_cmp((const uint8_t *)"\xff", 1, (const uint8_t *)"a", 1) > 0);
	assert_int_equal(image_bytes_cmp((const uint8_t *)"ab", 2, (const uint8_t *)"ab", 2), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_offset),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_seals),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_table_large),
		cmocka_unit_test(test_table_edges),
		cmocka_unit_test(test_hosts_and_own),
		cmocka_unit_test(test_bytes_cmp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
