/*
 * Reads hosts(5) and resolv.conf(5) for the policy image. Both files are the system's and trusted
 * in what they say; a line that says nothing sensible is passed over, as the C library does.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/rules.h"
#include "master/image_parts.h"

#define WORD_MAX_LEN 512 /* octets; longer words are no names, addresses or options */

char *
file_read(const char *path, size_t max, size_t *len)
{
	/* O_NONBLOCK: a FIFO of that name must not hang the master. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	char *text = NULL;
	size_t got = 0;

	if (fd == -1)
		return NULL;
	if (fstat(fd, &st) == -1)
		goto fail;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)max) {
		errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
		goto fail;
	}
	if ((text = malloc((size_t)st.st_size + 1)) == NULL)
		goto fail;
	while (got < (size_t)st.st_size) {
		ssize_t r = read(fd, text + got, (size_t)st.st_size - got);
		if (r == -1 && errno == EINTR)
			continue;
		if (r == -1)
			goto fail;
		if (r == 0)
			break;
		got += (size_t)r;
	}
	close(fd);
	text[got] = '\0';
	*len = got;
	return text;
fail:;
	int error = errno;
	free(text);
	close(fd);
	errno = error;
	return NULL;
}

/* What is left of a line, or of a text. */
struct span {
	const char *p, *end;
};

/* The next line of the text without its comment, which begins with one of `marks`; false at the
 * end. */
static bool
next_line(struct span *text, const char *marks, struct span *line)
{
	if (text->p == text->end)
		return false;
	const char *nl = memchr(text->p, '\n', (size_t)(text->end - text->p));
	line->p = text->p;
	line->end = nl != NULL ? nl : text->end;
	text->p = nl != NULL ? nl + 1 : text->end;
	for (const char *p = line->p; p < line->end; p++) {
		if (*p != '\0' && strchr(marks, *p) != NULL)
			line->end = p;
	}
	return true;
}

static bool
blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word, NUL-terminated; false at the line's end. A word too long becomes "". */
static bool
next_word(struct span *line, char word[WORD_MAX_LEN])
{
	while (line->p < line->end && blank(*line->p))
		line->p++;
	const char *start = line->p;
	while (line->p < line->end && !blank(*line->p))
		line->p++;
	size_t len = (size_t)(line->p - start);
	bool fits = len < WORD_MAX_LEN && memchr(start, '\0', len) == NULL;
	if (fits)
		memcpy(word, start, len);
	word[fits ? len : 0] = '\0';
	return len > 0;
}

/* --- hosts --- */

static int
hosts_add(struct hosts *h, size_t *names_len, const char *word, const struct addr *a)
{
	uint8_t name[NAME_MAX_LEN];
	struct addr literal;
	int len = name_normalise((const uint8_t *)word, strlen(word), name);

	if (len == -1 || name_is_address(name, (size_t)len, &literal))
		return 0;
	if (h->n == h->size) {
		size_t size = h->size == 0 ? 64 : 2 * h->size;
		struct hosts_entry *e = reallocarray(h->e, size, sizeof(*e));
		if (e == NULL)
			return -1;
		h->e = e;
		h->size = size;
	}
	/* All names together are no longer than the text that they come from. */
	memcpy(h->names + *names_len, name, (size_t)len);
	h->e[h->n] = (struct hosts_entry){
		.name = *names_len, .name_len = (uint8_t)len, .a = *a, .order = (uint32_t)h->n
	};
	h->n++;
	*names_len += (size_t)len;
	return 0;
}

static int
hosts_cmp(const void *a, const void *b, void *names)
{
	const struct hosts_entry *x = a, *y = b;
	const uint8_t *base = names;
	int order = image_bytes_cmp(base + x->name, x->name_len, base + y->name, y->name_len);

	if (order != 0)
		return order;
	return x->order < y->order ? -1 : x->order > y->order;
}

int
hosts_parse(struct hosts *h, const char *text, size_t len)
{
	struct span rest = { text, text + len }, line;
	char word[WORD_MAX_LEN];
	size_t names_len = 0;
	struct addr a;

	memset(h, 0, sizeof(*h));
	if ((h->names = malloc(len + 1)) == NULL)
		return -1;
	while (next_line(&rest, "#", &line)) {
		/* An address with a scope says nothing that another host could be told. */
		if (!next_word(&line, word) || addr_parse(word, &a) == -1)
			continue;
		while (next_word(&line, word)) {
			if (hosts_add(h, &names_len, word, &a) == -1) {
				hosts_free(h);
				errno = ENOMEM;
				return -1;
			}
		}
	}
	if (h->n > 0)
		qsort_r(h->e, h->n, sizeof(h->e[0]), hosts_cmp, h->names);
	return 0;
}

void
hosts_free(struct hosts *h)
{
	free(h->e);
	free(h->names);
	memset(h, 0, sizeof(*h));
}

/* Adds a to the addresses of one name, unless it is there or its family is full. */
static void
collect(struct addr *addrs, uint32_t *n, const struct addr *a)
{
	unsigned same = 0;

	for (uint32_t i = 0; i < *n; i++) {
		if (addr_cmp(&addrs[i], a) == 0)
			return;
		same += addrs[i].family == a->family;
	}
	if (same < ANSWER_ADDRS)
		addrs[(*n)++] = *a;
}

struct image_list
hosts_put(struct blob *b, const struct hosts *h)
{
	struct image_host *out = calloc(h->n + 1, sizeof(*out));
	struct image_list l = { 0 };
	size_t n = 0;

	if (out == NULL) {
		b->error = ENOMEM;
		return l;
	}
	for (size_t i = 0; i < h->n;) {
		const struct hosts_entry *first = &h->e[i];
		struct addr addrs[2 * ANSWER_ADDRS];
		uint32_t count = 0;
		for (;
		     i < h->n && h->e[i].name_len == first->name_len &&
		     memcmp(h->names + h->e[i].name, h->names + first->name, first->name_len) == 0;
		     i++)
			collect(addrs, &count, &h->e[i].a);
		out[n].name = blob_str(b, h->names + first->name, first->name_len);
		out[n++].addrs = blob_list(b, addrs, count, sizeof(addrs[0]));
	}
	l = blob_list(b, out, n, sizeof(*out));
	free(out);
	return l;
}

/* --- resolv.conf --- */

void
resolv_init(struct resolv *r)
{
	memset(r, 0, sizeof(*r));
	r->timeout = DNS_TIMEOUT_MS;
	r->attempts = DNS_ATTEMPTS;
}

/* An interface by name or number; 0: none such. */
static uint32_t
scope_parse(const char *s)
{
	char *end;
	unsigned index = if_nametoindex(s);

	if (index != 0)
		return index;
	errno = 0;
	unsigned long n = strtoul(s, &end, 10);
	return *s >= '0' && *s <= '9' && *end == '\0' && errno == 0 && n <= UINT32_MAX ? (uint32_t)n
										       : 0;
}

static void
resolv_server(struct resolv *r, char *word)
{
	struct addrport ap = { .port = DNS_PORT };
	char *percent = strchr(word, '%');

	if (percent != NULL)
		*percent = '\0';
	if (r->n == RESOLV_SERVERS_MAX || addr_parse(word, &ap.a) == -1)
		return;
	if (percent != NULL && (ap.scope = scope_parse(percent + 1)) == 0)
		return;
	r->server[r->n++] = ap;
}

/* "NAME:NUMBER": the number between 1 and max, or 0 where it is another option. */
static uint32_t
option_number(const char *word, const char *name, uint32_t max)
{
	size_t len = strlen(name);

	if (strncmp(word, name, len) != 0 || word[len] < '0' || word[len] > '9')
		return 0;
	unsigned long n = strtoul(word + len, NULL, 10);
	if (n == 0)
		return 1;
	return n < max ? (uint32_t)n : max;
}

static void
resolv_options(struct resolv *r, struct span *line)
{
	char word[WORD_MAX_LEN];
	uint32_t n;

	while (next_word(line, word)) {
		if ((n = option_number(word, "timeout:", DNS_TIMEOUT_MAX_MS / 1000)) != 0)
			r->timeout = n * 1000;
		else if ((n = option_number(word, "attempts:", DNS_ATTEMPTS_MAX)) != 0)
			r->attempts = n;
	}
}

void
resolv_parse(struct resolv *r, const char *text, size_t len)
{
	struct span rest = { text, text + len }, line;
	char word[WORD_MAX_LEN];

	while (next_line(&rest, "#;", &line)) {
		if (!next_word(&line, word))
			continue;
		if (strcmp(word, "nameserver") == 0 && next_word(&line, word))
			resolv_server(r, word);
		else if (strcmp(word, "options") == 0)
			resolv_options(r, &line);
	}
}
