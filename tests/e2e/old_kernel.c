/*
 * old_kernel LACK... -- COMMAND...: runs a command under a kernel that lacks what Debian 12's own
 * (6.1) lacks, by a seccomp filter that answers as such a kernel does. LACK is "mdwe" (prctl
 * PR_SET_MDWE: EINVAL) or "landlock" (its system calls: ENOSYS).
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

static int
lack(scmp_filter_ctx ctx, const char *what)
{
	static const int landlock[] = { SCMP_SYS(landlock_create_ruleset),
		SCMP_SYS(landlock_add_rule), SCMP_SYS(landlock_restrict_self) };

	if (strcmp(what, "mdwe") == 0)
		return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1,
		    SCMP_A0(SCMP_CMP_EQ, PR_SET_MDWE));
	if (strcmp(what, "landlock") != 0)
		return -EINVAL;
	for (unsigned i = 0; i < sizeof(landlock) / sizeof(landlock[0]); i++) {
		int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), landlock[i], 0);
		if (r != 0)
			return r;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int i, r = ctx == NULL ? -ENOMEM : 0;

	for (i = 1; r == 0 && i < argc && strcmp(argv[i], "--") != 0; i++)
		r = lack(ctx, argv[i]);
	if (r == 0 && i + 1 >= argc)
		r = -EINVAL;
	if (r == 0 && geteuid() == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	if (r == 0)
		r = seccomp_load(ctx);
	if (r != 0) {
		fprintf(stderr, "old_kernel: %s\n", strerror(-r));
		return 125;
	}
	seccomp_release(ctx);
	execvp(argv[i + 1], argv + i + 1);
	perror("old_kernel");
	return 127;
}
