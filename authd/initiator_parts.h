/*
 * The initiator's credentials, by the name of their upstream: passwords and keytabs that the master
 * has passed as descriptors. Only this process has them.
 */
#ifndef AUTHD_INITIATOR_PARTS_H
#define AUTHD_INITIATOR_PARTS_H

#include "authd/initiation.h"
#include "common/image.h"
#include "common/socks.h"

/* Before the sandbox: the Kerberos library reads what it will not be able to. 0, or -1. */
int credentials_init(void);
/* Takes what fd holds: a keytab, or one line USER:PASSWORD. How many; 0 with `what`, and those
 * before stay. */
uint32_t credentials_load(
    const struct image *img, const struct image_upstream *u, int fd, char *what, size_t what_size);
/* A new policy: what belongs to no upstream of it is wiped. */
void credentials_keep(const struct image *img);
/* The message of RFC 1929 into out; its length, or 0: there is no password. */
size_t credentials_password(const char *name, uint8_t out[SOCKS_AUTH_MAX]);
/* What is wanted of a context. False: the keytab is missing, or a text is too long. */
bool credentials_fill(const struct image *img, const struct image_upstream *u, const char *name,
    struct initiation *i);

const struct image_upstream *upstream_named(const struct image *img, const char *name);

#endif
