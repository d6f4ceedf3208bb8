/*
 * The parsers of hosts and resolv.conf; what they make of it is put into a block as image_build
 * does.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/rules.h"
#include "master/image_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blob b = { 0 };
	struct hosts h;
	struct resolv r;
	struct image img = { .magic = IMAGE_MAGIC };

	resolv_init(&r);
	resolv_parse(&r, (const char *)data, size);
	if (r.n > RESOLV_SERVERS_MAX || r.timeout == 0 || r.timeout > DNS_TIMEOUT_MAX_MS ||
	    r.attempts == 0 || r.attempts > DNS_ATTEMPTS_MAX)
		abort();
	if (hosts_parse(&h, (const char *)data, size) == -1)
		return 0;
	blob_list(&b, &img, 1, sizeof(img));
	img.hosts = hosts_put(&b, &h);
	img.servers = blob_list(&b, r.server, r.n, sizeof(r.server[0]));
	img.size = (uint32_t)b.len;
	memcpy(b.p, &img, sizeof(img));
	if (b.error != 0 || image_check(b.p, b.len) == -1)
		abort();
	for (size_t i = 0; i < h.n; i++) {
		if (image_host((const struct image *)(const void *)b.p, h.names + h.e[i].name,
			h.e[i].name_len) == NULL)
			abort();
	}
	free(b.p);
	hosts_free(&h);
	return 0;
}
