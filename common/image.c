/*
 * The policy image as its readers see it: mapped, checked once and whole, searched. The block comes
 * from the master, which is trusted to say what the policy is; that nothing in it leads outside it
 * is checked all the same. Owns the mapping.
 */
#include "common/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

_Static_assert(sizeof(struct image_range4) == 8 && sizeof(struct image_range6) == 24 &&
		   sizeof(struct image_rule) == 108 && sizeof(struct image) % 8 == 0,
    "the image has no padding");
_Static_assert(sizeof(struct image_upstream) % 8 == 0, "nor have its upstreams");
_Static_assert(UPSTREAMS_MAX <= 64, "a bit each in via_ok");
_Static_assert(METHOD_COUNT <= sizeof(((struct image *)0)->prefer), "every method has a place");

static bool
list_ok(const struct image *img, struct image_list l, size_t element)
{
	if (l.n == 0)
		return l.off == 0;
	return l.off % 8 == 0 && l.off >= sizeof(*img) && l.off <= img->size &&
	       l.n <= (img->size - l.off) / element;
}

static bool
str_ok(const struct image *img, struct image_str s)
{
	return list_ok(img, (struct image_list){ .off = s.off, .n = s.len }, 1);
}

static bool
strs_ok(const struct image *img, struct image_list l)
{
	if (!list_ok(img, l, sizeof(struct image_str)))
		return false;
	const struct image_str *s = image_at(img, l);
	for (uint32_t i = 0; i < l.n; i++) {
		if (!str_ok(img, s[i]))
			return false;
	}
	return true;
}

static bool
addrs_ok(const struct image *img, struct image_list l)
{
	if (!list_ok(img, l, sizeof(struct addr)))
		return false;
	const struct addr *a = image_at(img, l);
	for (uint32_t i = 0; i < l.n; i++) {
		if (a[i].family != ADDR_V4 && a[i].family != ADDR_V6)
			return false;
	}
	return true;
}

static bool
plen_ok(uint8_t plen, uint8_t max)
{
	return plen <= max || plen == PLEN_NONE;
}

/* The first interval begins at zero, each other one after the one before it: a search always ends
 * in an interval. */
static bool
table_ok(const struct image *img, const struct image_table *t)
{
	static const uint8_t zero[16];

	if (!list_ok(img, t->v4, sizeof(struct image_range4)) ||
	    !list_ok(img, t->v6, sizeof(struct image_range6)))
		return false;
	const struct image_range4 *r4 = image_at(img, t->v4);
	for (uint32_t i = 0; i < t->v4.n; i++) {
		if (!plen_ok(r4[i].plen, 32) ||
		    (i == 0 ? r4[i].start != 0 : r4[i].start <= r4[i - 1].start))
			return false;
	}
	const struct image_range6 *r6 = image_at(img, t->v6);
	for (uint32_t i = 0; i < t->v6.n; i++) {
		if (!plen_ok(r6[i].plen, 128))
			return false;
		int order = memcmp(r6[i].start, i == 0 ? zero : r6[i - 1].start, 16);
		if (i == 0 ? order != 0 : order <= 0)
			return false;
	}
	return true;
}

static bool
tables_ok(const struct image *img)
{
	if (!list_ok(img, img->tables, sizeof(struct image_table)))
		return false;
	const struct image_table *t = image_at(img, img->tables);
	for (uint32_t i = 0; i < img->tables.n; i++) {
		if (!table_ok(img, &t[i]))
			return false;
	}
	return true;
}

static bool
egress_ok(const struct image *img, const struct image_egress *e)
{
	return addrs_ok(img, e->from) && str_ok(img, e->device) &&
	       e->device.len <= EGRESS_DEVICE_MAX && e->pick <= EGRESS_ROUND_ROBIN;
}

static bool
ports_ok(const struct image *img, struct image_list l)
{
	if (!list_ok(img, l, sizeof(struct image_ports)))
		return false;
	const struct image_ports *p = image_at(img, l);
	for (uint32_t i = 0; i < l.n; i++) {
		if (p[i].first > p[i].last)
			return false;
	}
	return true;
}

/* Each named once, so that a client's try of them ends. */
static bool
via_ok(const struct image *img, struct image_list l)
{
	uint64_t seen = 0;

	if (!list_ok(img, l, sizeof(uint32_t)) || l.n > VIA_MAX)
		return false;
	const uint32_t *via = image_at(img, l);
	for (uint32_t i = 0; i < l.n; i++) {
		if (via[i] >= img->upstreams.n || (seen & 1ull << via[i]) != 0)
			return false;
		seen |= 1ull << via[i];
	}
	return true;
}

