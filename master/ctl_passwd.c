/*
 * sallyportctl passwd: adds, changes, removes, locks and lists users of the users file. Passwords
 * come from the terminal without echo or from standard input, never from an argument, and are
 * wiped. A running gateway watches the file, so a change is in force at once.
 */
#include "master/ctl_passwd.h"

#include <bsd/readpassphrase.h>
#include <crypt.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "master/ctl_users.h"

#define DEFAULT_FILE SYSCONFDIR "/sallyport/users"
#define BCRYPT_MAX   72 /* octets of a password that bcrypt looks at, crypt(5) */
#define DATE_SIZE    sizeof("YYYY-MM-DD")
#define PROMPT_MAX   (3 * USER_MAX + 64)
/* A line at most: name and groups escaped, the hash, the date, "locked", colons, newline, NUL. */
#define LINE_SIZE (3 * USER_MAX + USERS_HASH_MAX + 3 * GROUPS_MAX + 64)

struct hash_method {
	const char *name, *prefix; /* crypt(5) */
	size_t most;               /* octets of a phrase; 0: no limit of its own */
};

static const struct hash_method methods[] = {
	{ "yescrypt", "$y$", 0 },
	{ "gost-yescrypt", "$gy$", 0 },
	{ "scrypt", "$7$", 0 },
	{ "bcrypt", "$2b$", BCRYPT_MAX },
	{ "sha512crypt", "$6$", 0 },
	{ "sha256crypt", "$5$", 0 },
};
#define METHODS (sizeof(methods) / sizeof(methods[0]))

/* What the command line says. */
struct request {
	const char *file;
	const struct hash_method *method;
	const char *groups, *expires; /* NULL: not given; then as the file has them */
	bool help;
	const char *user;
	char shown[3 * USER_MAX + 1]; /* the user for messages */
};

struct passwd_command {
	const char *name, *usage;
	int operands; /* behind the command's name */
	bool create;  /* the file may be missing */
	bool exists;  /* the user must be there; else must not */
	int (*run)(struct ctl_users *f, const struct request *r, const struct user *u);
};

/* --- the new line --- */

static void
date_format(int64_t expires, char out[DATE_SIZE])
{
	time_t last = (time_t)expires - 1; /* within the last day that it serves */
	struct tm tm;

	out[0] = '\0';
	if (expires != 0 && gmtime_r(&last, &tm) != NULL)
		(void)strftime(out, DATE_SIZE, "%Y-%m-%d", &tm);
}

/* The groups of a user as they stand in the file. */
static void
groups_format(const struct user *u, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < u->groups_len; i += 1u + u->groups[i]) {
		if (i > 0)
			out[n++] = ',';
		n += (size_t)users_escape(u->groups + i + 1, u->groups[i], out + n, size - n);
	}
}

/* One line of the file in malloc'ed memory, or NULL. `groups` is in the file's form. */
static char *
line_make(
    const struct user *u, const char *hash, const char *groups, const char *expires, bool locked)
{
	char name[3 * USER_MAX + 1], *line = malloc(LINE_SIZE);

	if (line == NULL || users_escape(u->name, u->name_len, name, sizeof(name)) == -1) {
		free(line);
		return NULL;
	}
	int n = snprintf(line, LINE_SIZE, "%s:%s:%s:%s%s\n", name, hash, groups, expires,
	    locked ? ":locked" : "");
	if (n > 0 && (size_t)n < LINE_SIZE)
		return line;
	free(line);
	errno = EMSGSIZE;
	return NULL;
}

/* Writes user u (in the file or, with old NULL, new) with these things changed; NULL: as it is. */
static int
put(struct ctl_users *f, const struct user *old, const struct user *u, const char *hash,
    const char *groups, const char *expires, const bool *locked)
{
	static char old_groups[3 * GROUPS_MAX + 1];
	char old_expires[DATE_SIZE];

	groups_format(u, old_groups, sizeof(old_groups));
	date_format(u->expires, old_expires);
	char *line =
	    line_make(u, hash != NULL ? hash : u->hash, groups != NULL ? groups : old_groups,
		expires != NULL ? expires : old_expires, locked != NULL ? *locked : u->locked);
	if (line == NULL) {
		warn("the new line");
		return -1;
	}
	int error = ctl_users_replace(f, old, line);
	explicit_bzero(line, strlen(line));
	free(line);
	return error;
}

/* --- the arguments --- */

