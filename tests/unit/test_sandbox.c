/*
 * Each layer of the sandbox on its own, in a forked child: an act is refused with it and allowed
 * without it. Then the roles' tables of system calls, call by call.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "authd/filter.h"
#include "master/filter.h"
#include "tests/unit/in_sandbox.h"
#include "worker/filter.h"
#include "worker/resolver_filter.h"

#define PORT 20011 /* of nobody, nor lent to a client: it is only bound to, never reached */

/* --- layers --- */

static void
test_chroot(void **state)
{
	(void)state;
	need_root();
	check_layer(&worker_sandbox, ONLY(LAYER_CHROOT), act_open, ENOENT);
}

static int
act_be_root(void)
{
	gid_t list[4];

	if (getuid() == 0 && geteuid() == 0)
		return 0;
	if (getuid() != TEST_UID || getegid() != TEST_UID || getgroups(4, list) != 0)
		return EINVAL;
	return done(setuid(0));
}

static void
test_uid(void **state)
{
	(void)state;
	need_root();
	check_layer(&worker_sandbox, ONLY(LAYER_UID), act_be_root, EPERM);
}

static int
act_capable(void)
{
	if (chown(empty_dir, 1, 0) == 0)
		return chown(empty_dir, 0, 0);
	return prctl(PR_CAPBSET_READ, CAP_CHOWN) == 0 ? errno : EINVAL;
}

static void
test_capabilities(void **state)
{
	(void)state;
	need_root();
	check_layer(&worker_sandbox, ONLY(LAYER_CAPABILITIES), act_capable, EPERM);
}

static int
act_gain(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 ? 0 : EPERM;
}

static void
test_no_new_privs(void **state)
{
	(void)state;
	check_layer(&worker_sandbox, ONLY(LAYER_NO_NEW_PRIVS), act_gain, EPERM);
}

static int
act_make_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return done(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static void
test_mdwe(void **state)
{
	(void)state;
	check_layer(&worker_sandbox, ONLY(LAYER_MDWE), act_make_executable, EACCES);
}

static void
test_landlock(void **state)
{
	(void)state;
	check_layer(
	    &worker_sandbox, ONLY(LAYER_NO_NEW_PRIVS) | ONLY(LAYER_LANDLOCK), act_open, EACCES);
}

/* In the sandbox's working directory, which is the chroot where there is one. */
static int
act_open_own(void)
{
	return done(open("./own", O_RDWR | O_CLOEXEC));
}
static int
act_open_outside(void)
{
	return done(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}
static int
act_make_own(void)
{
	return done(open("./new", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}
static int
act_exec_own(void)
{
	return done(execl("./own", "own", NULL));
}

/* The acceptor's: files that are there already, in one directory. */
static void
test_landlock_directory(void **state)
{
	const uint32_t files = ONLY(LAYER_NO_NEW_PRIVS) | ONLY(LAYER_LANDLOCK);
	char back[256];

	(void)state;
	assert_non_null(getcwd(back, sizeof(back)));
	assert_int_equal(chdir(empty_dir), 0);
	int fd = open("own", O_RDWR | O_CREAT | O_CLOEXEC, 0755);
	assert_int_not_equal(fd, -1);
	close(fd);
	int own = in_sandbox(&acceptor_sandbox, files, act_open_own);
	int other = in_sandbox(&password_sandbox, files, act_open_own);
	int outside = in_sandbox(&acceptor_sandbox, files, act_open_outside);
	int outside_before = in_sandbox(&acceptor_sandbox, 0, act_open_outside);
	int made = in_sandbox(&acceptor_sandbox, files, act_make_own);
	int run = in_sandbox(&acceptor_sandbox, files, act_exec_own);
	unlink("own");
	unlink("new");
	assert_int_equal(chdir(back), 0);
	assert_int_equal(own, 0);
	assert_int_equal(other, EACCES);
	assert_int_equal(outside_before, 0);
	assert_int_equal(outside, EACCES);
	assert_int_equal(made, EACCES);
	assert_int_equal(run, EACCES);
}

static int
tcp_call(int (*call)(int, const struct sockaddr *, socklen_t), uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = { htonl(INADDR_LOOPBACK) } };
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return done(call(s, (struct sockaddr *)&in, sizeof(in)));
}
static int
act_bind(void)
{
	return tcp_call(bind, PORT);
}
static int
act_bind_any(void)
{
	return tcp_call(bind, 0);
}
/* Nobody listens: a connect that is allowed is refused by the peer. */
static int
act_connect(void)
{
	int error = tcp_call(connect, 1);

	return error == ECONNREFUSED ? 0 : error;
}

static void
test_landlock_net(void **state)
{
	const uint32_t net = ONLY(LAYER_NO_NEW_PRIVS) | ONLY(LAYER_LANDLOCK_NET);

	(void)state;
	check_layer(&worker_sandbox, net, act_bind, EACCES);
	check_layer(&resolver_sandbox, net, act_bind_any, EACCES);
	check_layer(&password_sandbox, net, act_bind_any, EACCES);
	check_layer(&password_sandbox, net, act_connect, EACCES);
	assert_int_equal(in_sandbox(&worker_sandbox, net, act_bind_any), 0);
	assert_int_equal(in_sandbox(&worker_sandbox, net, act_connect), 0);
	assert_int_equal(in_sandbox(&resolver_sandbox, net, act_connect), 0);
}

/* A name that the test's process (`owner`) listens on and the child finds. */
static socklen_t
abstract_name(struct sockaddr_un *un, pid_t owner)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(un->sun_path + 1, 64, "sallyport-test-%d", (int)owner));
}
static int
act_abstract(void)
{
	struct sockaddr_un un;
	socklen_t len = abstract_name(&un, getppid());

	return done(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&un, len));
}
static int
act_signal_parent(void)
{
	return done(kill(getppid(), 0));
}

