/*
 * For the tests of the configuration: files in a directory of their own, and a configuration read
 * from text, with its messages, in which the directory is cut out.
 */
#ifndef TESTS_UNIT_CONF_TEXT_H
#define TESTS_UNIT_CONF_TEXT_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* after those that it needs */
#include <cmocka.h>

#include "master/conf.h"

static char dir[64];

static inline const char *
in_dir(const char *name)
{
	static char path[4][512];
	static unsigned n;

	n = (n + 1) % 4;
	snprintf(path[n], sizeof(path[n]), "%s/%s", dir, name);
	return path[n];
}

static inline void
write_octets(const char *name, const void *octets, size_t len)
{
	FILE *f = fopen(in_dir(name), "w");

	assert_non_null(f);
	assert_int_equal(fwrite(octets, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static inline void
write_text(const char *name, const char *text)
{
	write_octets(name, text, strlen(text));
}

static inline int
dir_make(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/sallyport-conf.XXXXXX");
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static inline int
dir_remove(void **state)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	(void)state;
	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			remove(in_dir(e->d_name));
	if (d != NULL)
		closedir(d);
	return rmdir(dir);
}

/* Replaces `what` by `with`, which is no longer, everywhere in s. */
static inline void
replace(char *s, const char *what, const char *with)
{
	size_t n = strlen(what), m = strlen(with);

	while ((s = strstr(s, what)) != NULL) {
		memcpy(s, with, m);
		memmove(s + m, s + n, strlen(s + n) + 1);
		s += m;
	}
}

/* Reads the file c.conf of the directory. *said: the messages, to be freed. */
static inline struct conf *
load_file(const struct conf_define *defs, size_t ndefs, char **said)
{
	size_t size;
	char slash[sizeof(dir) + 1];
	FILE *f = open_memstream(said, &size);

	assert_non_null(f);
	struct conf *c = conf_load(in_dir("c.conf"), defs, ndefs, f);
	assert_int_equal(fclose(f), 0);
	snprintf(slash, sizeof(slash), "%s/", dir);
	replace(*said, slash, "");
	return c;
}

static inline struct conf *
load_text(const char *text, char **said)
{
	write_text("c.conf", text);
	return load_file(NULL, 0, said);
}

/* The text behind a first line "listen on 127.0.0.1" must give exactly these messages; warnings of
 * its own are not judged. */
static inline void
assert_error(const char *bad, const char *want)
{
	char text[4096], *said;

	snprintf(text, sizeof(text), "listen on 127.0.0.1\n%s\n", bad);
	struct conf *c = load_text(text, &said);
	char *warn = strstr(said, ": warning: ");

	while (warn != NULL) {
		while (warn > said && warn[-1] != '\n')
			warn--;
		memmove(warn, strchr(warn, '\n') + 1, strlen(strchr(warn, '\n') + 1) + 1);
		warn = strstr(said, ": warning: ");
	}
	size_t n = strlen(want);
	if (c != NULL || strncmp(said, want, n) != 0 || strcmp(said + n, "\n") != 0)
		fail_msg("\"%s\" gave\n%snot\n%s", bad, said, want);
	free(said);
}

static inline unsigned
count_lines(const char *s)
{
	unsigned n = 0;

	for (; *s != '\0'; s++)
		n += *s == '\n';
	return n;
}

#endif
