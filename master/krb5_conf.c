/*
 * Flattens krb5.conf(5): `include` and `includedir` are replaced by what they name, `module` lines
 * are left out. The files are the operator's: trusted in what they say, not to end or to be free of
 * circles. The reading follows that of libkrb5's profile library: these words stand at the very
 * beginning of a line; what comes before a file's first section is comment; an included file is a
 * text of its own, behind which the section goes on that it stands in.
 */
#include "master/krb5_conf.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reading {
	struct krb5_conf *k;
	FILE *out, *errors;
	size_t octets; /* read so far */
	unsigned depth;
};

/* One file being read. */
struct source {
	const char *path;
	unsigned line;
	char *section;   /* the header of the section it is in; NULL: none yet */
	unsigned braces; /* open ones */
	char **waiting;  /* includes that stand inside braces: read behind these */
	unsigned nwaiting;
};

static int read_file(struct reading *r, const char *path, const struct source *by);

static int
wrong(const struct reading *r, const struct source *s, const char *what, const char *path,
    const char *why)
{
	if (s != NULL)
		fprintf(r->errors, "%s:%u: ", s->path, s->line);
	fprintf(r->errors, "%s %s: %s\n", what, path, why);
	return -1;
}

/* Notes a file or directory as read. */
static int
note(struct reading *r, const char *path, const struct source *by)
{
	struct krb5_conf *k = r->k;

	if (k->nsources == KRB5_CONF_FILES_MAX)
		return wrong(r, by, "include of", path,
		    "too many files, expected no circle among the includes");
	if ((k->sources[k->nsources] = strdup(path)) == NULL)
		return wrong(r, by, "include of", path, strerror(errno));
	k->nsources++;
	return 0;
}

/* The names that krb5.conf(5) takes from an includedir. */
static int
taken(const struct dirent *e)
{
	const char *p = e->d_name;
	size_t len = strlen(p);

	if (p[0] == '.')
		return 0;
	if (len > 5 && strcmp(p + len - 5, ".conf") == 0)
		return 1;
	while (isalnum((unsigned char)*p) || *p == '-' || *p == '_')
		p++;
	return *p == '\0';
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
read_directory(struct reading *r, const char *path, const struct source *by)
{
	struct dirent **all;
	char file[4096];
	int rv, n;

	if (note(r, path, by) == -1)
		return -1;
	if ((n = scandir(path, &all, taken, by_name)) == -1)
		return wrong(r, by, "includedir", path, strerror(errno));
	rv = 0;
	for (int i = 0; i < n; i++) {
		struct stat st;

		snprintf(file, sizeof(file), "%s/%s", path, all[i]->d_name);
		if (rv == 0 && stat(file, &st) == 0 && !S_ISDIR(st.st_mode))
			rv = read_file(r, file, by);
		free(all[i]);
	}
	free(all);
	return rv;
}

/* What stands behind a word at the beginning of a line; NULL: the line does not begin with it. */
static char *
behind(char *line, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(line, word, n) != 0 || !isspace((unsigned char)line[n]))
		return NULL;
	return line + n + strspn(line + n, " \t\r");
}

static int
include(struct reading *r, char *line, const struct source *s)
{
	char *dir = behind(line, "includedir"), *path = dir != NULL ? dir : behind(line, "include");

	if (path[0] != '/')
		return wrong(r, s, "include of", path, "expected an absolute path");
	if ((dir != NULL ? read_directory(r, path, s) : read_file(r, path, s)) == -1)
		return -1;
	if (s->section != NULL)
		fprintf(r->out, "%s\n", s->section);
	return 0;
}

static int
wait_for_close(struct source *s, const char *line)
{
	char **more = reallocarray(s->waiting, s->nwaiting + 1, sizeof(*more));

	if (more == NULL)
		return -1;
	s->waiting = more;
	if ((more[s->nwaiting] = strdup(line)) == NULL)
		return -1;
	s->nwaiting++;
	return 0;
}

/* A subsection opens by a brace alone or as a value, and closes by one that begins a line. */
static void
count_braces(struct source *s, const char *line)
{
	const char *first = line + strspn(line, " \t"), *equals = strchr(first, '=');
	const char *value = equals != NULL ? equals + 1 + strspn(equals + 1, " \t") : first;

	if (first[0] == '#' || first[0] == ';')
		return;
	if (first[0] == '}')
		s->braces -= s->braces > 0;
	else if (value[0] == '{' && value[1 + strspn(value + 1, " \t")] == '\0')
		s->braces++;
}

