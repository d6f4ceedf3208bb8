/*
 * Chooses by rule and configuration how a socket leaves the machine. Owns nothing; the image has
 * been checked.
 */
#include "common/egress.h"

#include <string.h>
#include <sys/socket.h>

/* FNV-1a (the Internet draft of that name): it spreads addresses, it protects nothing, since a
 * client that chooses among its own addresses chooses how it leaves. */
#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static uint64_t
hash(uint64_t h, const struct addr *a)
{
	for (size_t i = 0; i < (a->family == ADDR_V6 ? 16 : 4); i++)
		h = (h ^ a->b[i]) * FNV_PRIME;
	return h;
}

/* Rendezvous hashing: the address that scores highest with the client. One that is added or taken
 * away moves none but its own clients. */
static uint64_t
score(const struct addr *client, const struct addr *from)
{
	uint64_t h = hash(hash(FNV_BASIS, client), from);

	/* The last octets alone tell neighbours apart, and FNV leaves them in the low bits. */
	h ^= h >> 32;
	h *= FNV_PRIME;
	return h ^ h >> 29;
}

static uint32_t
count(const struct addr *a, uint32_t n, uint8_t family)
{
	uint32_t of = 0;

	for (uint32_t i = 0; i < n; i++)
		of += a[i].family == family;
	return of;
}

/* The address of a list: -1 where it has none of the family. */
static int
choose(const struct image *img, const struct image_egress *e, uint8_t family,
    const struct addr *client, uint32_t *turn, struct addr *out)
{
	const struct addr *a = image_at(img, e->from);
	struct addr source = addr_canon(client, NULL, 0);
	uint32_t of = count(a, e->from.n, family), pick = 0, nth = 0;
	uint64_t best = 0;

	if (of == 0)
		return -1;
	if (e->pick == EGRESS_ROUND_ROBIN)
		pick = (*turn)++ % of;
	for (uint32_t i = 0; i < e->from.n; i++) {
		if (a[i].family != family)
			continue;
		if (e->pick == EGRESS_ROUND_ROBIN ? nth == pick
						  : nth == 0 || score(&source, &a[i]) > best) {
			best = score(&source, &a[i]);
			*out = a[i];
		}
		nth++;
	}
	return 0;
}

int
egress_way(const struct image *img, const struct image_rule *rule, uint8_t family,
    const struct addr *client, uint32_t *turn, struct egress_way *out)
{
	const struct image_egress *from = rule->egress.from.n > 0 ? &rule->egress : &img->egress;
	struct image_str device =
	    rule->egress.device.len > 0 ? rule->egress.device : img->egress.device;

	memset(out, 0, sizeof(*out));
	memcpy(out->device, image_octets(img, device), device.len);
	out->mark = rule->egress.mark != 0 ? rule->egress.mark : img->egress.mark;
	return from->from.n > 0 ? choose(img, from, family, client, turn, &out->from) : 0;
}

int
egress_bind_device(int fd, const struct egress_way *way)
{
	size_t len = strlen(way->device);

	return len == 0 ? 0
			: setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, way->device, (socklen_t)len);
}
