/*
 * Reading the configuration: begins and ends it, and owns its memory and the reporting of errors.
 * What an operator wrote is not trusted to be sound, only not to be hostile; -D comes from the same
 * hands.
 */
#include "master/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/run_directory.h"
#include "master/conf_lex.h"
#include "master/conf_parse.h"

#define MEMORY_BLOCK (64u * 1024) /* octets taken from the heap at a time */
#define SHOW_MAX     60u          /* octets of a token that a message repeats */
#define KRB5_CONF    "/etc/krb5.conf"

struct conf_memory {
	struct conf_memory *next;
	size_t used, size;
	max_align_t data[];
};

void *
conf_alloc(struct conf_parse *ps, size_t size)
{
	struct conf_memory *m = ps->conf->memory;

	if (size > SIZE_MAX - MEMORY_BLOCK)
		longjmp(ps->no_memory, 1);
	size = (size + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	if (m == NULL || m->size - m->used < size) {
		size_t block = size > MEMORY_BLOCK ? size : MEMORY_BLOCK;

		if ((m = calloc(1, sizeof(*m) + block)) == NULL)
			longjmp(ps->no_memory, 1);
		m->size = block;
		m->next = ps->conf->memory;
		ps->conf->memory = m;
	}
	void *p = (char *)m->data + m->used;
	m->used += size;
	return p;
}

char *
conf_copy(struct conf_parse *ps, const void *octets, size_t len)
{
	char *s = conf_alloc(ps, len + 1);

	if (len > 0)
		memcpy(s, octets, len);
	return s;
}

char *
conf_sprintf(struct conf_parse *ps, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		longjmp(ps->no_memory, 1);
	s = conf_alloc(ps, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s;
}

/* What is quoted from a file may hold any octet: a message stays one line, and moves no cursor. */
static void
say_text(FILE *out, const char *s)
{
	for (; *s != '\0'; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\x%02x", (unsigned char)*s);
		else
			fputc(*s, out);
	}
}

static void
say(struct conf_parse *ps, const struct conf_where *w, const char *kind, const char *fmt,
    va_list ap)
{
	char *text;

	say_text(ps->errors, w->file);
	if (w->line > 0)
		fprintf(ps->errors, ":%u", w->line);
	fprintf(ps->errors, ": %s", kind);
	if (vasprintf(&text, fmt, ap) == -1) {
		fputs("out of memory\n", ps->errors);
		return;
	}
	say_text(ps->errors, text);
	free(text);
	fputc('\n', ps->errors);
}

void
conf_error(struct conf_parse *ps, const struct conf_where *w, const char *fmt, ...)
{
	va_list ap;

	ps->conf->errors++;
	va_start(ap, fmt);
	say(ps, w, "", fmt, ap);
	va_end(ap);
}

void
conf_warn(struct conf_parse *ps, const struct conf_where *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(ps, w, "warning: ", fmt, ap);
	va_end(ap);
}

const char *
conf_show(struct conf_parse *ps, const struct conf_item *it)
{
	char *s = conf_alloc(ps, 4 * SHOW_MAX + sizeof("\"...\"")), *at = s;

	*at++ = '"';
	for (size_t i = 0; i < it->len && i < SHOW_MAX; i++) {
		unsigned char c = (unsigned char)it->s[i];

		if (c < ' ' || c > '~' || c == '"' || c == '\\')
			at += sprintf(at, "\\x%02x", c);
		else
			*at++ = (char)c;
	}
	strcpy(at, it->len > SHOW_MAX ? "...\"" : "\"");
	return s;
}

bool
conf_near(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), i = 0;

	while (a[i] != '\0' && a[i] == b[i])
		i++;
	if (la < 2 || lb < 2 || (a[i] == '\0' && b[i] == '\0'))
		return false;
	if (la == lb)
		return strcmp(a + i + 1, b + i + 1) == 0 ||
		       (a[i] == b[i + 1] && a[i + 1] == b[i] && strcmp(a + i + 2, b + i + 2) == 0);
	if (la == lb + 1)
		return strcmp(a + i + 1, b + i) == 0;
	return lb == la + 1 && strcmp(a + i, b + i + 1) == 0;
}

struct conf_items *
conf_list(struct conf_parse *ps, struct conf_item *first)
{
	struct conf_items *l = conf_alloc(ps, sizeof(*l));

	STAILQ_INIT(l);
	if (first != NULL)
		STAILQ_INSERT_TAIL(l, first, entry);
	return l;
}

bool
conf_once(struct conf_parse *ps, enum conf_once what, const struct conf_where *w, const char *name)
{
	struct conf_where *first = &ps->once[what];

	if (first->file != NULL) {
		conf_error(ps, w, "%s stands a second time, expected it once (first: %s:%u)", name,
		    first->file, first->line);
		return false;
	}
	*first = *w;
	return true;
}

static void
conf_begin(struct conf_parse *ps)
{
	struct conf *c = ps->conf;

	STAILQ_INIT(&ps->macros);
	STAILQ_INIT(&ps->rules);
	STAILQ_INIT(&c->listens);
	STAILQ_INIT(&c->servers);
	STAILQ_INIT(&c->nat64);
	STAILQ_INIT(&c->groups);
	STAILQ_INIT(&c->logs);
	STAILQ_INIT(&c->tables);
	STAILQ_INIT(&c->rules);
	STAILQ_INIT(&c->upstreams);
	STAILQ_INIT(&c->egress.addrs);
	STAILQ_INIT(&c->gssapi.services);
	c->limit_associations = 1000;
	c->limit_targets = 256;
	c->udp_fragments = true;
}

static void
default_run_directory(struct conf_parse *ps)
{
	char dir[RUN_DIRECTORY_MAX];

	ps->conf->run_directory = conf_sprintf(ps, "%s", run_directory_default(dir));
}

/* As root the layers without which a child would not be confined at all are required (design, "The
 * sandbox"); the others are younger than some kernels. */
static enum layer_mode
default_layer(enum layer l, bool root)
{
	bool old = l == LAYER_UID || l == LAYER_CHROOT || l == LAYER_SECCOMP ||
		   l == LAYER_NO_NEW_PRIVS || l == LAYER_CAPABILITIES;

	return root && old ? LAYER_REQUIRE : LAYER_TRY;
}

/* What no statement gave. */
static void
conf_defaults(struct conf_parse *ps)
{
	struct conf *c = ps->conf;
	struct conf_timeouts *t = &c->timeouts;
	bool root = geteuid() == 0;

	t->handshake = t->handshake != 0 ? t->handshake : 30 * 1000;
	t->connect = t->connect != 0 ? t->connect : 15 * 1000;
	t->idle = t->idle != 0 ? t->idle : 3600 * 1000;
	t->half_closed = t->half_closed != 0 ? t->half_closed : 120 * 1000;
	t->bind = t->bind != 0 ? t->bind : 120 * 1000;
	t->udp = t->udp != 0 ? t->udp : 120 * 1000;
	if (c->limit_sessions == 0)
		c->limit_sessions = 20000;
	if (c->prefer_n == 0) {
		c->prefer[c->prefer_n++] = METHOD_GSSAPI;
		c->prefer[c->prefer_n++] = METHOD_PASSWORD;
		c->prefer[c->prefer_n++] = METHOD_NONE;
	}
	if (c->run_directory == NULL)
		default_run_directory(ps);
	if (c->krb5_conf == NULL) {
		c->krb5_conf = conf_sprintf(ps, "%s", KRB5_CONF);
		c->krb5_conf_where = ps->end;
	}
	if (STAILQ_EMPTY(&c->logs)) {
		conf_log_begin(ps, &ps->end, LOGTO_SYSLOG, NULL);
		conf_log_end(ps);
	}
	for (unsigned l = 0; l < LAYER_COUNT; l++)
		if (!c->sandbox_given[l])
			c->sandbox[l] = (uint8_t)default_layer((enum layer)l, root);
}

/* The whole reading; false where memory ends, by longjmp out of the midst of it. */
static bool
conf_read(struct conf_parse *ps, const char *path, const struct conf_define *defs, size_t ndefs)
{
	if (setjmp(ps->no_memory) != 0)
		return false;
	ps->conf->path = conf_copy(ps, path, strlen(path));
	ps->end = (struct conf_where){ ps->conf->path, 1 };
	for (size_t i = 0; i < ndefs; i++)
		conf_lex_define_outside(ps, &defs[i]);
	ps->lex.last = T_NL; /* a statement may begin */
	if (conf_lex_file(ps, ps->conf->path) == -1) {
		conf_error(ps, &(struct conf_where){ ps->conf->path, 0 },
		    "cannot read the configuration: %s, expected a readable file", strerror(errno));
		return true;
	}
	confyyparse(ps);
	conf_defaults(ps);
	conf_check(ps);
	return true;
}

struct conf *
conf_load(const char *path, const struct conf_define *defs, size_t ndefs, FILE *errors)
{
	struct conf *c = calloc(1, sizeof(*c));
	struct conf_parse *ps = calloc(1, sizeof(*ps));

	if (c == NULL || ps == NULL)
		goto fail;
	ps->conf = c;
	ps->errors = errors;
	conf_begin(ps);
	if (!conf_read(ps, path, defs, ndefs)) {
		errno = ENOMEM;
		goto fail;
	}
	if (c->errors > 0) {
		errno = EINVAL;
		goto fail;
	}
	free(ps);
	return c;
fail:
	if (ps != NULL)
		free(ps->scratch);
	free(ps);
	conf_free(c);
	return NULL;
}

void
conf_free(struct conf *c)
{
	int saved = errno;

	while (c != NULL && c->memory != NULL) {
		struct conf_memory *m = c->memory;

		c->memory = m->next;
		free(m);
	}
	free(c);
	errno = saved;
}