/* Those that had to wait inside braces, once these are closed. */
static int
include_waiting(struct reading *r, struct source *s)
{
	int rv = 0;

	for (unsigned i = 0; i < s->nwaiting; i++) {
		if (rv == 0)
			rv = include(r, s->waiting[i], s);
		free(s->waiting[i]);
	}
	s->nwaiting = 0;
	return rv;
}

static int
read_line(struct reading *r, struct source *s, char *line)
{
	size_t n = strlen(line);

	while (n > 0 && isspace((unsigned char)line[n - 1]))
		line[--n] = '\0';
	s->line++;
	/* The two words differ where `include` must be followed by a space. */
	char *named =
	    behind(line, "include") != NULL ? behind(line, "include") : behind(line, "includedir");
	if (named != NULL && s->braces > 0)
		return wait_for_close(s, line);
	if (named != NULL)
		return include(r, line, s);
	if (s->section == NULL && behind(line, "module") != NULL)
		r->k->modules++;
	if (line[0] == '[' && s->braces == 0) {
		free(s->section);
		if ((s->section = strdup(line)) == NULL)
			return -1;
	}
	if (s->section == NULL || n == 0)
		return 0;
	count_braces(s, line);
	fprintf(r->out, "%s\n", line);
	return s->braces == 0 ? include_waiting(r, s) : 0;
}

/* All of a regular file that not anyone may write; NULL, and why is said. */
static char *
slurp(struct reading *r, const char *path, const struct source *by)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *why = NULL;
	char *text = NULL;
	struct stat st;

	if (fd == -1 || fstat(fd, &st) == -1)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "expected a regular file";
	else if ((st.st_mode & S_IWOTH) != 0)
		why = "anyone may write it; chmod o-w mends it";
	else if ((size_t)st.st_size > KRB5_CONF_MAX - r->octets)
		why = "too long, expected less than a MiB with all that is included";
	else if ((text = calloc(1, (size_t)st.st_size + 1)) == NULL ||
		 read(fd, text, (size_t)st.st_size) != st.st_size)
		why = "it cannot be read whole";
	else if (strlen(text) != (size_t)st.st_size)
		why = "it has a NUL octet, expected text";
	if (fd != -1)
		close(fd);
	if (why == NULL) {
		r->octets += (size_t)st.st_size;
		return text;
	}
	free(text);
	(void)wrong(r, by, by != NULL ? "include of" : "Kerberos configuration", path, why);
	return NULL;
}

static int
read_file(struct reading *r, const char *path, const struct source *by)
{
	struct source s = { .path = path };
	char *text, *next, *line;
	int rv = 0;

	if (note(r, path, by) == -1)
		return -1;
	if (r->depth == KRB5_CONF_NEST_MAX)
		return wrong(
		    r, by, "include of", path, "too deep, expected no circle among the includes");
	if ((text = next = slurp(r, path, by)) == NULL)
		return -1;
	r->depth++;
	if (strncmp(next, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
		next += 3;
	while (rv == 0 && (line = strsep(&next, "\n")) != NULL)
		rv = read_line(r, &s, line);
	for (; s.braces > 0; s.braces--) /* left open, they end with their file */
		fputs("}\n", r->out);
	if (rv == 0)
		rv = include_waiting(r, &s);
	for (unsigned i = 0; i < s.nwaiting; i++)
		free(s.waiting[i]);
	r->depth--;
	free(s.waiting);
	free(s.section);
	free(text);
	return rv;
}

struct krb5_conf *
krb5_conf_read(const char *path, FILE *errors)
{
	struct krb5_conf *k = calloc(1, sizeof(*k));
	struct reading r = { .k = k, .errors = errors };
	int rv = -1;

	if (k == NULL || (r.out = open_memstream(&k->text, &k->len)) == NULL) {
		fprintf(errors, "Kerberos configuration %s: %s\n", path, strerror(errno));
		free(k);
		return NULL;
	}
	if (access(path, F_OK) == -1 && errno == ENOENT)
		rv = 0;
	else
		rv = read_file(&r, path, NULL);
	if (fclose(r.out) != 0 || rv == -1) {
		krb5_conf_free(k);
		return NULL;
	}
	return k;
}

void
krb5_conf_free(struct krb5_conf *k)
{
	if (k == NULL)
		return;
	for (unsigned i = 0; i < k->nsources; i++)
		free(k->sources[i]);
	free(k->text);
	free(k);
}
