/*
 * The keytab's reader, against files that MIT's own libkrb5 has written, and broken ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "authd/keytab.h"

#define PATH "/tmp/sallyport-test-keytab.XXXXXX"

static krb5_context k;
static char path[] = PATH;
static uint8_t file[8192];
static size_t file_len;

struct expected {
	const char *principal;
	krb5_enctype enctype;
	unsigned length;
	krb5_kvno vno;
};
static const struct expected all[] = {
	{ "socks/gateway.test@EXAMPLE.ORG", 17, 16, 1 },
	{ "socks/gateway.test@EXAMPLE.ORG", 18, 32, 255 }, { "host/a.b@X", 19, 16, 256 },
	{ "one@EXAMPLE.ORG", 20, 32, 70000 },
	{ "a/b/c/d@EXAMPLE.ORG", 23, 16, 3 }, /* RC4: read, and not taken */
};
#define ALL (sizeof(all) / sizeof(all[0]))

static void
entry_of(const struct expected *x, krb5_keytab_entry *e, uint8_t key[32])
{
	memset(e, 0, sizeof(*e));
	for (unsigned i = 0; i < x->length; i++)
		key[i] = (uint8_t)(x->vno + i * 7);
	assert_int_equal(krb5_parse_name(k, x->principal, &e->principal), 0);
	e->vno = x->vno;
	e->key.enctype = x->enctype;
	e->key.length = x->length;
	e->key.contents = key;
}

static void
slurp(void)
{
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	file_len = fread(file, 1, sizeof(file), f);
	assert_int_equal(fclose(f), 0);
	assert_in_range(file_len, 3, sizeof(file) - 1);
}

/* A keytab of MIT's making, with one entry deleted: a hole. */
static int
file_make(void **state)
{
	char name[64];
	krb5_keytab kt;
	krb5_keytab_entry e;
	uint8_t key[32];
	int fd = mkstemp(path);

	(void)state;
	close(fd);
	unlink(path);
	snprintf(name, sizeof(name), "WRFILE:%s", path);
	assert_int_equal(krb5_init_context(&k), 0);
	assert_int_equal(krb5_kt_resolve(k, name, &kt), 0);
	static const struct expected gone = { "gone/gone@EXAMPLE.ORG", 18, 32, 9 };
	entry_of(&all[0], &e, key);
	assert_int_equal(krb5_kt_add_entry(k, kt, &e), 0);
	krb5_free_principal(k, e.principal);
	entry_of(&gone, &e, key);
	assert_int_equal(krb5_kt_add_entry(k, kt, &e), 0);
	krb5_free_principal(k, e.principal);
	for (size_t i = 1; i < ALL; i++) {
		krb5_keytab_entry one;
		entry_of(&all[i], &one, key);
		assert_int_equal(krb5_kt_add_entry(k, kt, &one), 0);
		krb5_free_principal(k, one.principal);
	}
	entry_of(&gone, &e, key);
	assert_int_equal(krb5_kt_remove_entry(k, kt, &e), 0);
	krb5_free_principal(k, e.principal);
	krb5_kt_close(k, kt);
	slurp();
	return 0;
}

static int
file_remove(void **state)
{
	(void)state;
	unlink(path);
	krb5_free_context(k);
	return 0;
}

static bool
each(void *arg, const struct keytab_key *key)
{
	unsigned *n = arg;
	const struct expected *x = &all[*n];
	char text[256] = "";
	size_t at = 0;

	assert_true(*n < ALL);
	for (unsigned i = 0; i < key->components; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%.*s", i > 0 ? "/" : "",
		    (int)key->component[i].len, (const char *)key->component[i].p);
	snprintf(
	    text + at, sizeof(text) - at, "@%.*s", (int)key->realm.len, (const char *)key->realm.p);
	assert_string_equal(text, x->principal);
	assert_int_equal(key->enctype, x->enctype);
	assert_int_equal(key->kvno, x->vno);
	assert_true(key->timestamp > 1000000); /* libkrb5 writes its own */
	assert_int_equal(key->key.len, x->length);
	for (unsigned i = 0; i < x->length; i++)
		assert_int_equal(key->key.p[i], (uint8_t)(x->vno + i * 7));
	(*n)++;
	return true;
}

static void
test_what_mit_writes(void **state)
{
	const char *what;
	unsigned n = 0;

	(void)state;
	assert_int_equal(keytab_parse(file, file_len, each, &n, &what), ALL);
	assert_int_equal(n, ALL);
}

