/*
 * sallyport.h: the client's side of SOCKS5 over UDP (RFC 1928 section 7), for programs that send
 * and receive datagrams through a SOCKS5 gateway. Link with -lsallyport; see sallyport(3).
 *
 * C99, and C++. Nothing here sends, receives, allocates or keeps state, and every function may be
 * called from any thread. Lengths are in octets, ports in host order, addresses in network order.
 * Where a method encapsulates (RFC 1961), the datagram is encapsulated after its header was
 * written, and laid bare before its header is parsed.
 */
#ifndef SALLYPORT_H
#define SALLYPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ATYP, the type of the address in a header (RFC 1928 section 5). */
#define SALLYPORT_IPV4 1
#define SALLYPORT_NAME 3
#define SALLYPORT_IPV6 4

/* FRAG (section 7): 0 is a datagram of its own, 1 to 127 a fragment's position in its sequence;
 * SALLYPORT_FRAG_END is added to the last one's. */
#define SALLYPORT_FRAG_NONE 0
#define SALLYPORT_FRAG_MAX  127
#define SALLYPORT_FRAG_END  0x80

/* The longest header: RSV FRAG ATYP, a length, a name of 255 octets, a port. */
#define SALLYPORT_HEADER_MAX 262

/*
 * A datagram and its UDP request header. The pointers belong to the caller: sallyport_udp_parse
 * points them into the datagram that it was given, sallyport_udp_from into the sockaddr.
 */
struct sallyport_udp {
	uint8_t frag;
	uint8_t atyp;        /* SALLYPORT_IPV4, SALLYPORT_NAME or SALLYPORT_IPV6 */
	uint8_t host_len;    /* 4, 16, or 1 to 255 for a name */
	const uint8_t *host; /* the address, or the name without a NUL: DST.ADDR */
	uint16_t port;       /* DST.PORT */
	const uint8_t *data; /* the user's data; not read by sallyport_udp_header */
	size_t data_len;     /* may be 0 */
};

/*
 * Parses a datagram as the gateway sends and takes it: RSV FRAG ATYP DST.ADDR DST.PORT DATA.
 * Returns the header's length, or 0 with *out all zero and errno EBADMSG where it is not whole, RSV
 * is not zero, ATYP is unknown, or a name is empty. FRAG is not judged.
 */
size_t sallyport_udp_parse(const void *datagram, size_t len, struct sallyport_udp *out);

/*
 * Writes the header for u->frag, atyp, host, host_len and port into buf; the data are to follow it.
 * Returns its length, or 0 with errno EINVAL (host_len is not that of atyp, or host is NULL) or
 * ENOBUFS (it does not fit size).
 */
size_t sallyport_udp_header(void *buf, size_t size, const struct sallyport_udp *u);

/* The header's length for an address or a name of host_len octets: 10, 22, or 7 + host_len; 0 where
 * host_len is not that of atyp. */
size_t sallyport_udp_header_len(int atyp, size_t host_len);

/* Sets atyp, host, host_len and port from an AF_INET or AF_INET6 address, frag to 0, and no data.
 * 0, or -1 with errno EAFNOSUPPORT or EINVAL (len is too short for its family). */
int sallyport_udp_from(struct sallyport_udp *u, const struct sockaddr *sa, socklen_t len);

/* The address and port of a header as a socket address, and its length into *len. 0, or -1 with
 * errno EAFNOSUPPORT where it holds a name. */
int sallyport_udp_to(const struct sallyport_udp *u, struct sockaddr_storage *ss, socklen_t *len);

/*
 * The buffer space to report for the data of a datagram, as section 7 has it: what the operating
 * system gives, less 10 octets for SALLYPORT_IPV4, 262 for SALLYPORT_NAME, 20 for SALLYPORT_IPV6,
 * and less what the method's encapsulation adds. 0 where nothing is left, or, with errno EINVAL,
 * for another atyp. The RFC's 20 leaves out the port: an IPv6 header takes 22 octets
 * (sallyport_udp_header_len), so a datagram that fills this space to IPv6 does not fit by two.
 */
size_t sallyport_udp_space(size_t os_space, int atyp, size_t method_overhead);

#ifdef __cplusplus
}
#endif

#endif
