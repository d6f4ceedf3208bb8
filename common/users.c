/*
 * The users file: reading, looking up, and its text forms. It owns the memory that holds the hashes
 * and wipes it. The file is root's, so its content is trusted not to be hostile, but not to be
 * right: every line is checked, and a file with one fault is refused whole, with the line's number.
 */
#include "common/users.h"

#include "common/hex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USERS_COUNT_MAX (1u << 20) /* users; each takes about 700 octets of memory */
#define EXPIRES_LEN     10         /* YYYY-MM-DD */
#define FIELDS_MIN      4
#define FIELDS_MAX      5
#define DAY_SECONDS     86400

struct users {
	struct user *user; /* in file order */
	size_t n, room;
	uint32_t *slot; /* open addressing: index + 1 into user, or 0 */
	size_t mask;    /* slots - 1; slots are a power of two above 2 * room */
};

struct field {
	const char *p;
	size_t len;
};

/* May an octet stand for itself in a name or group? */
static bool
octet_plain(uint8_t c)
{
	return c >= 0x21 && c <= 0x7e && c != ':' && c != ',' && c != '%' && c != '#';
}

ssize_t
users_escape(const uint8_t *in, size_t len, char *out, size_t size)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		size_t need = octet_plain(in[i]) ? 1 : 3;

		if (size < need + 1 || n > size - need - 1)
			return -1;
		if (need == 1) {
			out[n++] = (char)in[i];
			continue;
		}
		out[n++] = '%';
		out[n++] = digits[in[i] >> 4];
		out[n++] = digits[in[i] & 15];
	}
	if (size <= n)
		return -1;
	out[n] = '\0';
	return (ssize_t)n;
}

ssize_t
users_unescape(const char *in, size_t len, uint8_t *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)in[i];

		if (c == '%') {
			if (len - i < 3)
				return -1;
			int hi = hex_value(in[i + 1]), lo = hex_value(in[i + 2]);
			if (hi < 0 || lo < 0)
				return -1;
			c = (uint8_t)(hi << 4 | lo);
			i += 2;
		} else if (!octet_plain(c)) {
			return -1;
		}
		if (n >= size)
			return -1;
		out[n++] = c;
	}
	return (ssize_t)n;
}

size_t
users_phrase(const uint8_t *password, size_t len, char out[CRYPT_PHRASE_MAX])
{
	size_t n = 0;

	if (len > PASSWORD_MAX)
		len = PASSWORD_MAX;
	bool coded = memchr(password, 0, len) != NULL;
	for (size_t i = 0; i < len; i++) {
		if (coded && password[i] <= 1)
			out[n++] = 1;
		out[n++] = (char)(coded && password[i] <= 1 ? password[i] + 1 : password[i]);
	}
	out[n] = '\0';
	return n;
}

int
users_file_safe(int fd, const char **what)
{
	struct stat st;

	if (fstat(fd, &st) == -1) {
		*what = "it cannot be examined";
	} else if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		*what = "it is not a regular file";
	} else if (st.st_uid != 0 && st.st_uid != geteuid()) {
		errno = EPERM;
		*what = "it does not belong to root";
	} else if ((st.st_mode & S_IRWXO) != 0) {
		errno = EPERM;
		*what = "it is open to others, expected mode 0600 or 0640";
	} else if ((st.st_mode & S_IWGRP) != 0) {
		errno = EPERM;
		*what = "its group may write it, expected mode 0600 or 0640";
	} else {
		return 0;
	}
	return -1;
}

static size_t
name_slot(const struct users *u, const uint8_t *name, size_t len)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a: the names are the administrator's */

	for (size_t i = 0; i < len; i++)
		h = (h ^ name[i]) * 1099511628211u;
	return (size_t)(h ^ h >> 32) & u->mask;
}

/* The slot that holds the name, or the empty one where it belongs. */
static uint32_t *
slot_find(const struct users *u, const uint8_t *name, size_t len)
{
	for (size_t i = name_slot(u, name, len);; i = (i + 1) & u->mask) {
		if (u->slot[i] == 0)
			return &u->slot[i];
		const struct user *x = &u->user[u->slot[i] - 1];
		if (x->name_len == len && memcmp(x->name, name, len) == 0)
			return &u->slot[i];
	}
}

const struct user *
users_find(const struct users *u, const uint8_t *name, size_t len)
{
	uint32_t at = *slot_find(u, name, len);

	return at == 0 ? NULL : &u->user[at - 1];
}

