/*
 * `process`: the users that the children run as. Each has its own, so that one that is taken over
 * can neither signal nor trace another; what is not given is found here: the packaged user, or a
 * number that no one else has.
 */
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "master/conf_grammar.h"
#include "master/conf_parse.h"

#define UID_FIRST 64200u /* above the users people make, below those of systemd and nobody */
#define UID_LAST  64999u
#define ID_MAX    4294967294u /* (uid_t)-1 means "unchanged" to setresuid(2) */

static enum role
role_of(const struct conf_item *word)
{
	switch (word->token) {
	case T_WORKER:
		return ROLE_WORKER;
	case T_RESOLVER:
		return ROLE_RESOLVER;
	case T_PASSWORD:
		return ROLE_PASSWORD;
	case T_INITIATOR:
		return ROLE_INITIATOR;
	case T_ACCEPTOR:
		return ROLE_ACCEPTOR;
	default:
		return ROLE_PAM;
	}
}

void
conf_process_begin(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *role)
{
	struct conf_process *p = &ps->conf->process[role_of(role)];

	if (p->given)
		conf_error(ps, w,
		    "process %s stands a second time, expected it once (first: %s:%u)", role->s,
		    p->where.file, p->where.line);
	p->given = true;
	p->where = *w;
	ps->process = p;
}

void
conf_process_uid(struct conf_parse *ps, const struct conf_item *user)
{
	struct conf_process *p = ps->process;
	const struct passwd *pw;
	uint32_t n = 0;

	if (p->uid_given) {
		conf_error(ps, &user->where, "uid stands twice for one process, expected it once");
		return;
	}
	if (user->len > 0 && strspn(user->s, "0123456789") == user->len) {
		if (!conf_number(ps, user, "user's number", 1, ID_MAX, &n))
			return;
		pw = getpwuid(n);
	} else if (conf_text(ps, user, "a user", USER_MAX) == NULL) {
		return;
	} else if ((pw = getpwnam(user->s)) == NULL) {
		conf_error(ps, &user->where,
		    "no user %s on this machine, expected a user's name or number",
		    conf_show(ps, user));
		return;
	}
	p->uid = pw != NULL ? pw->pw_uid : n;
	p->gid = pw != NULL ? pw->pw_gid : n;
	p->uid_given = true;
	if (p->uid == 0 || p->gid == 0)
		conf_error(ps, &user->where,
		    "user %s is root or in root's group, expected a user without rights",
		    conf_show(ps, user));
}

void
conf_process_chroot(struct conf_parse *ps, const struct conf_item *path)
{
	struct conf_process *p = ps->process;
	const char *s;

	if (p == &ps->conf->process[ROLE_PAM])
		conf_error(ps, &path->where,
		    "process pam has a chroot, expected none: PAM's modules need the files");
	else if (p == &ps->conf->process[ROLE_INITIATOR])
		conf_error(ps, &path->where,
		    "process initiator has a chroot, expected none: Kerberos needs its configuration and caches");
	else if (p->chroot != NULL)
		conf_error(
		    ps, &path->where, "chroot stands twice for one process, expected it once");
	else if ((s = conf_path(ps, path, "a chroot", PATH_MAX_MSG - 1)) != NULL &&
		 s[strspn(s, "/.")] == '\0')
		conf_error(ps, &path->where,
		    "chroot %s is no other place, expected a directory of its own",
		    conf_show(ps, path));
	else if (s != NULL)
		p->chroot = conf_copy(ps, s, strlen(s));
}

static bool
uid_taken(const struct conf *c, uint32_t id)
{
	for (unsigned r = 0; r < ROLE_COUNT; r++)
		if (c->process[r].uid == id || c->process[r].gid == id)
			return true;
	return getpwuid(id) != NULL || getgrgid(id) != NULL;
}

static void
process_default(struct conf_parse *ps, enum role r)
{
	struct conf_process *p = &ps->conf->process[r];
	const struct passwd *pw = getpwnam(conf_sprintf(ps, "sallyport-%s", role_name(r)));
	uint32_t id = UID_FIRST;

	if (pw != NULL && pw->pw_uid != 0 && pw->pw_gid != 0) {
		p->uid = pw->pw_uid;
		p->gid = pw->pw_gid;
		return;
	}
	while (id <= UID_LAST && uid_taken(ps->conf, id))
		id++;
	if (id > UID_LAST)
		conf_error(ps, &ps->end,
		    "no free user number from %u to %u, expected process %s uid NAME", UID_FIRST,
		    UID_LAST, role_name(r));
	p->uid = p->gid = id;
}

void
conf_process_finish(struct conf_parse *ps)
{
	struct conf_process *p = ps->conf->process;

	for (unsigned r = ROLE_MASTER + 1; r < ROLE_COUNT; r++)
		if (!p[r].uid_given && ps->conf->errors == 0) /* else it is not used */
			process_default(ps, (enum role)r);
	for (unsigned r = ROLE_MASTER + 1; r < ROLE_COUNT; r++)
		for (unsigned o = ROLE_MASTER + 1; o < r; o++)
			if (p[r].uid != 0 && p[r].uid == p[o].uid)
				conf_error(ps, p[r].uid_given ? &p[r].where : &p[o].where,
				    "process %s and process %s share the user %u, expected each to have its own",
				    role_name((enum role)o), role_name((enum role)r), p[r].uid);
}
