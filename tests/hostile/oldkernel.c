/*
 * Runs a program as on an old kernel: prctl(PR_SET_MDWE) answers EINVAL, as before Linux 6.3, and
 * Landlock ENOSYS, as where it is not built in.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <unistd.h>

#define MDWE 65 /* PR_SET_MDWE */

static const int landlock[] = { 444, 445, 446 }; /* the same number on every architecture */

static int
filter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	/* As root no_new_privs is left to the program, whose own setting of it is under test. */
	if (ctx == NULL || (geteuid() == 0 && seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0) != 0))
		return -1;
	if (seccomp_rule_add(
		ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, MDWE)) != 0)
		return -1;
	for (unsigned i = 0; i < sizeof(landlock) / sizeof(landlock[0]); i++)
		if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), landlock[i], 0) != 0)
			return -1;
	return seccomp_load(ctx);
}

int
main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: oldkernel PROGRAM [ARGUMENT ...]\n");
		return 2;
	}
	if (filter() != 0) {
		fprintf(stderr, "oldkernel: the filter cannot be loaded\n");
		return 1;
	}
	execv(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
