/*
 * A configuration of arbitrary octets is read without harm: it ends in a configuration that is
 * sound, or in at least one message, each with file and line. The first octet says what lies beside
 * it in the directory: the same octets again as an include and as a table's file.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/sallyport-fuzz-conf.XXXXXX";

static void
path_of(char *buf, size_t size, const char *name)
{
	snprintf(buf, size, "%s/%s", dir, name);
}

static void
clean(void)
{
	static const char *const names[] = { "conf", "inc", "list" };
	char path[100];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		path_of(path, sizeof(path), names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static void
put(const char *name, const uint8_t *data, size_t size)
{
	char path[100];

	path_of(path, sizeof(path), name);
	FILE *f = fopen(path, "w");
	if (f == NULL || fwrite(data, 1, size, f) != size || fclose(f) != 0)
		abort();
}

/* Every line of the messages is "file:line: text". */
static void
check_messages(const char *said, int failed)
{
	unsigned lines = 0;

	while (*said != '\0') {
		const char *end = strchr(said, '\n'), *colon = strstr(said, ": ");

		if (end == NULL || colon == NULL || colon > end || colon[-1] < '0' ||
		    colon[-1] > '9')
			abort();
		lines++;
		said = end + 1;
	}
	if (failed && lines == 0)
		abort();
}

static void
check_sound(const struct conf *c)
{
	const struct conf_rule *r;
	const struct conf_table *t;
	const struct conf_ports *p;
	uint32_t n = 0;

	if (STAILQ_EMPTY(&c->listens) || STAILQ_EMPTY(&c->logs) || c->prefer_n == 0 ||
	    c->errors != 0)
		abort();
	STAILQ_FOREACH (t, &c->tables, entry)
		if (t->index != n++)
			abort();
	STAILQ_FOREACH (r, &c->rules, entry) {
		if (r->action == RULE_PASS && r->methods == 0 && c->users_file == NULL &&
		    c->pam_service == NULL)
			abort();
		STAILQ_FOREACH (p, &r->ports, entry)
			if (p->first == 0 || p->first > p->last)
				abort();
		STAILQ_FOREACH (p, &r->bind_ports, entry)
			if (p->first == 0 || p->first > p->last)
				abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool made;
	const struct conf_define d = { "m", "{ 10.0.0.0/8, $n }" };
	char path[100], *said;
	size_t said_len;

	if (!made) {
		made = true;
		if (mkdtemp(dir) == NULL)
			abort();
		atexit(clean);
	}
	if (size == 0)
		return 0;
	put("conf", data + 1, size - 1);
	put("inc", data + 1, data[0] & 1 ? size - 1 : 0);
	put("list", data + 1, data[0] & 2 ? size - 1 : 0);
	path_of(path, sizeof(path), "conf");
	FILE *f = open_memstream(&said, &said_len);
	if (f == NULL)
		abort();
	struct conf *c = conf_load(path, &d, data[0] & 4 ? 1 : 0, f);
	fclose(f);
	check_messages(said, c == NULL);
	if (c != NULL)
		check_sound(c);
	conf_free(c);
	free(said);
	return 0;
}
