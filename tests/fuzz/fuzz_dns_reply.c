/*
 * Arbitrary octets as the reply to a question for www.example: whatever comes is read inside its
 * bounds, and what is taken from it is consistent. The input: one octet for the family, the reply.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/resolver_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t name[] = "www.example";
	struct dns_name question;
	struct dns_answer a;

	if (size == 0)
		return 0;
	unsigned family = (data[0] & 1) != 0 ? LOOKUP_A : LOOKUP_AAAA;
	/* A copy of the exact size, so that a read past it is seen. */
	uint8_t *reply = malloc(size);
	if (reply == NULL || dns_name_from(name, sizeof(name) - 1, &question) == -1)
		abort();
	memcpy(reply, data + 1, size - 1);
	reply = realloc(reply, size - 1 > 0 ? size - 1 : 1);
	if (reply == NULL)
		abort();
	memset(&a, 0xff, sizeof(a));
	if (reply_parse(reply, size - 1, &question, family, &a) == REPLY_ANSWER) {
		if (a.status >= ANSWER_STATUSES || a.naddr > ANSWER_ADDRS ||
		    (a.status == ANSWER_OK) != (a.naddr > 0))
			abort();
		for (unsigned i = 0; i < a.naddr; i++)
			if (a.addr[i].family != (family == LOOKUP_A ? ADDR_V4 : ADDR_V6))
				abort();
		if (dns_lifetime(&a) > DNS_TTL_MAX)
			abort();
	}
	free(reply);
	return 0;
}
