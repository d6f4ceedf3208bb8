/*
 * A datagram of arbitrary octets: a header that is taken lies inside the input and is written again
 * octet for octet, and fewer octets of it are no header.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/datagram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_datagram(const uint8_t *data, size_t size, const struct sallyport_udp *u)
{
	struct datagram d;

	if (datagram_parse(data, size, &d) != 0 || d.head != data ||
	    d.head + d.head_len != d.data || d.data_len != u->data_len || d.port != u->port ||
	    d.frag != u->frag)
		abort();
	if (u->atyp == SALLYPORT_NAME
		? d.name != u->host || d.name_len != u->host_len
		: d.name_len != 0 || memcmp(d.addr.b, u->host, u->host_len) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[SALLYPORT_HEADER_MAX];
	struct sockaddr_storage ss;
	struct sallyport_udp u, back;
	socklen_t len;
	size_t head = sallyport_udp_parse(data, size, &u);

	if (head == 0)
		return 0;
	if (head > size || head > SALLYPORT_HEADER_MAX || u.data != data + head ||
	    u.data_len != size - head || u.host + u.host_len + 2 != u.data)
		abort();
	if (sallyport_udp_header(again, sizeof(again), &u) != head ||
	    memcmp(again, data, head) != 0)
		abort();
	check_datagram(data, size, &u);
	if ((sallyport_udp_to(&u, &ss, &len) == 0) != (u.atyp != SALLYPORT_NAME))
		abort();
	if (u.atyp != SALLYPORT_NAME &&
	    (sallyport_udp_from(&back, (struct sockaddr *)&ss, len) != 0 || back.port != u.port ||
		back.atyp != u.atyp || memcmp(back.host, u.host, u.host_len) != 0))
		abort();
	for (size_t n = 0; n < head; n++)
		if (sallyport_udp_parse(data, n, &u) != 0)
			abort();
	return 0;
}
