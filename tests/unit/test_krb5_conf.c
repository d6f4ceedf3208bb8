/*
 * The Kerberos configuration as one text: what libkrb5 would read from the files it was made of.
 */
#include "tests/unit/conf_text.h"

#include "master/krb5_conf.h"

static unsigned modules;

/* The text that `k` makes, or "" with what was said; @ stands for the directory. */
static char *
flat(char **said)
{
	size_t size;
	FILE *errors = open_memstream(said, &size);
	struct krb5_conf *k = krb5_conf_read(in_dir("k"), errors);
	char *text = k != NULL ? strdup(k->text) : NULL;

	modules = k != NULL ? k->modules : 0;
	fclose(errors);
	krb5_conf_free(k);
	return text;
}

static void
file(const char *name, const char *text)
{
	FILE *f = fopen(in_dir(name), "w");

	assert_non_null(f);
	for (; *text != '\0'; text++)
		if (*text == '@')
			fputs(dir, f);
		else
			fputc(*text, f);
	fclose(f);
}

static void
assert_flat(const char *want)
{
	char *said, *text = flat(&said);

	if (text == NULL || strcmp(text, want) != 0)
		fail_msg("made\n%s%snot\n%s", text != NULL ? text : "", said, want);
	free(text);
	free(said);
}

static void
assert_refused(const char *why)
{
	char *said, *text = flat(&said);

	if (text != NULL || strstr(said, why) == NULL)
		fail_msg("said\n%snot\n%s", said, why);
	free(said);
}

static void
one_file(void **state)
{
	(void)state;
	remove(in_dir("k"));
	assert_flat(""); /* none: libkrb5's defaults */
	file("k", "");
	assert_flat("");
	file("k",
	    "comment = 1\nmodule /lib/x.so:init\n[libdefaults]\n a = b\n# include /x\n include /x\n");
	assert_flat("[libdefaults]\n a = b\n# include /x\n include /x\n");
	assert_int_equal(modules, 1);
	file("k", "\xef\xbb\xbf[libdefaults]\r\n a = b\r\n"); /* a byte order mark, DOS lines */
	assert_flat("[libdefaults]\n a = b\n");
	file("k", "[plugins]\nmodule = x\n"); /* a relation like others */
	assert_flat("[plugins]\nmodule = x\n");
	assert_int_equal(modules, 0);
}

static void
includes(void **state)
{
	(void)state;
	file("k", "include @/a\n[libdefaults]\n x = 1\ninclude @/a\n y = 2\n");
	file("a", "words\n[realms]\n R = {\n  kdc = h\n");
	assert_flat("[realms]\n R = {\n  kdc = h\n}\n"
		    "[libdefaults]\n x = 1\n"
		    "[realms]\n R = {\n  kdc = h\n}\n"
		    "[libdefaults]\n y = 2\n");
	/* Inside braces: behind them. */
	file("k", "[realms]\n R =\n {\ninclude @/a\n  kdc = h\n }\n S = 1\n");
	file("a", "[appdefaults]\n z = {}\n");
	assert_flat(
	    "[realms]\n R =\n {\n  kdc = h\n }\n[appdefaults]\n z = {}\n[realms]\n S = 1\n");
}

static void
directories(void **state)
{
	static const char *const names[] = { "b.conf", "a", "c-_9", ".hid.conf", "d.rpmsave", "e~",
		".conf" };

	(void)state;
	assert_int_equal(mkdir(in_dir("d"), 0755), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char name[64], text[64];

		snprintf(name, sizeof(name), "d/%s", names[i]);
		snprintf(text, sizeof(text), "[%s]\n", names[i]);
		file(name, text);
	}
	assert_int_equal(mkdir(in_dir("d/sub"), 0755), 0);
	file("k", "includedir @/d\n");
	assert_flat("[a]\n[b.conf]\n[c-_9]\n");
	rmdir(in_dir("d/sub"));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char name[64];

		snprintf(name, sizeof(name), "d/%s", names[i]);
		assert_int_equal(remove(in_dir(name)), 0);
	}
	rmdir(in_dir("d"));
	assert_refused("k:1: includedir ");
	file("k", "includedir relative\n");
	assert_refused("k:1: include of relative: expected an absolute path");
}

static void
bounds(void **state)
{
	static char big[KRB5_CONF_MAX + 2];

	(void)state;
	file("k", "[a]\ninclude @/none\n");
	assert_refused("k:2: include of ");
	file("k", "include @/k\n");
	assert_refused("too deep, expected no circle");
	file("k", "include @/a\ninclude @/a\n"); /* two at each depth: 2^16 without a bound */
	file("a", "include @/k\ninclude @/k\n");
	assert_refused("expected no circle");
	memset(big, '\n', sizeof(big) - 1);
	write_octets("k", big, KRB5_CONF_MAX);
	assert_flat("");
	write_octets("k", big, KRB5_CONF_MAX + 1);
	assert_refused("too long");
	write_octets("k", "[a]\n\0b", 6);
	assert_refused("NUL octet");
	file("k", "[a]\n");
	assert_int_equal(chmod(in_dir("k"), 0646), 0);
	assert_refused("anyone may write it");
	remove(in_dir("k"));
	assert_int_equal(mkfifo(in_dir("k"), 0600), 0);
	assert_refused("expected a regular file");
	remove(in_dir("k"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_file),
		cmocka_unit_test(includes),
		cmocka_unit_test(directories),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests_name("krb5_conf", tests, dir_make, dir_remove);
}