size_t
users_count(const struct users *u)
{
	return u->n;
}

const struct user *
users_nth(const struct users *u, size_t i)
{
	return i < u->n ? &u->user[i] : NULL;
}

void
users_free(struct users *u)
{
	if (u == NULL)
		return;
	for (size_t i = 0; i < u->n; i++)
		free(u->user[i].groups);
	if (u->user != NULL)
		explicit_bzero(u->user, u->room * sizeof(*u->user));
	free(u->user);
	free(u->slot);
	free(u);
}

/* Sized once and never moved, so that no copy of a hash stays behind. */
static struct users *
users_new(size_t room)
{
	struct users *u = calloc(1, sizeof(*u));
	size_t slots = 8;

	if (u == NULL)
		return NULL;
	while (slots < 2 * room + 2)
		slots *= 2;
	u->room = room;
	u->mask = slots - 1;
	u->user = calloc(room + 1, sizeof(*u->user));
	u->slot = calloc(slots, sizeof(*u->slot));
	if (u->user != NULL && u->slot != NULL)
		return u;
	users_free(u);
	errno = ENOMEM;
	return NULL;
}

/* Exactly n digits (four at most, so no overflow). */
static bool
read_digits(const char *p, size_t n, int *out)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		*out = *out * 10 + (p[i] - '0');
	}
	return true;
}

static bool
leap_year(int y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/*
 * The end of the day YYYY-MM-DD (UTC): the first second at which the account no longer serves. Not
 * by timegm(3), which opens the time zone's file, and authd's sandbox has no files.
 */
static int
read_expires(struct field f, int64_t *out)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year, month, day;

	*out = 0;
	if (f.len == 0)
		return 0;
	if (f.len != EXPIRES_LEN || f.p[4] != '-' || f.p[7] != '-' || !read_digits(f.p, 4, &year) ||
	    !read_digits(f.p + 5, 2, &month) || !read_digits(f.p + 8, 2, &day) || year < 1970 ||
	    month < 1 || month > 12 || day < 1)
		return -1;
	bool leap_day = month == 2 && leap_year(year);
	if (day > lengths[month - 1] + leap_day)
		return -1;
	int64_t days = day;
	for (int y = 1970; y < year; y++)
		days += leap_year(y) ? 366 : 365;
	for (int m = 1; m < month; m++)
		days += lengths[m - 1] + (m == 2 && leap_year(year));
	*out = days * DAY_SECONDS;
	return 0;
}

bool
users_expires(const char *text, int64_t *out)
{
	return read_expires((struct field){ text, strlen(text) }, out) == 0;
}

static const char *
read_groups(struct field f, struct user *x)
{
	uint8_t packed[GROUPS_MAX], name[USER_MAX];
	const char *p = f.p, *end = f.p + f.len;
	size_t n = 0;

	if (f.len == 0)
		return NULL;
	for (;;) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma != NULL ? comma : end;
		ssize_t len = users_unescape(p, (size_t)(stop - p), name, sizeof(name));

		if (len <= 0)
			return "a group is not 1 to 255 octets with %XX escapes";
		if ((size_t)len + 1 > sizeof(packed) - n)
			return "the groups take more than 4096 octets";
		packed[n++] = (uint8_t)len;
		memcpy(packed + n, name, (size_t)len);
		n += (size_t)len;
		if (comma == NULL)
			break;
		p = comma + 1;
	}
	if ((x->groups = malloc(n)) == NULL)
		return "out of memory";
	memcpy(x->groups, packed, n);
	x->groups_len = n;
	return NULL;
}

/* crypt(5): a hash is printable ASCII without ':' (which ended the field already). */
static const char *
read_hash(struct field f, struct user *x)
{
	if (f.len == 0)
		return "the hash is missing";
	if (f.len >= sizeof(x->hash))
		return "the hash is longer than 383 octets";
	for (size_t i = 0; i < f.len; i++) {
		if (f.p[i] < 0x21 || f.p[i] > 0x7e)
			return "the hash holds an octet outside 0x21-0x7e";
	}
	memcpy(x->hash, f.p, f.len);
	return NULL;
}

/* One user's line into *x, which is zero. NULL, or what is wrong; x->groups may be set even then.
 */
