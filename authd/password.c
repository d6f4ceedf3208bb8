/*
 * The password role. Owns the users in force. Every check costs one hash of the same kind, whether
 * the user is unknown, the password wrong, the account locked or expired: which of these it was is
 * decided only after the hash, and only the master learns it.
 */
#include "authd/password.h"

#include <bsd/string.h>
#include <crypt.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "authd/ask.h"
#include "authd/link.h"
#include "authd/pool.h"
#include "common/users.h"

#define KINDS_MAX 32 /* kinds of hashes told apart when the most common one is looked for */

/* What is known of the claimed user while the hash runs. */
struct check {
	bool known, locked;
	int64_t expires;
	struct exchange *x;
};

static struct {
	struct users *users; /* NULL: none could be read yet */
	bool asked;          /* the master has sent a users file, good or not */
	char dummy[USERS_HASH_MAX];
	char default_dummy[USERS_HASH_MAX]; /* where no user has a hash that works */
} here;

/* --- the dummy: what an unknown user's password is hashed with --- */

static size_t
skip_field(const char *h, size_t at)
{
	const char *dollar = strchr(h + at, '$');

	return dollar != NULL ? (size_t)(dollar - h) + 1 : strlen(h);
}

/* The length of the part that says method and cost, crypt(5); the salt and the hash follow it. */
static size_t
kind_length(const char *h)
{
	static const char *const with_cost[] = { "$y$", "$gy$", "$2a$", "$2b$", "$2x$", "$2y$",
		"$sha1" };
	const size_t scrypt_costs = 3 + 11; /* "$7$", then N, r and p in 1 + 5 + 5 digits */

	if (h[0] != '$')
		return 0; /* the traditional ones have no prefix and one cost */
	size_t id = skip_field(h, 1);
	for (size_t i = 0; i < sizeof(with_cost) / sizeof(with_cost[0]); i++) {
		if (strncmp(h, with_cost[i], strlen(with_cost[i])) == 0)
			return skip_field(h, id);
	}
	if (strncmp(h, "$7$", 3) == 0)
		return strlen(h) < scrypt_costs ? strlen(h) : scrypt_costs;
	if (strncmp(h + id, "rounds=", 7) == 0)
		return skip_field(h, id);
	return id;
}

/* A hash of the kind that most users have. What comes out of hashing with it is thrown away, so it
 * may be anyone's: nobody can match it under another name. */
static const char *
common_hash(const struct users *u)
{
	struct {
		const char *hash;
		size_t len, count;
	} kind[KINDS_MAX] = { 0 };
	size_t kinds = 0, best = 0;

	for (size_t i = 0; i < users_count(u); i++) {
		const char *h = users_nth(u, i)->hash;
		size_t len = kind_length(h), k = 0;

		if (crypt_checksalt(h) == CRYPT_SALT_INVALID)
			continue;
		while (k < kinds && (kind[k].len != len || strncmp(kind[k].hash, h, len) != 0))
			k++;
		if (k == KINDS_MAX)
			continue;
		if (k == kinds) {
			kind[kinds].hash = h;
			kind[kinds++].len = len;
		}
		if (++kind[k].count > kind[best].count)
			best = k;
	}
	return kind[best].hash;
}

static void
dummy_choose(void)
{
	const char *h = here.users != NULL ? common_hash(here.users) : NULL;

	memset(here.dummy, 0, sizeof(here.dummy));
	strlcpy(here.dummy, h != NULL ? h : here.default_dummy, sizeof(here.dummy));
}

/* --- the check --- */

static enum verdict_code
verdict_of(const struct check *c, bool match)
{
	int64_t now = (int64_t)time(NULL);

	if (!c->known)
		return VERDICT_UNKNOWN;
	if (!match)
		return VERDICT_WRONG;
	if (c->locked)
		return VERDICT_LOCKED;
	if (c->expires != 0 && now >= c->expires)
		return VERDICT_EXPIRED;
	return VERDICT_ACCEPT;
}

static void
on_hashed(struct pool_job *j)
{
	struct check *c = j->owner;
	struct exchange *x = c->x;
	enum verdict_code v = verdict_of(c, j->match);

	x->check = NULL;
	free(c);
	exchange_done(x, v);
}

static bool
password_room(void)
{
	return here.asked && pool_room();
}

/* What an accept would say, taken now: the file may change while the hash runs. */
static int
accept_copy(struct exchange *x, const struct user *u)
{
	memcpy(x->name, u->name, u->name_len);
	x->name_len = u->name_len;
	if (u->groups_len == 0)
		return 0;
	if ((x->groups = malloc(u->groups_len)) == NULL)
		return -1;
	memcpy(x->groups, u->groups, u->groups_len);
	x->groups_len = u->groups_len;
	return 0;
}

static void
password_begin(struct exchange *x)
{
	struct check *c = here.users != NULL ? calloc(1, sizeof(*c)) : NULL;
	const struct user *u = NULL;

	if (c != NULL)
		u = users_find(here.users, x->user, x->user_len);
	if (c == NULL || (u != NULL && accept_copy(x, u) == -1)) {
		free(c);
		explicit_bzero(x->password, sizeof(x->password));
		exchange_done(x, VERDICT_FAILED);
		return;
	}
	c->x = x;
	if (u != NULL) {
		c->known = true;
		c->locked = u->locked;
		c->expires = u->expires;
	}
	struct pool_job *j = pool_take();
	j->owner = c;
	memcpy(j->hash, u != NULL ? u->hash : here.dummy, sizeof(j->hash));
	memcpy(j->dummy, here.dummy, sizeof(j->dummy));
	users_phrase(x->password, x->password_len, j->phrase);
	explicit_bzero(x->password, sizeof(x->password));
	x->check = c;
	pool_submit(j);
}

int
password_init(struct loop *l, const struct msg_init *init)
{
	struct crypt_data *d = calloc(1, sizeof(*d));
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];
	int error = -1;

	(void)init;
	if (ask_init(l) == 0 && d != NULL &&
	    crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)) != NULL &&
	    crypt_r("", setting, d) != NULL && d->output[0] != '*') {
		strlcpy(here.default_dummy, d->output, sizeof(here.default_dummy));
		error = pool_init(l, on_hashed);
	}
	free(d);
	dummy_choose();
	return error;
}

static void
password_users(int fd)
{
	struct msg_users_ack ack = { 0 };
	unsigned line;
	const char *what;
	struct users *u = users_read(fd, &line, &what);

	here.asked = true;
	if (u != NULL) {
		users_free(here.users);
		here.users = u;
		dummy_choose();
		ack.users = (uint32_t)users_count(u);
	} else {
		ack.users = here.users != NULL ? (uint32_t)users_count(here.users) : 0;
		ack.line = line > 0 ? line : 1; /* 0 would say that all is well */
		if (line > 0)
			snprintf(ack.what, sizeof(ack.what), "%s", what);
		else
			snprintf(ack.what, sizeof(ack.what), "the file cannot be read: %s",
			    strerror(errno));
	}
	(void)chan_send(link_master(), MSG_USERS_ACK, &ack, sizeof(ack), -1);
	exchange_room();
}

const struct check_role password_role = {
	.method = METHOD_PASSWORD,
	.room = password_room,
	.hold = ask_hold,
	.begin = password_begin,
	.checked = ask_checked,
	.password = ask_password,
	.users = password_users,
};