static bool
upstreams_ok(const struct image *img)
{
	if (!list_ok(img, img->upstreams, sizeof(struct image_upstream)) ||
	    img->upstreams.n > UPSTREAMS_MAX)
		return false;
	const struct image_upstream *u = image_at(img, img->upstreams);
	for (uint32_t i = 0; i < img->upstreams.n; i++) {
		if (!str_ok(img, u[i].name) || u[i].name.len == 0 ||
		    u[i].name.len > UPSTREAM_NAME_MAX || !str_ok(img, u[i].host) ||
		    u[i].host.len == 0 || u[i].host.len > NAME_MAX_LEN || u[i].port == 0 ||
		    (u[i].addr.family != ADDR_NONE && u[i].addr.family != ADDR_V4 &&
			u[i].addr.family != ADDR_V6))
			return false;
		if (u[i].method >= METHOD_COUNT || u[i].level >= LEVEL_COUNT || u[i].keytab > 1 ||
		    !str_ok(img, u[i].service) || !str_ok(img, u[i].ccache) ||
		    !str_ok(img, u[i].principal))
			return false;
	}
	return true;
}

static bool
rule_lists_ok(const struct image *img, const struct image_rule *r)
{
	if (!list_ok(img, r->to_names, sizeof(struct image_name)) || !ports_ok(img, r->ports) ||
	    !strs_ok(img, r->users) || !strs_ok(img, r->groups) || !egress_ok(img, &r->egress) ||
	    !ports_ok(img, r->bind_ports) || !via_ok(img, r->upstreams))
		return false;
	const struct image_name *name = image_at(img, r->to_names);
	for (uint32_t i = 0; i < r->to_names.n; i++) {
		if (!str_ok(img, name[i].name) || name[i].name.len == 0 || name[i].suffix > 1)
			return false;
	}
	return true;
}

static bool
rules_ok(const struct image *img)
{
	if (!list_ok(img, img->rules, sizeof(struct image_rule)))
		return false;
	const struct image_rule *r = image_at(img, img->rules);
	for (uint32_t i = 0; i < img->rules.n; i++) {
		if (r[i].action > RULE_PASS || r[i].log > 1 || r[i].protection >= PROTECTION_COUNT)
			return false;
		if (r[i].from >= img->tables.n && r[i].from != RULE_ANY)
			return false;
		if (r[i].to >= img->tables.n && r[i].to != RULE_ANY && r[i].to != RULE_NO_TABLE)
			return false;
		if (!rule_lists_ok(img, &r[i]))
			return false;
	}
	return true;
}

static bool
groups_ok(const struct image *img)
{
	if (!list_ok(img, img->groups, sizeof(struct image_group)))
		return false;
	const struct image_group *g = image_at(img, img->groups);
	for (uint32_t i = 0; i < img->groups.n; i++) {
		if (!str_ok(img, g[i].name) || !strs_ok(img, g[i].users))
			return false;
	}
	return true;
}

static bool
hosts_ok(const struct image *img)
{
	if (!list_ok(img, img->hosts, sizeof(struct image_host)))
		return false;
	const struct image_host *h = image_at(img, img->hosts);
	for (uint32_t i = 0; i < img->hosts.n; i++) {
		if (!str_ok(img, h[i].name) || !addrs_ok(img, h[i].addrs))
			return false;
		if (i > 0 && image_bytes_cmp(image_octets(img, h[i - 1].name), h[i - 1].name.len,
				 image_octets(img, h[i].name), h[i].name.len) >= 0)
			return false;
	}
	return true;
}

static bool
own_ok(const struct image *img)
{
	if (!list_ok(img, img->own, sizeof(struct prefix)))
		return false;
	const struct prefix *own = image_at(img, img->own);
	for (uint32_t i = 0; i < img->own.n; i++) {
		if ((own[i].a.family != ADDR_V4 || own[i].len > 32) &&
		    (own[i].a.family != ADDR_V6 || own[i].len > 128))
			return false;
		if (i > 0 && (addr_cmp(&own[i - 1].a, &own[i].a) >= 0 ||
				 addr_in_prefix(&own[i].a, &own[i - 1])))
			return false;
	}
	return true;
}

static bool
network_ok(const struct image *img)
{
	if (!list_ok(img, img->servers, sizeof(struct addrport)) ||
	    !list_ok(img, img->nat64, sizeof(struct prefix)) || !own_ok(img) ||
	    !egress_ok(img, &img->egress))
		return false;
	const struct addrport *server = image_at(img, img->servers);
	for (uint32_t i = 0; i < img->servers.n; i++) {
		if (server[i].a.family != ADDR_V4 && server[i].a.family != ADDR_V6)
			return false;
	}
	const struct prefix *p = image_at(img, img->nat64);
	for (uint32_t i = 0; i < img->nat64.n; i++) {
		if (p[i].a.family != ADDR_V6 || p[i].len > 96)
			return false;
	}
	return true;
}

/* BIND and UDP ASSOCIATE: readers take these without looking. */
static bool
serving_ok(const struct image *img)
{
	return addrs_ok(img, img->bind_advertise) && img->bind_advertise.n <= 2 &&
	       addrs_ok(img, img->udp_advertise) && img->udp_advertise.n <= 2 &&
	       img->bind_ports.first <= img->bind_ports.last &&
	       img->udp_ports.first <= img->udp_ports.last && img->udp_replies_any <= 1 &&
	       img->udp_fragments <= 1 && img->socks4 <= 1 && img->gssapi < 2 * GSSAPI_PRINCIPAL &&
	       strs_ok(img, img->gssapi_services);
}

