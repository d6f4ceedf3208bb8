/*
 * The codec of the UDP request header, RFC 1928 section 7: the whole of libsallyport, and what the
 * gateway's own relay reads and writes (common/datagram.c). Owns nothing, trusts no octet.
 */
#include "common/sallyport.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "common/wire.h"

#define IPV4_LEN 4
#define IPV6_LEN 16
#define NAME_LEN 255

/* RFC 1928 section 5: an address's length follows from ATYP, a name's stands before it. */
static uint8_t
host_len(uint8_t atyp, struct wire *w)
{
	switch (atyp) {
	case SALLYPORT_IPV4:
		return IPV4_LEN;
	case SALLYPORT_IPV6:
		return IPV6_LEN;
	case SALLYPORT_NAME:
		return wire_u8(w);
	default:
		return 0;
	}
}

size_t
sallyport_udp_parse(const void *datagram, size_t len, struct sallyport_udp *out)
{
	struct wire w = wire_from(datagram, len);
	uint16_t rsv = wire_u16(&w);

	memset(out, 0, sizeof(*out));
	out->frag = wire_u8(&w);
	out->atyp = wire_u8(&w);
	out->host_len = host_len(out->atyp, &w);
	out->host = wire_take(&w, out->host_len);
	out->port = wire_u16(&w);
	/* "RSV Reserved X'0000'" */
	if (w.bad || rsv != 0 || out->host_len == 0) {
		memset(out, 0, sizeof(*out));
		errno = EBADMSG;
		return 0;
	}
	out->data = w.p;
	out->data_len = wire_left(&w);
	return len - out->data_len;
}

size_t
sallyport_udp_header_len(int atyp, size_t len)
{
	switch (atyp) {
	case SALLYPORT_IPV4:
		return len == IPV4_LEN ? 4 + len + 2 : 0;
	case SALLYPORT_IPV6:
		return len == IPV6_LEN ? 4 + len + 2 : 0;
	case SALLYPORT_NAME:
		return len >= 1 && len <= NAME_LEN ? 5 + len + 2 : 0;
	default:
		return 0;
	}
}

size_t
sallyport_udp_header(void *buf, size_t size, const struct sallyport_udp *u)
{
	size_t len = sallyport_udp_header_len(u->atyp, u->host_len);
	uint8_t *p = buf;

	if (len == 0 || u->host == NULL) {
		errno = EINVAL;
		return 0;
	}
	if (size < len) {
		errno = ENOBUFS;
		return 0;
	}
	*p++ = 0; /* RSV */
	*p++ = 0;
	*p++ = u->frag;
	*p++ = u->atyp;
	if (u->atyp == SALLYPORT_NAME)
		*p++ = u->host_len;
	memcpy(p, u->host, u->host_len);
	p += u->host_len;
	*p++ = (uint8_t)(u->port >> 8);
	*p++ = (uint8_t)u->port;
	return len;
}

int
sallyport_udp_from(struct sallyport_udp *u, const struct sockaddr *sa, socklen_t len)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	memset(u, 0, sizeof(*u));
	if (len >= sizeof(sa->sa_family) && sa->sa_family != AF_INET && sa->sa_family != AF_INET6) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	if (len < sizeof(*in) || (sa->sa_family == AF_INET6 && len < sizeof(*in6))) {
		errno = EINVAL;
		return -1;
	}
	if (sa->sa_family == AF_INET) {
		u->atyp = SALLYPORT_IPV4;
		u->host = (const uint8_t *)&in->sin_addr;
		u->host_len = IPV4_LEN;
		u->port = ntohs(in->sin_port);
	} else {
		u->atyp = SALLYPORT_IPV6;
		u->host = in6->sin6_addr.s6_addr;
		u->host_len = IPV6_LEN;
		u->port = ntohs(in6->sin6_port);
	}
	return 0;
}

int
sallyport_udp_to(const struct sallyport_udp *u, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (u->atyp == SALLYPORT_IPV4 && u->host_len == IPV4_LEN) {
		in->sin_family = AF_INET;
		in->sin_port = htons(u->port);
		memcpy(&in->sin_addr, u->host, IPV4_LEN);
		*len = sizeof(*in);
		return 0;
	}
	if (u->atyp == SALLYPORT_IPV6 && u->host_len == IPV6_LEN) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(u->port);
		memcpy(&in6->sin6_addr, u->host, IPV6_LEN);
		*len = sizeof(*in6);
		return 0;
	}
	errno = EAFNOSUPPORT;
	return -1;
}

size_t
sallyport_udp_space(size_t os_space, int atyp, size_t method_overhead)
{
	size_t less;

	/* RFC 1928 section 7, as it is written. */
	switch (atyp) {
	case SALLYPORT_IPV4:
		less = 10;
		break;
	case SALLYPORT_NAME:
		less = 262;
		break;
	case SALLYPORT_IPV6:
		less = 20;
		break;
	default:
		errno = EINVAL;
		return 0;
	}
	if (os_space < less || os_space - less < method_overhead)
		return 0;
	return os_space - less - method_overhead;
}
