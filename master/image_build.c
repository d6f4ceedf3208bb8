/*
 * Lays out the policy image: the configuration's policy part, hosts, name servers and the machine's
 * own addresses become one block, which is checked as a reader would and put into a sealed memfd.
 * Trusts the configuration, which conf.c has checked.
 */
#include "master/image_build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/rules.h"
#include "master/image_parts.h"

#define HOSTS_FILE_MAX  (64u << 20) /* octets; the largest block lists have some ten */
#define RESOLV_FILE_MAX (1u << 20)  /* octets */
#define HANDSHAKES      8192u       /* under way in the gateway, where `limit sessions` is none */
#define HANDSHAKES_MIN  16u         /* in one worker, however low the limit */
#define SESSIONS_MANY   1000u /* of `limit sessions`: a few ends may be told of a little late */

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

static int
blob_reserve(struct blob *b, size_t more)
{
	if (b->error != 0)
		return -1;
	if (more > IMAGE_SIZE_MAX - b->len) {
		b->error = EFBIG;
		return -1;
	}
	if (b->len + more <= b->size)
		return 0;
	size_t size = b->size == 0 ? 65536 : b->size;
	while (size < b->len + more)
		size *= 2;
	uint8_t *p = realloc(b->p, size);
	if (p == NULL) {
		b->error = ENOMEM;
		return -1;
	}
	memset(p + b->size, 0, size - b->size);
	b->p = p;
	b->size = size;
	return 0;
}

struct image_list
blob_list(struct blob *b, const void *elements, size_t n, size_t element)
{
	struct image_list l = { 0 };

	if (n == 0)
		return l;
	if (n > IMAGE_SIZE_MAX / element) {
		b->error = EFBIG;
		return l;
	}
	size_t octets = n * element, padded = (octets + 7) & ~(size_t)7;
	if (blob_reserve(b, padded) == -1)
		return l;
	memcpy(b->p + b->len, elements, octets);
	l.off = (uint32_t)b->len;
	l.n = (uint32_t)n;
	b->len += padded;
	return l;
}

struct image_str
blob_str(struct blob *b, const void *octets, size_t len)
{
	struct image_list l = blob_list(b, octets, len, 1);

	return (struct image_str){ .off = l.off, .len = l.n };
}

/* n elements of zeros to fill in; with b->error set, NULL. */
static void *
scratch(struct blob *b, size_t n, size_t element)
{
	void *p = b->error == 0 ? calloc(n + 1, element) : NULL;

	if (p == NULL && b->error == 0)
		b->error = ENOMEM;
	return p;
}

static struct image_str
put_text(struct blob *b, const char *s)
{
	return blob_str(b, s, s != NULL ? strlen(s) : 0);
}

#define STAILQ_COUNT(n, var, head, field)         \
	do {                                      \
		(n) = 0;                          \
		STAILQ_FOREACH (var, head, field) \
			(n)++;                    \
	} while (0)