static void
test_landlock_scope(void **state)
{
	const uint32_t scope = ONLY(LAYER_NO_NEW_PRIVS) | ONLY(LAYER_LANDLOCK_SCOPE);
	struct sockaddr_un un;
	socklen_t len = abstract_name(&un, getpid());
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(bind(s, (struct sockaddr *)&un, len), 0);
	assert_int_equal(listen(s, 8), 0);
	check_layer(&worker_sandbox, scope, act_abstract, EPERM);
	check_layer(&worker_sandbox, scope, act_signal_parent, EPERM);
	close(s);
}

static int
act_getppid(void)
{
	return done(syscall(SYS_getppid));
}

static void
test_seccomp(void **state)
{
	(void)state;
	check_layer(&worker_sandbox, FILTERED, act_getppid, REFUSED);
}

static void
test_processes(void **state)
{
	(void)state;
	need_root();
	/* Root's own are not counted, so this is the uid's layer too. */
	check_layer(&worker_sandbox, ONLY(LAYER_UID) | ONLY(LAYER_CAPABILITIES), act_fork, EAGAIN);
	assert_int_equal(in_sandbox(&pam_sandbox, ONLY(LAYER_UID), act_fork), 0);
}

/* --- the pool's threads are under the filter too --- */

static _Atomic int thread_may_act; /* 0: not born yet, 1: waits, 2: may act, 3: refused, 4: not */
static void *
thread_main(void *arg)
{
	(void)arg;
	thread_may_act = 1;
	while (thread_may_act == 1)
		sched_yield();
	thread_may_act = syscall(SYS_getppid) == -1 ? 3 : 4;
	return NULL;
}
static int
start_one_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread_main, NULL) != 0)
		return -1;
	while (thread_may_act == 0)
		sched_yield();
	return 0;
}
static int
act_by_thread(void)
{
	thread_may_act = 2;
	while (thread_may_act == 2)
		sched_yield();
	return thread_may_act == 3 ? EPERM : 0;
}

static void
test_threads(void **state)
{
	struct sandbox s = password_sandbox;

	(void)state;
	s.threads = start_one_thread;
	check_layer(&s, FILTERED, act_by_thread, REFUSED);
}

/* --- modes --- */

static void
check_mode(enum layer_mode mode, int result, uint32_t lacking_expected)
{
	struct msg_init init = init_with(ONLY(LAYER_CHROOT), mode);
	enum layer failed;
	uint32_t lacking;
	pid_t pid;

	strcpy(init.chroot, "/nonexistent");
	if ((pid = fork()) == 0) {
		int got = sandbox_enter(&worker_sandbox, &init, &lacking, &failed);

		if (got == -1 && (failed != LAYER_CHROOT || errno != ENOENT))
			_exit(2);
		_exit(got == result && lacking == lacking_expected ? 0 : 1);
	}
	assert_int_equal(end_of(pid), 0);
}

static void
test_modes(void **state)
{
	(void)state;
	need_root();
	check_mode(LAYER_REQUIRE, -1, 0);
	check_mode(LAYER_TRY, 0, ONLY(LAYER_CHROOT));
	check_mode(LAYER_OFF, 0, 0);
}