static const char *
read_line(const char *p, size_t len, struct user *x)
{
	struct field f[FIELDS_MAX];
	const char *end = p + len, *fault;
	unsigned n = 0;

	for (;;) {
		const char *colon = memchr(p, ':', (size_t)(end - p));
		const char *stop = colon != NULL ? colon : end;

		if (n == FIELDS_MAX)
			return "more than five fields; expected NAME:HASH:GROUPS:EXPIRES[:LOCKED]";
		f[n++] = (struct field){ p, (size_t)(stop - p) };
		if (colon == NULL)
			break;
		p = colon + 1;
	}
	if (n < FIELDS_MIN)
		return "fewer than four fields; expected NAME:HASH:GROUPS:EXPIRES[:LOCKED]";
	ssize_t name_len = users_unescape(f[0].p, f[0].len, x->name, sizeof(x->name));
	if (name_len <= 0)
		return "the name is not 1 to 255 octets with %XX escapes";
	x->name_len = (uint8_t)name_len;
	if ((fault = read_hash(f[1], x)) != NULL || (fault = read_groups(f[2], x)) != NULL)
		return fault;
	if (read_expires(f[3], &x->expires) == -1)
		return "the expiry is no date YYYY-MM-DD from 1970 on";
	if (n == FIELDS_MAX && f[4].len != 0) {
		if (f[4].len != 6 || memcmp(f[4].p, "locked", 6) != 0)
			return "the fifth field is neither empty nor 'locked'";
		x->locked = true;
	}
	return NULL;
}

static bool
line_is_user(const char *p, size_t len)
{
	return len != 0 && p[0] != '#';
}

/* The next line's length, without its newline; *next gets where the one after it begins. */
static size_t
line_length(const char *p, const char *end, const char **next)
{
	const char *nl = memchr(p, '\n', (size_t)(end - p));

	*next = nl != NULL ? nl + 1 : end;
	return (size_t)((nl != NULL ? nl : end) - p);
}

static const char *
users_parse(struct users *u, const char *text, size_t size, unsigned *line)
{
	const char *end = text + size, *next;

	*line = 0;
	for (const char *p = text; p < end; p = next) {
		size_t len = line_length(p, end, &next);
		const char *fault;

		(*line)++;
		if (!line_is_user(p, len))
			continue;
		if (u->n == u->room)
			return "more users than 1048576";
		struct user *x = &u->user[u->n++];
		if ((fault = read_line(p, len, x)) != NULL)
			return fault;
		uint32_t *slot = slot_find(u, x->name, x->name_len);
		if (*slot != 0)
			return "this user stands in the file already";
		*slot = (uint32_t)u->n;
	}
	*line = 0;
	return NULL;
}

static size_t
count_users(const char *text, size_t size)
{
	const char *end = text + size, *next;
	size_t n = 0;

	for (const char *p = text; p < end && n < USERS_COUNT_MAX; p = next) {
		size_t len = line_length(p, end, &next);
		n += line_is_user(p, len);
	}
	return n;
}

/* All of fd's octets in memory (one more is allocated), or NULL with errno. */
static char *
read_whole(int fd, size_t *size)
{
	off_t end = lseek(fd, 0, SEEK_END);
	char *text = NULL;
	size_t n = 0;

	if (end == -1)
		return NULL;
	if (end > (off_t)USERS_FILE_MAX) {
		errno = EFBIG;
		return NULL;
	}
	*size = (size_t)end;
	if ((text = malloc(*size + 1)) == NULL)
		return NULL;
	while (n < *size) {
		ssize_t got = pread(fd, text + n, *size - n, (off_t)n);
		if (got == -1 && errno == EINTR)
			continue;
		if (got <= 0) {
			int saved = got == -1 ? errno : EAGAIN; /* it shrank while being read */
			explicit_bzero(text, n);
			free(text);
			errno = saved;
			return NULL;
		}
		n += (size_t)got;
	}
	return text;
}

struct users *
users_read(int fd, unsigned *line, const char **what)
{
	struct users *u;
	size_t size;

	*line = 0;
	*what = "cannot be read";
	char *text = read_whole(fd, &size);
	if (text == NULL)
		return NULL;
	if ((u = users_new(count_users(text, size))) != NULL &&
	    (*what = users_parse(u, text, size, line)) != NULL) {
		users_free(u);
		u = NULL;
		errno = EINVAL;
	}
	int saved = errno;
	explicit_bzero(text, size);
	free(text);
	errno = saved;
	return u;
}
