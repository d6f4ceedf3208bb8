/*
 * RFC 1961's framing of arbitrary octets: a stream of messages is walked header by header; each
 * header comes back as it was when it is written, and fewer octets of it are never enough.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/gss.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_header(const uint8_t *p, ssize_t n, const struct gss_header *h)
{
	uint8_t again[GSS_HEADER];
	struct gss_header less;

	for (size_t len = 0; len < (size_t)n; len++)
		if (gss_header(p, len, &less) != SOCKS_MORE)
			abort();
	gss_header_put(again, h->type, h->len);
	if (memcmp(again, p, (size_t)n) != 0)
		abort();
	if (n != (h->type == GSS_ABORT ? GSS_ABORT_LEN : GSS_HEADER))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gss_header h;
	ssize_t n;

	while ((n = gss_header(data, size, &h)) > 0) {
		if ((size_t)n > size)
			abort();
		check_header(data, n, &h);
		data += n;
		size -= (size_t)n;
		if (h.len > size)
			return 0;
		data += h.len;
		size -= h.len;
	}
	if (n == SOCKS_MORE && size >= GSS_HEADER)
		abort();
	return 0;
}