/* Does the list have an element of these octets? */
static bool
in_list(const char *list, const char *end, const char *what, size_t len)
{
	while (list < end) {
		size_t n = strcspn(list, ",");

		if (n == len && memcmp(list, what, len) == 0)
			return true;
		list += n + 1;
	}
	return false;
}

/* "a,b" as given, into the file's form. */
static int
groups_argument(const char *s, char *out, size_t size)
{
	const char *all = s;
	size_t n = 0;

	out[0] = '\0';
	if (*s == '\0')
		return 0;
	for (;;) {
		size_t len = strcspn(s, ",");
		ssize_t put_len = users_escape((const uint8_t *)s, len, out + n, size - n);

		if (len == 0 || len > USER_MAX || put_len == -1 || strlen(all) >= GROUPS_MAX) {
			warnx("each group is 1 to 255 octets, all of them at most %d", GROUPS_MAX);
			return -1;
		}
		if (in_list(all, s, s, len)) {
			warnx("group %.*s stands twice", (int)put_len, out + n);
			return -1;
		}
		n += (size_t)put_len;
		if (s[len] == '\0')
			return 0;
		out[n++] = ',';
		s += len + 1;
	}
}

/* A date, or "never"; as the file has it. */
static const char *
expires_argument(const char *s)
{
	int64_t end = 0;

	if (strcmp(s, "never") == 0)
		return "";
	if (*s == '\0' || !users_expires(s, &end)) {
		warnx("'%s' is no date: expected YYYY-MM-DD, the last day on which the account "
		      "serves, or never",
		    s);
		return NULL;
	}
	if (end <= (int64_t)time(NULL))
		warnx("warning: %s is past: the account is refused from now on", s);
	return s;
}

/* --- the password --- */

static int
password_from_terminal(const struct request *r, char *buf, size_t size)
{
	char prompt[PROMPT_MAX], again[PASSWORD_MAX + 2] = { 0 };
	int error = -1;

	snprintf(prompt, sizeof(prompt), "New password for %s: ", r->shown);
	if (readpassphrase(prompt, buf, size, RPP_REQUIRE_TTY) == NULL ||
	    readpassphrase("The same again: ", again, sizeof(again), RPP_REQUIRE_TTY) == NULL)
		warn("the terminal");
	else if (strcmp(buf, again) != 0)
		warnx("the two passwords differ; nothing is changed");
	else
		error = (int)strlen(buf);
	explicit_bzero(again, sizeof(again));
	return error;
}

static int
password_from_stdin(char *buf, size_t size)
{
	size_t n = 0;

	while (n < size) {
		ssize_t got = read(STDIN_FILENO, buf + n, size - n);
		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1) {
			warn("standard input");
			return -1;
		}
		if (got == 0)
			break;
		n += (size_t)got;
	}
	/* One newline ends it; where there is more than any password, it stays too long. */
	if (n > 0 && n < size && buf[n - 1] == '\n')
		n--;
	if (n <= PASSWORD_MAX && memchr(buf, '\n', n) != NULL) {
		warnx("standard input has more than one line, expected a password and no more; "
		      "nothing is changed");
		return -1;
	}
	return (int)n;
}

/* Hashes phrase; 0 or -1. */
static int
hash_phrase(const struct hash_method *m, const char *phrase, char out[USERS_HASH_MAX])
{
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];
	struct crypt_data *d = calloc(1, sizeof(*d));
	int error = -1;

	if (d != NULL &&
	    crypt_gensalt_rn(m->prefix, 0, NULL, 0, setting, sizeof(setting)) != NULL) {
		const char *hash = crypt_r(phrase, setting, d);
		if (hash != NULL && hash[0] != '*') {
			snprintf(out, USERS_HASH_MAX, "%s", hash);
			error = 0;
		}
	}
	if (error == -1)
		warn("%s", m->name);
	if (d != NULL)
		explicit_bzero(d, sizeof(*d));
	free(d);
	return error;
}

/* Asks for a password and hashes it. 0, or -1 with the reason on standard error. */
static int
password_hash(const struct request *r, char out[USERS_HASH_MAX])
{
	char password[PASSWORD_MAX + 2] = { 0 }, phrase[CRYPT_PHRASE_MAX];
	int error = -1;
	int len = isatty(STDIN_FILENO) ? password_from_terminal(r, password, sizeof(password))
				       : password_from_stdin(password, sizeof(password));

	if (len == 0 || len > PASSWORD_MAX) {
		/* RFC 1929 section 2: PLEN is 1 to 255. */
		warnx("a password has 1 to %d octets; nothing is changed", PASSWORD_MAX);
	} else if (len > 0) {
		size_t n = users_phrase((const uint8_t *)password, (size_t)len, phrase);
		if (r->method->most != 0 && n > r->method->most)
			warnx("%s looks at %zu octets only; nothing is changed", r->method->name,
			    r->method->most);
		else
			error = hash_phrase(r->method, phrase, out);
		explicit_bzero(phrase, sizeof(phrase));
	}
	explicit_bzero(password, sizeof(password));
	return error;
}

