/*
 * The SOCKS4 request of arbitrary octets: a whole message lies inside the input, has one kind of
 * address and no NUL inside its strings, and fewer octets of it are never enough.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/socks4.h"

#define HEAD 8 /* VN CD DSTPORT DSTIP */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(int so)
{
	if (!so)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct socks4_request r;
	const struct socks_request *a = &r.asked;
	ssize_t n = socks4_request(data, size, &r);

	check(n != SOCKS_MORE || size < SOCKS4_REQUEST_MAX);
	if (n <= 0)
		return 0;
	check((size_t)n <= size && n <= SOCKS4_REQUEST_MAX && a->version == SOCKS4_VERSION);
	check(r.claim == data + HEAD && r.claim[r.claim_len] == '\0');
	check(memchr(r.claim, '\0', r.claim_len) == NULL);
	if (a->addr.family == ADDR_V4) {
		check(a->name_len == 0 && r.claim + r.claim_len + 1 == data + n);
	} else {
		check(a->addr.family == ADDR_NONE && a->name_len > 0);
		check(a->name == r.claim + r.claim_len + 1);
		check(memchr(a->name, '\0', a->name_len) == NULL);
		check(a->name[a->name_len] == '\0' && a->name + a->name_len + 1 == data + n);
	}
	for (size_t len = 0; len < (size_t)n; len++)
		check(socks4_request(data, len, &r) == SOCKS_MORE);
	return 0;
}
