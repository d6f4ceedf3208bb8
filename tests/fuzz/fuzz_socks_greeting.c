/*
 * The greeting of arbitrary octets: a whole message lies inside the input, and fewer octets of it
 * are never enough.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct socks_greeting g;
	ssize_t n = socks_greeting(data, size, &g);

	if (n == SOCKS_MORE && size >= SOCKS_GREETING_MAX)
		abort();
	if (n <= 0)
		return 0;
	if ((size_t)n > size || n > SOCKS_GREETING_MAX || g.methods + g.nmethods != data + n ||
	    g.version != SOCKS_VERSION)
		abort();
	for (size_t len = 0; len < (size_t)n; len++)
		if (socks_greeting(data, len, &g) != SOCKS_MORE)
			abort();
	return 0;
}
