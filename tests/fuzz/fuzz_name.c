/*
 * Names as clients send them. What name_is_address takes for a name must be no address to the C
 * library either: else the rules would see a name where connect(2) would see an address.
 */
#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must_be_name(const uint8_t *name, size_t len)
{
	char text[NAME_MAX_LEN + 1];
	struct in6_addr in6;
	struct in_addr in;

	if (len > NAME_MAX_LEN || memchr(name, '\0', len) != NULL)
		return;
	memcpy(text, name, len);
	text[len] = '\0';
	if (inet_aton(text, &in) != 0 || inet_pton(AF_INET6, text, &in6) == 1)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[NAME_MAX_LEN], again[NAME_MAX_LEN];
	struct addr a, b;
	bool is = name_is_address(data, size, &a);
	int len = name_normalise(data, size, out);

	if (!is && a.family != ADDR_NONE)
		abort();
	if (!is)
		must_be_name(data, size);
	if (len == -1)
		return 0;
	/* Normalising changes nothing about what it is, and nothing the second time. */
	if (name_is_address(out, (size_t)len, &b) != is || addr_cmp(&a, &b) != 0)
		abort();
	if (name_normalise(out, (size_t)len, again) != len || memcmp(out, again, (size_t)len) != 0)
		abort();
	return 0;
}
