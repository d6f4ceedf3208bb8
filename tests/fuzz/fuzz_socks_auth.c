/*
 * Credentials of arbitrary octets: a whole message lies inside the input, no part of it is empty,
 * and fewer octets of it are never enough.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct socks_auth a;
	ssize_t n = socks_auth(data, size, &a);

	if (n == SOCKS_MORE && size >= SOCKS_AUTH_MAX)
		abort();
	if (n <= 0)
		return 0;
	if ((size_t)n > size || n > SOCKS_AUTH_MAX || a.user_len == 0 || a.password_len == 0 ||
	    a.user + a.user_len + 1 != a.password || a.password + a.password_len != data + n)
		abort();
	for (size_t len = 0; len < (size_t)n; len++)
		if (socks_auth(data, len, &a) != SOCKS_MORE)
			abort();
	return 0;
}