/* --- the commands --- */

static int
run_add(struct ctl_users *f, const struct request *r, const struct user *u)
{
	char hash[USERS_HASH_MAX];
	struct user new = { 0 };

	(void)u;
	new.name_len = (uint8_t)strlen(r->user);
	memcpy(new.name, r->user, new.name_len);
	if (password_hash(r, hash) == -1)
		return -1;
	return put(f, NULL, &new, hash, r->groups, r->expires, NULL);
}

static int
run_change(struct ctl_users *f, const struct request *r, const struct user *u)
{
	char hash[USERS_HASH_MAX];

	if (password_hash(r, hash) == -1)
		return -1;
	return put(f, u, u, hash, NULL, NULL, NULL);
}

static int
run_remove(struct ctl_users *f, const struct request *r, const struct user *u)
{
	(void)r;
	return ctl_users_replace(f, u, "");
}

static int
run_lock(struct ctl_users *f, const struct request *r, const struct user *u)
{
	const bool locked = true;

	(void)r;
	return put(f, u, u, NULL, NULL, NULL, &locked);
}

static int
run_unlock(struct ctl_users *f, const struct request *r, const struct user *u)
{
	const bool locked = false;

	(void)r;
	return put(f, u, u, NULL, NULL, NULL, &locked);
}

/* groups and expire: one of the two is given. */
static int
run_set(struct ctl_users *f, const struct request *r, const struct user *u)
{
	return put(f, u, u, NULL, r->groups, r->expires, NULL);
}

/* A user a line: name, and what is to be said of it; no hashes. */
static int
run_list(struct ctl_users *f, const struct request *r, const struct user *u)
{
	static char groups[3 * GROUPS_MAX + 1];
	char name[3 * USER_MAX + 1], expires[DATE_SIZE];

	(void)r;
	for (size_t i = 0; (u = users_nth(f->users, i)) != NULL; i++) {
		(void)users_escape(u->name, u->name_len, name, sizeof(name));
		groups_format(u, groups, sizeof(groups));
		date_format(u->expires, expires);
		printf("%s%s%s%s%s%s\n", name, *groups != '\0' ? " groups=" : "", groups,
		    *expires != '\0' ? " expires=" : "", expires, u->locked ? " locked" : "");
	}
	return fflush(stdout) == 0 ? 0 : -1;
}