int
image_check(const void *block, size_t size)
{
	const struct image *img = block;

	if (size < sizeof(*img) || size > IMAGE_SIZE_MAX || img->magic != IMAGE_MAGIC ||
	    img->size != size)
		return -1;
	if (img->prefer_n > sizeof(img->prefer))
		return -1;
	for (unsigned i = 0; i < img->prefer_n; i++) {
		if (img->prefer[i] >= METHOD_COUNT)
			return -1;
	}
	return tables_ok(img) && upstreams_ok(img) && rules_ok(img) && groups_ok(img) &&
		       hosts_ok(img) && network_ok(img) && serving_ok(img)
		   ? 0
		   : -1;
}

const struct image *
image_map(int fd, uint32_t size)
{
	struct stat st;

	/* Unsealed it could shrink, and reading it would kill the reader with SIGBUS, or change
	 * after the check. */
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals == -1 || fstat(fd, &st) == -1)
		return NULL;
	if ((seals & SEALS) != SEALS || st.st_size != (off_t)size || size < sizeof(struct image)) {
		errno = EINVAL;
		return NULL;
	}
	void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (image_check(p, size) == -1) {
		munmap(p, size);
		errno = EINVAL;
		return NULL;
	}
	return p;
}

void
image_unmap(const struct image *img)
{
	/* munmap(2) takes no const pointer, and the block is ours to let go. */
	union {
		const struct image *in;
		void *out;
	} u = { .in = img };

	if (img != NULL)
		munmap(u.out, img->size);
}

int
image_bytes_cmp(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
	int order = memcmp(a, b, alen < blen ? alen : blen);

	if (order != 0 || alen == blen)
		return order;
	return alen < blen ? -1 : 1;
}

static uint8_t
lookup4(const struct image *img, struct image_list l, const struct addr *a)
{
	const struct image_range4 *r = image_at(img, l);
	uint32_t key =
	    (uint32_t)a->b[0] << 24 | (uint32_t)a->b[1] << 16 | (uint32_t)a->b[2] << 8 | a->b[3];

	/* r[0].start <= key, and it is in one of the n from r on. No branch that could be guessed
	 * wrong: each step is a conditional move. */
	for (uint32_t n = l.n; n > 1;) {
		uint32_t half = n / 2;

		r += r[half].start <= key ? half : 0;
		n -= half;
	}
	return r->plen;
}

static uint8_t
lookup6(const struct image *img, struct image_list l, const struct addr *a)
{
	const struct image_range6 *r = image_at(img, l);
	uint32_t low = 0, high = l.n;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (memcmp(r[middle].start, a->b, sizeof(a->b)) <= 0)
			low = middle;
		else
			high = middle;
	}
	return r[low].plen;
}

uint8_t
image_table_lookup(const struct image *img, uint32_t table, const struct addr *a)
{
	const struct image_table *t = image_at(img, img->tables);

	if (table >= img->tables.n)
		return PLEN_NONE;
	if (a->family == ADDR_V4 && t[table].v4.n > 0)
		return lookup4(img, t[table].v4, a);
	if (a->family == ADDR_V6 && t[table].v6.n > 0)
		return lookup6(img, t[table].v6, a);
	return PLEN_NONE;
}

bool
image_table_is_large(const struct image *img, uint32_t table)
{
	const struct image_table *t = image_at(img, img->tables);

	return table < img->tables.n && t[table].v4.n + t[table].v6.n >= IMAGE_TABLE_LARGE;
}

const struct image_upstream *
image_upstream(const struct image *img, uint32_t index)
{
	const struct image_upstream *u = image_at(img, img->upstreams);

	return index < img->upstreams.n ? &u[index] : NULL;
}

bool
image_rule_via(const struct image *img, const struct image_rule *r, uint32_t upstream)
{
	const uint32_t *via = r != NULL ? image_at(img, r->upstreams) : NULL;

	for (uint32_t i = 0; via != NULL && i < r->upstreams.n; i++)
		if (via[i] == upstream)
			return true;
	return false;
}

bool
image_has_mark(const struct image *img, uint32_t mark)
{
	const struct image_rule *r = image_at(img, img->rules);
	bool has = img->egress.mark == mark;

	for (uint32_t i = 0; i < img->rules.n; i++)
		has = has || r[i].egress.mark == mark;
	return has && mark != 0;
}

const struct image_host *
image_host(const struct image *img, const uint8_t *name, size_t len)
{
	const struct image_host *h = image_at(img, img->hosts);
	uint32_t low = 0, high = img->hosts.n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = image_bytes_cmp(
		    name, len, image_octets(img, h[middle].name), h[middle].name.len);
		if (order == 0)
			return &h[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

uint8_t
image_own(const struct image *img, const struct addr *a)
{
	const struct prefix *own = image_at(img, img->own);
	uint32_t low = 0, high = img->own.n; /* those before low begin at a or below it */

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (addr_cmp(&own[middle].a, a) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && addr_in_prefix(a, &own[low - 1]) ? own[low - 1].len : PLEN_NONE;
}
