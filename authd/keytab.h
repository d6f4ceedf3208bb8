/*
 * The keytab: MIT's file format, version 0x502, read whole from a descriptor that the master
 * passes, into a keytab in memory.
 */
#ifndef AUTHD_KEYTAB_H
#define AUTHD_KEYTAB_H

#include <krb5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYTAB_SIZE_MAX    (1u << 20) /* octets of the file: some 10,000 keys */
#define KEYTAB_KEYS_MAX    4096       /* a service has a handful; each look-up walks them all */
#define KEYTAB_COMPONENTS  16         /* of a principal; "socks/host" has two */
#define KEYTAB_TEXT_MAX    1024       /* octets of a realm or a component */
#define KEYTAB_MEMORY_NAME 32         /* octets of "MEMORY:" and a number */

/* A run of octets in the file. */
struct keytab_text {
	const uint8_t *p;
	size_t len;
};

struct keytab_key {
	struct keytab_text realm;
	struct keytab_text component[KEYTAB_COMPONENTS];
	unsigned components; /* 1.. */
	uint32_t name_type, timestamp, kvno;
	uint16_t enctype;
	struct keytab_text key; /* as long as its enctype says, where that is one of AES */
};

/* Is it a key of one of the four AES types (common/encap.h)? */
bool keytab_key_is_aes(const struct keytab_key *k);

/* Calls `each` for every entry that is not deleted; false from it ends the reading. How many there
 * were, or -1 with a constant text in *what (NULL: `each` ended it). */
int keytab_parse(const uint8_t *data, size_t len,
    bool (*each)(void *arg, const struct keytab_key *), void *arg, const char **what);

/*
 * Reads fd into a new keytab of this process's memory, of AES keys alone: no other can protect a
 * session. How many keys, with the keytab in *kt and its name; or -1 with the error in what.
 */
int keytab_load(krb5_context k, int fd, krb5_keytab *kt, char name[KEYTAB_MEMORY_NAME], char *what,
    size_t what_size);

#endif