static void
test_chroot_of_others(void **state)
{
	int answers[2];

	(void)state;
	need_root();
	assert_int_equal(chmod(empty_dir, 0777), 0);
	answers[0] = in_sandbox(&worker_sandbox, ONLY(LAYER_CHROOT), act_open);
	assert_int_equal(chmod(empty_dir, 0755), 0);
	answers[1] = in_sandbox(&worker_sandbox, ONLY(LAYER_CHROOT), act_open);
	assert_int_equal(answers[0], LACKING);
	assert_int_equal(answers[1], ENOENT);
}

/* Without root: what needs it is lacking, the rest is entered. */
static void
test_without_root(void **state)
{
	const uint32_t all = (1u << LAYER_COUNT) - 1;
	struct msg_init init = init_with(all, LAYER_TRY);
	pid_t pid;

	(void)state;
	init.uid = init.gid = 0;
	if ((pid = fork()) == 0) {
		enum layer failed;
		uint32_t lacking;

		if (geteuid() == 0 && setresuid(TEST_UID, TEST_UID, TEST_UID) == -1)
			_exit(1);
		if (sandbox_enter(&worker_sandbox, &init, &lacking, &failed) == -1)
			_exit(2);
		lacking &= ONLY(LAYER_CHROOT) | ONLY(LAYER_UID) | ONLY(LAYER_CAPABILITIES) |
			   ONLY(LAYER_SECCOMP) | ONLY(LAYER_NO_NEW_PRIVS);
		_exit(lacking == (ONLY(LAYER_CHROOT) | ONLY(LAYER_UID) | ONLY(LAYER_CAPABILITIES))
			  ? 0
			  : 3);
	}
	assert_int_equal(end_of(pid), 0);
}

/* --- deny-lists: pam's, the master's --- */

static int
act_process_vm(void)
{
	return done(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0));
}
static int
act_user_namespace(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, 0x10000000 | SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return done(pid);
}

static void
test_pam(void **state)
{
	(void)state;
	check_layer(&pam_sandbox, FILTERED, act_process_vm, EPERM);
	check_layer(&pam_sandbox, FILTERED, act_user_namespace, EPERM);
	assert_int_equal(in_sandbox(&pam_sandbox, FILTERED, act_open), 0);
	assert_int_equal(in_sandbox(&pam_sandbox, FILTERED, act_fork), 0);
}

static int
harden(const uint8_t layers[LAYER_COUNT])
{
	enum layer failed;
	uint32_t lacking;

	return master_harden(layers, false, &lacking, &failed) == 0 && lacking == 0 ? 0 : -1;
}

static int
master_child(enum layer_mode mode, int (*act)(void))
{
	struct msg_init init = init_with((1u << LAYER_COUNT) - 1, mode);
	pid_t pid;

	if ((pid = fork()) == 0)
		_exit(harden(init.layers) == 0 ? act() : 99);
	return end_of(pid);
}

static int
act_own(void) /* takes CAP_FOWNER: the mode of what is another's */
{
	int fd = memfd_create("another's", MFD_CLOEXEC);

	if (fd == -1 || fchown(fd, 1, 0) == -1)
		return 99;
	return fchmod(fd, 0600) == 0 ? 0 : errno;
}
static int
act_kept(void) /* takes CAP_SETPCAP, SETGID, SETUID, SYS_CHROOT, as its children do */
{
	struct msg_init init = init_with(
	    ONLY(LAYER_CHROOT) | ONLY(LAYER_UID) | ONLY(LAYER_CAPABILITIES), LAYER_REQUIRE);
	enum layer failed;
	uint32_t lacking;

	return sandbox_enter(&worker_sandbox, &init, &lacking, &failed) == 0 ? 0 : 98;
}

static void
test_master(void **state)
{
	(void)state;
	assert_int_equal(master_child(LAYER_OFF, act_process_vm), 0);
	assert_int_equal(master_child(LAYER_REQUIRE, act_process_vm), EPERM);
	assert_int_equal(master_child(LAYER_REQUIRE, act_fork), 0);
	need_root();
	assert_int_equal(master_child(LAYER_OFF, act_own), 0);
	assert_int_equal(master_child(LAYER_REQUIRE, act_own), EPERM);
	assert_int_equal(master_child(LAYER_REQUIRE, act_kept), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chroot),
		cmocka_unit_test(test_chroot_of_others),
		cmocka_unit_test(test_uid),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_no_new_privs),
		cmocka_unit_test(test_mdwe),
		cmocka_unit_test(test_landlock),
		cmocka_unit_test(test_landlock_directory),
		cmocka_unit_test(test_landlock_net),
		cmocka_unit_test(test_landlock_scope),
		cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_without_root),
		cmocka_unit_test(test_pam),
		cmocka_unit_test(test_master),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