static struct image_list
put_strs(struct blob *b, const struct conf_strs *strs)
{
	const struct conf_str *s;
	struct image_list l = { 0 };
	size_t n;

	STAILQ_COUNT(n, s, strs, entry);
	struct image_str *out = scratch(b, n, sizeof(*out));
	if (out == NULL)
		return l;
	n = 0;
	STAILQ_FOREACH (s, strs, entry)
		out[n++] = blob_str(b, s->s, s->len);
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

/* Those of two addresses that were given. */
static struct image_list
put_pair(struct blob *b, const struct addr *v4, const struct addr *v6)
{
	struct addr out[2];
	size_t n = 0;

	if (v4->family != ADDR_NONE)
		out[n++] = *v4;
	if (v6->family != ADDR_NONE)
		out[n++] = *v6;
	return blob_list(b, out, n, sizeof(out[0]));
}

static struct image_egress
put_egress(struct blob *b, const struct conf_egress *e)
{
	struct image_egress out = { .mark = e->mark, .pick = (uint8_t)e->pick };
	struct addr *addrs = scratch(b, e->naddrs, sizeof(*addrs));
	const struct conf_addr *a;
	size_t n = 0;

	if (addrs == NULL)
		return out;
	STAILQ_FOREACH (a, &e->addrs, entry)
		addrs[n++] = a->a;
	out.from = blob_list(b, addrs, n, sizeof(*addrs));
	free(addrs);
	if (e->device != NULL)
		out.device = blob_str(b, e->device, strlen(e->device));
	return out;
}

static struct image_list
put_advertise(struct blob *b, const struct conf_advertise *a)
{
	return put_pair(b, &a->v4, &a->v6);
}

/* A suffix is stored without its leading dot. A name that is none is a fault of the caller. */
static struct image_list
put_names(struct blob *b, const struct conf_strs *names)
{
	const struct conf_str *s;
	struct image_list l = { 0 };
	uint8_t name[NAME_MAX_LEN];
	size_t n;

	STAILQ_COUNT(n, s, names, entry);
	struct image_name *out = scratch(b, n, sizeof(*out));
	if (out == NULL)
		return l;
	n = 0;
	STAILQ_FOREACH (s, names, entry) {
		size_t dot = s->len > 0 && s->s[0] == '.';
		int len = name_normalise((const uint8_t *)s->s + dot, s->len - dot, name);
		if (len == -1) {
			b->error = EINVAL;
			break;
		}
		out[n].suffix = dot != 0;
		out[n++].name = blob_str(b, name, (size_t)len);
	}
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

static struct image_list
put_ports(struct blob *b, const struct conf_port_list *ports)
{
	const struct conf_ports *p;
	struct image_list l = { 0 };
	size_t n;

	STAILQ_COUNT(n, p, ports, entry);
	struct image_ports *out = scratch(b, n, sizeof(*out));
	if (out == NULL)
		return l;
	n = 0;
	STAILQ_FOREACH (p, ports, entry)
		out[n++] = (struct image_ports){ .first = p->first, .last = p->last };
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

/* True where "any" stands beside prefixes: such a rule has a table of its own in the image, behind
 * the configuration's. */
static bool
needs_table(const struct conf_rule *r)
{
	return r->to_given && r->to_any && r->to != NULL;
}

static struct image_list
put_tables(struct blob *b, const struct conf *c)
{
	const struct conf_table *t;
	const struct conf_rule *r;
	struct image_list l = { 0 };
	size_t tables, rules, n = 0;

	STAILQ_COUNT(tables, t, &c->tables, entry);
	STAILQ_COUNT(rules, r, &c->rules, entry);
	struct image_table *out = scratch(b, tables + rules, sizeof(*out));
	if (out == NULL)
		return l;
	STAILQ_FOREACH (t, &c->tables, entry) {
		/* A rule that looked into another table than it names would be a hole. */
		if (t->index != n)
			b->error = EINVAL;
		out[n++] = table_flatten(b, t, false);
	}
	STAILQ_FOREACH (r, &c->rules, entry) {
		if (needs_table(r))
			out[n++] = table_flatten(b, r->to, true);
	}
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

/* *extra is the index of the next table that put_tables made for a rule. */
static uint32_t
rule_to(const struct conf_rule *r, uint32_t *extra)
{
	if (needs_table(r))
		return (*extra)++;
	if (!r->to_given || r->to_any)
		return RULE_ANY;
	return r->to != NULL ? r->to->index : RULE_NO_TABLE;
}

static struct image_list
put_via(struct blob *b, const struct conf_rule *r)
{
	uint32_t via[VIA_MAX];

	for (unsigned i = 0; i < r->nvia; i++)
		via[i] = r->via[i]->index;
	return blob_list(b, via, r->nvia, sizeof(via[0]));
}

static struct image_list
put_upstreams(struct blob *b, const struct conf *c)
{
	const struct conf_upstream *u;
	struct image_list l = { 0 };
	size_t n;

	STAILQ_COUNT(n, u, &c->upstreams, entry);
	struct image_upstream *out = scratch(b, n, sizeof(*out));
	if (out == NULL)
		return l;
	n = 0;
	STAILQ_FOREACH (u, &c->upstreams, entry) {
		struct image_upstream *to = &out[n++];

		to->name = blob_str(b, u->name, strlen(u->name));
		to->host = blob_str(b, u->host, strlen(u->host));
		to->addr = u->addr;
		to->port = u->port;
		to->method = (uint8_t)u->method;
		if (u->method != METHOD_GSSAPI)
			continue;
		to->level = (uint8_t)u->level;
		to->keytab = u->keytab != NULL;
		to->service = put_text(b, u->service != NULL ? u->service : "socks");
		to->ccache = put_text(b, u->ccache);
		to->principal = put_text(b, u->principal);
	}
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

static struct image_list
put_rules(struct blob *b, const struct conf *c)
{
	const struct conf_table *t;
	const struct conf_rule *r;
	struct image_list l = { 0 };
	uint32_t extra;
	size_t n;

	STAILQ_COUNT(extra, t, &c->tables, entry);
	STAILQ_COUNT(n, r, &c->rules, entry);
	struct image_rule *out = scratch(b, n, sizeof(*out));
	if (out == NULL)
		return l;
	n = 0;
	STAILQ_FOREACH (r, &c->rules, entry) {
		out[n++] = (struct image_rule){
			.action = (uint8_t)r->action,
			.log = r->log,
			.commands = r->commands,
			.methods = r->methods,
			.protection = (uint8_t)r->protection,
			.from = r->from != NULL ? r->from->index : RULE_ANY,
			.to = rule_to(r, &extra),
			.to_names = put_names(b, &r->to_names),
			.ports = put_ports(b, &r->ports),
			.users = put_strs(b, &r->users),
			.groups = put_strs(b, &r->groups),
			.egress = put_egress(b, &r->egress),
			.timeout_connect = r->timeouts.connect,
			.timeout_idle = r->timeouts.idle,
			.bind_ports = put_ports(b, &r->bind_ports),
			.timeout_half_closed = r->timeouts.half_closed,
			.timeout_bind = r->timeouts.bind,
			.timeout_udp = r->timeouts.udp,
			.upstreams = put_via(b, r),
		};
	}
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

static struct image_list
put_groups(struct blob *b, const struct conf *c)
{
	const struct conf_group *g;
	struct image_list l = { 0 };
	size_t n;

	STAILQ_COUNT(n, g, &c->groups, entry);
	struct image_group *out = scratch(b, n, sizeof(*out));
	if (out == NULL)
		return l;
	n = 0;
	STAILQ_FOREACH (g, &c->groups, entry) {
		out[n].name = blob_str(b, g->name, strlen(g->name));
		out[n++].users = put_strs(b, &g->users);
	}
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

static struct image_list
put_hosts(struct blob *b, const char *path)
{
	struct image_list l = { 0 };
	struct hosts h;
	size_t len;
	char *text = file_read(path, HOSTS_FILE_MAX, &len);

	if (text == NULL)
		return l;
	if (hosts_parse(&h, text, len) == 0) {
		l = hosts_put(b, &h);
		hosts_free(&h);
	} else
		b->error = errno;
	free(text);
	return l;
}

/* The name servers: the configuration's, else resolv.conf's, else this machine's own (as
 * resolv.conf(5) says). */
static void
put_servers(struct blob *b, const struct conf *c, const char *path, struct image *img)
{
	const struct conf_server *s;
	struct resolv r;
	size_t n, len;

	resolv_init(&r);
	STAILQ_COUNT(n, s, &c->servers, entry);
	struct addrport *out = scratch(b, n, sizeof(*out));
	if (out == NULL)
		return;
	n = 0;
	STAILQ_FOREACH (s, &c->servers, entry) {
		out[n] = s->ap;
		if (out[n].port == 0)
			out[n].port = DNS_PORT;
		n++;
	}
	char *text = n == 0 ? file_read(path, RESOLV_FILE_MAX, &len) : NULL;
	if (text != NULL)
		resolv_parse(&r, text, len);
	if (n == 0 && r.n == 0)
		r.server[r.n++] =
		    (struct addrport){ .a = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } },
			    .port = DNS_PORT };
	img->servers = n > 0 ? blob_list(b, out, n, sizeof(*out))
			     : blob_list(b, r.server, r.n, sizeof(r.server[0]));
	img->dns_timeout = r.timeout;
	img->dns_attempts = r.attempts;
	free(text);
	free(out);
}

static struct image_list
put_nat64(struct blob *b, const struct conf *c)
{
	const struct conf_prefix *p;
	struct image_list l = { 0 };
	size_t n;

	STAILQ_COUNT(n, p, &c->nat64, entry);
	struct prefix *out = scratch(b, n, sizeof(*out));
	if (out == NULL)
		return l;
	n = 0;
	STAILQ_FOREACH (p, &c->nat64, entry)
		out[n++] = p->p;
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

static int
own_cmp(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
	int order = addr_cmp(&x->a, &y->a);

	return order != 0 ? order : x->len - y->len;
}

/* An own address in the spelling that rules compare. False where it lies in another special range,
 * which is the wider and counts. */
static bool
own_canon(struct prefix *p, const struct prefix *nat64, size_t n)
{
	uint8_t len;

	if (p->a.family == ADDR_V6 && p->len == 128) {
		p->a = addr_canon(&p->a, nat64, n);
		p->len = p->a.family == ADDR_V4 ? 32 : 128;
	}
	return addr_special(&p->a, &len) == ADDR_ORDINARY || p->len < len;
}

/* The own addresses, sorted; what lies inside another is left out. */
static struct image_list
put_own(struct blob *b, const struct image_inputs *in, struct image_list nat64)
{
	struct image_list l = { 0 };
	struct prefix *out = scratch(b, in->nown, sizeof(*out));
	size_t n = 0, kept = 0;

	if (out == NULL)
		return l;
	for (size_t i = 0; i < in->nown; i++) {
		out[n] = in->own[i];
		n += own_canon(&out[n], (const void *)(b->p + nat64.off), nat64.n);
	}
	qsort(out, n, sizeof(*out), own_cmp);
	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || !addr_in_prefix(&out[i].a, &out[kept - 1]))
			out[kept++] = out[i];
	}
	l = blob_list(b, out, kept, sizeof(*out));
	free(out);
	return l;
}

/* What is numbers and bits in the configuration. */
static void
put_settings(struct image *img, const struct conf *c, unsigned workers)
{
	uint32_t all = c->limit_sessions != 0 ? c->limit_sessions : HANDSHAKES;
	uint32_t share = all / (workers != 0 ? workers : 1);

	img->methods = METHOD_BIT(METHOD_NONE);
	if (c->users_file != NULL || c->pam_service != NULL)
		img->methods |= METHOD_BIT(METHOD_PASSWORD);
	if (c->gssapi.keytab != NULL)
		img->methods |= METHOD_BIT(METHOD_GSSAPI);
	img->gssapi = c->gssapi.flags;
	const uint8_t fallback[] = { METHOD_GSSAPI, METHOD_PASSWORD, METHOD_NONE };
	const uint8_t *prefer = c->prefer_n > 0 ? c->prefer : fallback;
	img->prefer_n = c->prefer_n > 0 ? c->prefer_n : sizeof(fallback);
	if (img->prefer_n > METHOD_COUNT)
		img->prefer_n = METHOD_COUNT;
	memcpy(img->prefer, prefer, img->prefer_n);
	img->timeout_handshake = c->timeouts.handshake;
	img->timeout_connect = c->timeouts.connect;
	img->timeout_idle = c->timeouts.idle;
	img->timeout_half_closed = c->timeouts.half_closed;
	img->timeout_bind = c->timeouts.bind;
	img->timeout_udp = c->timeouts.udp;
	img->bind_ports = (struct image_ports){ c->bind_ports.first, c->bind_ports.last };
	img->udp_ports = (struct image_ports){ c->udp_ports.first, c->udp_ports.last };
	img->udp_targets = c->limit_targets;
	img->udp_replies_any = c->udp_replies_any;
	img->udp_fragments = c->udp_fragments;
	img->socks4 = c->socks4;
	img->prompt_ends = c->limit_sessions_per_user != 0 ||
			   (c->limit_sessions != 0 && c->limit_sessions < SESSIONS_MANY);
	img->handshakes = share > HANDSHAKES_MIN ? share : HANDSHAKES_MIN;
}

void *
image_build(const struct conf *c, const struct image_inputs *in, uint32_t version, size_t *size)
{
	struct blob b = { 0 };
	struct image img = { .magic = IMAGE_MAGIC, .version = version };

	if (blob_reserve(&b, sizeof(img)) == -1)
		goto fail;
	b.len = sizeof(img);
	put_settings(&img, c, in->workers);
	img.tables = put_tables(&b, c);
	img.rules = put_rules(&b, c);
	img.groups = put_groups(&b, c);
	img.upstreams = put_upstreams(&b, c);
	img.hosts = put_hosts(&b, in->hosts_path);
	put_servers(&b, c, in->resolv_conf_path, &img);
	img.nat64 = put_nat64(&b, c);
	img.own = put_own(&b, in, img.nat64);
	img.egress = put_egress(&b, &c->egress);
	img.bind_advertise = put_advertise(&b, &c->bind_advertise);
	img.udp_advertise = put_advertise(&b, &c->udp_advertise);
	img.gssapi_services = put_strs(&b, &c->gssapi.services);
	if (b.error != 0)
		goto fail;
	img.size = (uint32_t)b.len;
	memcpy(b.p, &img, sizeof(img));
	if (image_check(b.p, b.len) == -1) {
		b.error = EINVAL;
		goto fail;
	}
	*size = b.len;
	return b.p;
fail:
	free(b.p);
	errno = b.error;
	return NULL;
}

int
image_seal(const void *block, size_t size)
{
	const uint8_t *p = block;
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create("policy", flags | MFD_NOEXEC_SEAL);

	if (fd == -1 && errno == EINVAL)
		fd = memfd_create("policy", flags);
	if (fd == -1)
		return -1;
	while (size > 0) {
		ssize_t w = write(fd, p, size);
		if (w == -1 && errno == EINTR)
			continue;
		if (w == -1)
			goto fail;
		p += w;
		size -= (size_t)w;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == -1)
		goto fail;
	return fd;
fail:;
	fd_drop(fd);
	return -1;
}