static const struct passwd_command commands[] = {
	{ "add", "add USER [-g GROUP,...] [-e YYYY-MM-DD|never]", 1, true, false, run_add },
	{ "change", "change USER", 1, false, true, run_change },
	{ "remove", "remove USER", 1, false, true, run_remove },
	{ "lock", "lock USER", 1, false, true, run_lock },
	{ "unlock", "unlock USER", 1, false, true, run_unlock },
	{ "groups", "groups USER GROUP,...", 2, false, true, run_set },
	{ "expire", "expire USER YYYY-MM-DD|never", 2, false, true, run_set },
	{ "list", "list", 0, false, false, run_list },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
usage(FILE *out)
{
	fprintf(out, "usage: sallyportctl passwd [-h] [-f FILE] [-m METHOD] COMMAND\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "       %s\n", commands[i].usage);
	fprintf(out, "methods:");
	for (size_t i = 0; i < METHODS; i++)
		fprintf(out, " %s", methods[i].name);
	fprintf(out, "\n");
}

/* The arguments are wrong: says which, and what there is. */
static int __attribute__((format(printf, 1, 2))) wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vwarnx(fmt, ap);
	va_end(ap);
	usage(stderr);
	return -1;
}

static int
method_option(struct request *r, const char *name)
{
	r->method = NULL;
	for (size_t i = 0; i < METHODS; i++)
		if (strcmp(methods[i].name, name) == 0)
			r->method = &methods[i];
	return r->method != NULL ? 0 : wrong("unknown method %s", name);
}

/* Takes the options that stand next; those behind the command are taken likewise. */
static int
take_options(int argc, char **argv, struct request *r)
{
	static const struct option longs[] = { { "file", required_argument, NULL, 'f' },
		{ "method", required_argument, NULL, 'm' },
		{ "groups", required_argument, NULL, 'g' },
		{ "expires", required_argument, NULL, 'e' }, { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 } };
	int c;

	optind = 0; /* glibc: start anew */
	opterr = 0; /* it would call us by argv[0], which is the command */
	while ((c = getopt_long(argc, argv, "+:f:m:g:e:h", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			r->file = optarg;
			break;
		case 'm':
			if (method_option(r, optarg) == -1)
				return -1;
			break;
		case 'g':
			r->groups = optarg;
			break;
		case 'e':
			r->expires = optarg;
			break;
		case 'h':
			r->help = true;
			return argc;
		case ':':
			return wrong("option %s needs a value", argv[optind - 1]);
		default:
			if (optopt != 0)
				return wrong("unknown option -%c", optopt);
			return wrong("unknown option %s", argv[optind - 1]);
		}
	}
	return optind;
}

static int
run(const struct passwd_command *c, const struct request *r)
{
	const struct user *u = NULL;
	struct ctl_users f;
	int error = -1;

	if (ctl_users_open(&f, r->file, c->create) == -1)
		return 1;
	if (c->operands > 0 && f.users != NULL)
		u = users_find(f.users, (const uint8_t *)r->user, strlen(r->user));
	if (c->operands > 0 && c->exists && u == NULL)
		warnx("%s: there is no user %s", r->file, r->shown);
	else if (c->operands > 0 && !c->exists && u != NULL)
		warnx("%s: user %s is there already; `change` gives another password", r->file,
		    r->shown);
	else
		error = c->run(&f, r, u);
	ctl_users_close(&f);
	return error == 0 ? 0 : 1;
}

static const struct passwd_command *
find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	wrong("unknown command passwd %s", name);
	return NULL;
}

/* The command with its operands, and options anywhere. 0, or -1 and it has been said. */
static int
take_arguments(
    int argc, char **argv, struct request *r, const struct passwd_command **c, char **arg)
{
	int n = 0, at = take_options(argc, argv, r);

	if (at == -1 || r->help)
		return at == -1 ? -1 : 0;
	if (at >= argc)
		return wrong("a command is missing");
	if ((*c = find_command(argv[at])) == NULL)
		return -1;
	while (at < argc) { /* getopt skips the first word */
		argc -= at;
		argv += at;
		if ((at = take_options(argc, argv, r)) == -1)
			return -1;
		if (at >= argc)
			break;
		if (n == (*c)->operands)
			return wrong("unexpected argument %s", argv[at]);
		arg[n++] = argv[at];
	}
	if (r->help)
		return 0;
	if (n < (*c)->operands)
		return wrong("an argument is missing: %s", (*c)->usage);
	if ((*c)->run != run_add && (r->groups != NULL || r->expires != NULL))
		return wrong("-g and -e go with add; see the commands groups and expire");
	return 0;
}

/* What the arguments say, into the file's form, before the file is touched. */
static int
check_values(struct request *r, const struct passwd_command *c, char **arg)
{
	static char groups[3 * GROUPS_MAX + 1];

	r->user = c->operands > 0 ? arg[0] : "";
	if (c->operands > 0 && (*r->user == '\0' || strlen(r->user) > USER_MAX)) {
		warnx("a user name has 1 to %d octets", USER_MAX);
		return -1;
	}
	(void)users_escape((const uint8_t *)r->user, strlen(r->user), r->shown, sizeof(r->shown));
	if (c->operands > 1 && strcmp(c->name, "groups") == 0)
		r->groups = arg[1];
	else if (c->operands > 1)
		r->expires = arg[1];
	if (r->groups != NULL && groups_argument(r->groups, groups, sizeof(groups)) == -1)
		return -1;
	if (r->groups != NULL)
		r->groups = groups;
	return r->expires == NULL || (r->expires = expires_argument(r->expires)) != NULL ? 0 : -1;
}

int
ctl_passwd(int argc, char **argv)
{
	struct request r = { .file = DEFAULT_FILE, .method = &methods[0] };
	const struct passwd_command *c = NULL;
	char *arg[2];

	if (take_arguments(argc, argv, &r, &c, arg) == -1)
		return 2;
	if (r.help) {
		usage(stdout);
		return 0;
	}
	return check_values(&r, c, arg) == 0 ? run(c, &r) : 2;
}
