/*
 * An act in a forked child that has entered some layers of a sandbox, and how it ended: for the
 * tests of the sandbox. In a header, because every tests/unit/test_*.c is a program of its own.
 */
#ifndef TESTS_UNIT_IN_SANDBOX_H
#define TESTS_UNIT_IN_SANDBOX_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/sandbox.h"

#define TEST_UID 54321
#define KILLED   1000 /* instead of an errno: ended by the filter */
#define NO_ENTRY 1001 /* the sandbox could not be entered */
#define LACKING  1002 /* a layer that was tried is not to be had on this kernel */
#define BAD_END  1003
#define ALARM    10 /* s */
#define ALL_OFF  0u
#define ONLY(l)  (1u << (l))
#define FILTERED (ONLY(LAYER_NO_NEW_PRIVS) | ONLY(LAYER_SECCOMP))

#if SANITIZED
#define REFUSED EPERM
#else
#define REFUSED KILLED
#endif

static char empty_dir[] = "/tmp/sallyport-test-sandbox.XXXXXX";

static inline struct msg_init
init_with(uint32_t layers, enum layer_mode mode)
{
	struct msg_init init;

	memset(&init, 0, sizeof(init));
	for (unsigned l = 0; l < LAYER_COUNT; l++)
		init.layers[l] = (layers & (1u << l)) != 0 ? (uint8_t)mode : LAYER_OFF;
	init.uid = init.gid = TEST_UID;
	memcpy(init.chroot, empty_dir, sizeof(empty_dir));
	return init;
}

static inline int
end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : BAD_END;
	return WEXITSTATUS(status);
}

/* What `act` answers (0 or an errno) in a child that has entered these layers. Codes past an exit
 * status travel in a pipe. */
static inline int
in_sandbox(const struct sandbox *s, uint32_t layers, int (*act)(void))
{
	struct msg_init init = init_with(layers, LAYER_TRY);
	int p[2], answer = BAD_END, ended;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	if ((pid = fork()) == 0) {
		enum layer failed;
		uint32_t lacking;

		alarm(ALARM);
		if (sandbox_enter(s, &init, &lacking, &failed) == -1)
			answer = NO_ENTRY;
		else
			answer = lacking != 0 ? LACKING : act();
		if (write(p[1], &answer, sizeof(answer)) != sizeof(answer))
			_exit(1);
		_exit(0);
	}
	close(p[1]);
	ended = end_of(pid);
	if (ended == 0)
		assert_int_equal(read(p[0], &answer, sizeof(answer)), sizeof(answer));
	close(p[0]);
	return ended == 0 ? answer : ended;
}

static inline void
need_root(void)
{
	if (geteuid() != 0)
		skip();
}

/* Refused with exactly this layer (skipped where the kernel lacks it), allowed with none. */
static inline void
check_layer(const struct sandbox *s, uint32_t layers, int (*act)(void), int refusal)
{
	int with;

	assert_int_equal(in_sandbox(s, ALL_OFF, act), 0);
	if ((with = in_sandbox(s, layers, act)) == LACKING)
		skip();
	assert_int_equal(with, refusal);
}

static inline int
done(long result)
{
	return result == -1 ? errno : 0;
}

/* Acts and fixtures of more than one test. */
static inline int
act_open(void)
{
	return done(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static inline int
act_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid == -1 ? errno : 0;
}

static inline int
make_dir(void **state)
{
	(void)state;
	return mkdtemp(empty_dir) == NULL ? -1 : chmod(empty_dir, 0755);
}
static inline int
remove_dir(void **state)
{
	(void)state;
	return rmdir(empty_dir);
}

#endif