static int
load(const void *data, size_t len, krb5_keytab *kt, char what[120])
{
	char name[KEYTAB_MEMORY_NAME];
	int fd = memfd_create("keytab", MFD_CLOEXEC), n;

	assert_int_equal(write(fd, data, len), len);
	what[0] = '\0';
	n = keytab_load(k, fd, kt, name, what, 120);
	close(fd);
	assert_int_equal(n == -1, what[0] != '\0');
	return n;
}

static void
test_libkrb5_finds_them(void **state)
{
	krb5_keytab kt;
	char what[120];

	(void)state;
	assert_int_equal(load(file, file_len, &kt, what), ALL - 1);
	for (size_t i = 0; i < ALL; i++) {
		krb5_keytab_entry e, found;
		uint8_t key[32];

		entry_of(&all[i], &e, key);
		krb5_error_code code =
		    krb5_kt_get_entry(k, kt, e.principal, all[i].vno, all[i].enctype, &found);
		assert_int_equal(code == 0, all[i].enctype != 23);
		if (code == 0) {
			assert_int_equal(found.key.length, all[i].length);
			assert_memory_equal(found.key.contents, key, all[i].length);
			krb5_free_keytab_entry_contents(k, &found);
		}
		krb5_free_principal(k, e.principal);
	}
	krb5_kt_close(k, kt);
}

static bool
count(void *arg, const struct keytab_key *key)
{
	(void)key;
	++*(unsigned *)arg;
	return true;
}

/* A cut is an error everywhere but between two records. */
static void
test_every_truncation(void **state)
{
	unsigned whole = 0;

	(void)state;
	for (size_t len = 0; len < file_len; len++) {
		uint8_t *cut = malloc(len + 1); /* its end is where a sanitizer sees it */
		const char *what = NULL;
		unsigned n = 0;

		assert_non_null(cut);
		memcpy(cut, file, len);
		int got = keytab_parse(cut, len, count, &n, &what);
		if (got == -1) {
			assert_non_null(what);
		} else {
			assert_int_equal(got, n);
			whole++;
		}
		free(cut);
	}
	/* behind the version, each record and the hole; the last is not among them */
	assert_int_equal(whole, ALL + 1);
}

static void
test_what_is_refused(void **state)
{
	static const struct {
		const char *octets;
		size_t len;
		const char *what;
	} rows[] = {
		{ "", 0, "it is no keytab of version 0x502" },
		{ "\5", 1, "it is no keytab of version 0x502" },
		{ "\5\1", 2, "it is no keytab of version 0x502" },
		{ "\5\2", 2, "it has no key" },
		{ "\5\2\0\0\0\0junk", 10, "it has no key" }, /* a size of 0 is its end */
		{ "\5\2\x80\0\0\0", 6, "it is damaged" },    /* a hole of 2 GiB */
		{ "\5\2\x7f\xff\xff\xff", 6, "it is damaged" },
		{ "\5\2\0\0\0\2\0\0", 8, "it is damaged" },     /* no component */
		{ "\5\2\0\0\0\2\xff\xff", 8, "it is damaged" }, /* more than may be */
		{ "\5\2\0\0\0\4\0\1\xff\xff", 10, "it is damaged" },
	};
	char what[120];
	krb5_keytab kt;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(load(rows[i].octets, rows[i].len, &kt, what), -1);
		assert_string_equal(what, rows[i].what);
	}
	uint8_t *big = calloc(1, KEYTAB_SIZE_MAX);
	assert_int_equal(load(big, KEYTAB_SIZE_MAX, &kt, what), -1);
	assert_string_equal(what, "it cannot be read: File too large");
	free(big);
	assert_int_equal(keytab_load(k, -1, &kt, what, what, sizeof(what)), -1);
}

/* A key that is not as long as its type's. */
static void
test_a_key_of_a_wrong_length(void **state)
{
	uint8_t copy[sizeof(file)];
	unsigned n = 0;
	const char *what;

	(void)state;
	memcpy(copy, file, file_len);
	uint8_t *type = memmem(copy, file_len, "\0\x11\0\x10", 4); /* 17, sixteen octets */
	assert_non_null(type);
	type[1] = 18;
	assert_int_equal(keytab_parse(copy, file_len, count, &n, &what), -1);
	type[1] = 19; /* sixteen too */
	assert_int_equal(keytab_parse(copy, file_len, count, &n, &what), ALL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_mit_writes),
		cmocka_unit_test(test_libkrb5_finds_them),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_a_key_of_a_wrong_length),
	};

	return cmocka_run_group_tests(tests, file_make, file_remove);
}
