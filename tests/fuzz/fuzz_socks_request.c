/*
 * The request of arbitrary octets: a whole message lies inside the input and has one kind of
 * address, and fewer octets of it are never enough.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct socks_request r;
	ssize_t n = socks_request(data, size, &r);

	if (n == SOCKS_MORE && size >= SOCKS_REQUEST_MAX)
		abort();
	if (n <= 0)
		return 0;
	if ((size_t)n > size || n > SOCKS_REQUEST_MAX || r.version != SOCKS_VERSION)
		abort();
	switch (r.atyp) {
	case SOCKS_ATYP_V4:
	case SOCKS_ATYP_V6:
		if (r.addr.family == ADDR_NONE || r.name_len != 0)
			abort();
		break;
	case SOCKS_ATYP_NAME:
		if (r.addr.family != ADDR_NONE || r.name_len == 0 ||
		    r.name + r.name_len + 2 != data + n)
			abort();
		break;
	default:
		if (n != 4 || r.addr.family != ADDR_NONE || r.name_len != 0)
			abort();
	}
	for (size_t len = 0; len < (size_t)n; len++)
		if (socks_request(data, len, &r) != SOCKS_MORE)
			abort();
	return 0;
}
