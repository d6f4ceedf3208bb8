/*
 * The parts that image_build puts together: the block under construction, flattened tables, and the
 * parsers of hosts(5) and resolv.conf(5).
 */
#ifndef MASTER_IMAGE_PARTS_H
#define MASTER_IMAGE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/image.h"
#include "master/conf.h"

/* --- the block: grows; the first failure sticks and is asked for at the end --- */

struct blob {
	uint8_t *p;
	size_t len, size;
	int error; /* errno of the first failure, or 0 */
};

/* Appends n elements, aligned. What cannot be had gives an empty list and b->error. */
struct image_list blob_list(struct blob *b, const void *elements, size_t n, size_t element);
struct image_str blob_str(struct blob *b, const void *octets, size_t len);

/* --- tables (image_table.c) --- */

/* Cuts the address space by t's prefixes; with `any`, 0.0.0.0/0 and ::/0 are among them. t may be
 * NULL: no prefix. Where a prefix stands twice, once negated, the negated one counts. */
struct image_table table_flatten(struct blob *b, const struct conf_table *t, bool any);

/* --- /etc/hosts and /etc/resolv.conf (image_files.c) --- */

/* All of a regular file of at most max octets in malloc'ed memory; else NULL with errno. */
char *file_read(const char *path, size_t max, size_t *len);

struct hosts_entry {
	size_t name; /* offset in `names` */
	uint32_t order;
	uint8_t name_len;
	struct addr a;
};
struct hosts {
	struct hosts_entry *e; /* sorted by name, then as in the file */
	size_t n, size;
	uint8_t *names;
};

/* Reads the text of a hosts file; lines and names that are none are passed over. 0, or -1, errno.
 */
int hosts_parse(struct hosts *h, const char *text, size_t len);
void hosts_free(struct hosts *h);
/* Puts them into the block: at most ANSWER_ADDRS addresses of a family for a name. */
struct image_list hosts_put(struct blob *b, const struct hosts *h);

#define RESOLV_SERVERS_MAX 8 /* glibc takes three; the others are for who lists more */
#define DNS_PORT           53
#define DNS_TIMEOUT_MS     5000  /* resolv.conf(5): RES_TIMEOUT */
#define DNS_TIMEOUT_MAX_MS 30000 /* its silent cap */
#define DNS_ATTEMPTS       2
#define DNS_ATTEMPTS_MAX   5 /* its silent cap */

struct resolv {
	struct addrport server[RESOLV_SERVERS_MAX];
	size_t n;
	uint32_t timeout; /* ms */
	uint32_t attempts;
};

/* The defaults, no servers. */
void resolv_init(struct resolv *r);
/* Reads the text of a resolv.conf; what it does not know is passed over. */
void resolv_parse(struct resolv *r, const char *text, size_t len);

#endif
