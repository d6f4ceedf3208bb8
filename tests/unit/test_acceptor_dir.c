/*
 * The acceptor's directory: what is in it belongs to whom it should, the replay cache is kept, and
 * no name in it leads elsewhere.
 */
#include "tests/unit/conf_text.h"

#include "master/acceptor_dir.h"

static struct conf conf;

/* 0 or -1; what is said must hold `why`. */
static int
make(const char *why)
{
	unsigned modules;
	char *said;
	size_t size;
	FILE *errors = open_memstream(&said, &size);
	int rv = acceptor_dir_make(&conf, &conf, &modules, errors);

	fclose(errors);
	if (strstr(said, why) == NULL)
		fail_msg("said \"%s\", not \"%s\"", said, why);
	free(said);
	return rv;
}

static struct stat
look(const char *name)
{
	struct stat st;

	assert_int_equal(lstat(in_dir(name), &st), 0);
	return st;
}

static int
setup(void **state)
{
	static char run[64], krb5[80], keytab[] = "/k";

	if (dir_make(state) == -1 || chmod(dir, 0755) == -1)
		return -1;
	snprintf(run, sizeof(run), "%s", dir);
	snprintf(krb5, sizeof(krb5), "%s/k", dir);
	conf = (struct conf){ .run_directory = run, .krb5_conf = krb5 };
	conf.gssapi.keytab = keytab;
	conf.process[ROLE_ACCEPTOR].uid = 64204;
	conf.process[ROLE_ACCEPTOR].gid = 64205;
	write_text("k", "[a]\n");
	return 0;
}

static int
teardown(void **state)
{
	unlink(in_dir("acceptor/rcache"));
	unlink(in_dir("acceptor/krb5.conf"));
	rmdir(in_dir("acceptor"));
	return dir_remove(state);
}

static void
made_and_kept(void **state)
{
	bool root = geteuid() == 0;

	(void)state;
	assert_int_equal(make(""), 0);
	assert_int_equal(look("acceptor").st_mode, S_IFDIR | 0755);
	assert_int_equal(look("acceptor/krb5.conf").st_mode, S_IFREG | 0644);
	assert_int_equal(look("acceptor/krb5.conf").st_uid, geteuid());
	assert_int_equal(look("acceptor/krb5.conf").st_size, 4);
	assert_int_equal(look("acceptor/rcache").st_mode, S_IFREG | 0600);
	assert_int_equal(look("acceptor/rcache").st_uid, root ? 64204 : geteuid());
	assert_int_equal(look("acceptor/rcache").st_gid, root ? 64205 : getegid());
	ino_t cache = look("acceptor/rcache").st_ino, text = look("acceptor/krb5.conf").st_ino;
	write_text("acceptor/rcache", "tokens");
	write_text("k", "[a]\n[b]\n");
	conf.process[ROLE_ACCEPTOR].uid = 64210; /* the packaged user has come meanwhile */
	assert_int_equal(make(""), 0);
	assert_int_equal(look("acceptor/rcache").st_ino, cache);
	assert_int_equal(look("acceptor/rcache").st_size, 6);
	assert_int_equal(look("acceptor/rcache").st_uid, root ? 64210 : geteuid());
	assert_true(look("acceptor/krb5.conf").st_ino != text); /* by a rename */
	assert_int_equal(look("acceptor/krb5.conf").st_size, 8);
	acceptor_dir_remove(dir); /* tokens are in it: it stays */
	assert_int_equal(look("acceptor/rcache").st_size, 6);
	write_text("acceptor/rcache", "");
	acceptor_dir_remove(dir);
	assert_int_equal(access(in_dir("acceptor"), F_OK), -1);
	acceptor_dir_remove(dir);
	conf.gssapi.keytab = NULL; /* nothing is made for no one */
	assert_int_equal(make(""), 0);
	assert_int_equal(access(in_dir("acceptor"), F_OK), -1);
}

static void
names_that_lead_elsewhere(void **state)
{
	(void)state;
	write_text("other", "precious");
	assert_int_equal(make(""), 0);
	/* the replay cache */
	unlink(in_dir("acceptor/rcache"));
	assert_int_equal(symlink(in_dir("other"), in_dir("acceptor/rcache")), 0);
	assert_int_equal(make("the replay cache"), -1);
	unlink(in_dir("acceptor/rcache"));
	assert_int_equal(link(in_dir("other"), in_dir("acceptor/rcache")), 0);
	assert_int_equal(make("the replay cache"), -1);
	unlink(in_dir("acceptor/rcache"));
	assert_int_equal(mkfifo(in_dir("acceptor/rcache"), 0600), 0);
	assert_int_equal(make("the replay cache"), -1);
	unlink(in_dir("acceptor/rcache"));
	/* the text: the link goes, what it leads to stays */
	unlink(in_dir("acceptor/krb5.conf"));
	assert_int_equal(symlink(in_dir("other"), in_dir("acceptor/krb5.conf")), 0);
	assert_int_equal(symlink(in_dir("other"), in_dir("acceptor/krb5.conf.new")), 0);
	assert_int_equal(make(""), 0);
	assert_true(S_ISREG(look("acceptor/krb5.conf").st_mode));
	assert_int_equal(look("other").st_size, 8);
	assert_int_equal(look("other").st_uid, geteuid());
	/* the directory */
	assert_int_equal(chmod(in_dir("acceptor"), 0777), 0);
	assert_int_equal(make("others may not write to it"), -1);
	assert_int_equal(chmod(in_dir("acceptor"), 0755), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(in_dir("acceptor"), 64204, 0), 0);
		assert_int_equal(make("must belong to root"), -1);
		assert_int_equal(chown(in_dir("acceptor"), 0, 0), 0);
	}
	assert_int_equal(rename(in_dir("acceptor"), in_dir("real")), 0);
	assert_int_equal(symlink("real", in_dir("acceptor")), 0);
	assert_int_equal(make("the acceptor's directory"), -1);
	acceptor_dir_remove(dir);
	assert_int_equal(access(in_dir("real/rcache"), F_OK), 0);
	unlink(in_dir("acceptor"));
	assert_int_equal(rename(in_dir("real"), in_dir("acceptor")), 0);
	/* a text that is wrong leaves the one before */
	write_text("k", "include nowhere\n");
	assert_int_equal(make("expected an absolute path"), -1);
	assert_int_equal(look("acceptor/krb5.conf").st_size, 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(made_and_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(names_that_lead_elsewhere, setup, teardown),
	};

	return cmocka_run_group_tests_name("acceptor_dir", tests, NULL, NULL);
}
