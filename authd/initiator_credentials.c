/*
 * What the initiator authenticates with. Owns the secrets; trusts the master, and the files only so
 * far as they are what they should be.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "authd/initiator_parts.h"
#include "authd/keytab.h"

static struct {
	krb5_context k;
	struct credential {
		char name[UPSTREAM_NAME_MAX + 1]; /* of the upstream; "" : not in use */
		uint8_t user_len, password_len;   /* METHOD_PASSWORD */
		uint8_t user[USER_MAX], password[PASSWORD_MAX];
		krb5_keytab keytab; /* METHOD_GSSAPI: NULL where there is none */
		char memory[KEYTAB_MEMORY_NAME];
	} all[UPSTREAMS_MAX];
} here;

int
credentials_init(void)
{
	return krb5_init_context(&here.k) == 0 ? 0 : -1;
}

const struct image_upstream *
upstream_named(const struct image *img, const char *name)
{
	const struct image_upstream *u = image_at(img, img->upstreams);

	for (uint32_t i = 0; i < img->upstreams.n; i++)
		if (u[i].name.len == strlen(name) &&
		    memcmp(image_octets(img, u[i].name), name, u[i].name.len) == 0)
			return &u[i];
	return NULL;
}

static struct credential *
find(const char *name)
{
	for (unsigned i = 0; i < UPSTREAMS_MAX; i++)
		if (strcmp(here.all[i].name, name) == 0)
			return &here.all[i];
	return NULL;
}

static void
drop(struct credential *c)
{
	if (c->keytab != NULL)
		krb5_kt_close(here.k, c->keytab);
	explicit_bzero(c, sizeof(*c));
}

void
credentials_keep(const struct image *img)
{
	for (unsigned i = 0; i < UPSTREAMS_MAX; i++) {
		struct credential *c = &here.all[i];
		const struct image_upstream *u;

		if (c->name[0] == '\0')
			continue;
		u = upstream_named(img, c->name);
		if (u == NULL || (c->user_len > 0) != (u->method == METHOD_PASSWORD) ||
		    (c->keytab != NULL && !u->keytab))
			drop(c);
	}
}

/* One line USER:PASSWORD; the password may hold colons. */
static bool
password_parse(char *text, size_t len, struct credential *c)
{
	const char *end = memchr(text, '\n', len);
	size_t line = end != NULL ? (size_t)(end - text) : len;
	const char *colon = memchr(text, ':', line);

	if (colon == NULL || memchr(text, '\0', line) != NULL || line + 1 < len)
		return false;
	size_t user = (size_t)(colon - text), password = line - user - 1;
	if (user == 0 || user > USER_MAX || password == 0 || password > PASSWORD_MAX)
		return false;
	c->user_len = (uint8_t)user;
	c->password_len = (uint8_t)password;
	memcpy(c->user, text, user);
	memcpy(c->password, colon + 1, password);
	return true;
}

static bool
password_load(int fd, struct credential *c, char *what, size_t what_size)
{
	char text[USER_MAX + 1 + PASSWORD_MAX + 2];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	bool ok = n > 0 && (size_t)n < sizeof(text) && password_parse(text, (size_t)n, c);

	if (n == -1)
		snprintf(what, what_size, "it cannot be read: %s", strerror(errno));
	else if (!ok)
		snprintf(what, what_size, "expected one line USER:PASSWORD");
	explicit_bzero(text, sizeof(text));
	return ok;
}

uint32_t
credentials_load(
    const struct image *img, const struct image_upstream *u, int fd, char *what, size_t what_size)
{
	struct credential new, *c;
	int n = 1;

	memset(&new, 0, sizeof(new));
	memcpy(new.name, image_octets(img, u->name), u->name.len);
	if (u->method == METHOD_PASSWORD)
		n = password_load(fd, &new, what, what_size) ? 1 : 0;
	else
		n = keytab_load(here.k, fd, &new.keytab, new.memory, what, what_size);
	c = find(new.name);
	if (c == NULL)
		c = find("");
	if (n > 0 && c != NULL) {
		drop(c);
		*c = new;
	}
	explicit_bzero(&new, sizeof(new));
	return n > 0 ? (uint32_t)n : 0;
}

size_t
credentials_password(const char *name, uint8_t out[SOCKS_AUTH_MAX])
{
	const struct credential *c = find(name);
	size_t at = 0;

	if (c == NULL || c->user_len == 0)
		return 0;
	out[at++] = SOCKS_AUTH_VERSION;
	out[at++] = c->user_len;
	memcpy(out + at, c->user, c->user_len);
	at += c->user_len;
	out[at++] = c->password_len;
	memcpy(out + at, c->password, c->password_len);
	return at + c->password_len;
}

static bool
text(const struct image *img, struct image_str s, char *out, size_t size)
{
	int n = snprintf(out, size, "%.*s", (int)s.len, (const char *)image_octets(img, s));

	return n >= 0 && (size_t)n < size;
}

/* The starter's own cache, by its name: asked for none, libkrb5 1.20 looks into all that there are,
 * and dies of one that it cannot read. */
static bool
cache_of_default(char *out, size_t size)
{
	const char *name = krb5_cc_default_name(here.k);
	int n = name != NULL ? snprintf(out, size, "%s", name) : -1;

	return n > 0 && (size_t)n < size;
}

bool
credentials_fill(
    const struct image *img, const struct image_upstream *u, const char *name, struct initiation *i)
{
	const struct credential *c = find(name);
	int n = snprintf(i->target, sizeof(i->target), "%.*s@%.*s", (int)u->service.len,
	    (const char *)image_octets(img, u->service), (int)u->host.len,
	    (const char *)image_octets(img, u->host));

	i->level = u->level;
	if (u->keytab && (c == NULL || c->keytab == NULL))
		return false;
	if (u->keytab)
		snprintf(i->keytab, sizeof(i->keytab), "%s", c->memory);
	if (n <= 0 || (size_t)n >= sizeof(i->target) ||
	    !text(img, u->ccache, i->ccache, sizeof(i->ccache)) ||
	    !text(img, u->principal, i->principal, sizeof(i->principal)))
		return false;
	return u->keytab || i->ccache[0] != '\0' || cache_of_default(i->ccache, sizeof(i->ccache));
}
