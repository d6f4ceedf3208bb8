/*
 * The part of a start that can be tried without one: directories of logs and of children, and the
 * files that roles are handed. Ports and addresses cannot, since the gateway that runs has them.
 */
#include "master/precheck.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/gateway.h"
#include "master/krb5_conf.h"

/* One that we may not look into as this user is no error: another may start the gateway. */
static int
directory(const char *path, const struct conf_where *w, const char *what, FILE *errors)
{
	struct stat st;
	int error = stat(path, &st) == -1 ? errno : S_ISDIR(st.st_mode) ? 0 : ENOTDIR;

	if (error == 0 || error == EACCES)
		return 0;
	fprintf(errors, "%s:%u: %s %s: %s, expected a directory that is there\n", w->file, w->line,
	    what, path, strerror(error));
	return -1;
}

static int
log_file(const struct conf_log *l, FILE *errors)
{
	const char *slash = strrchr(l->path, '/'); /* it is absolute */
	char dir[PATH_MAX_MSG];
	struct stat st;

	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - l->path + (slash == l->path)), l->path);
	if (directory(dir, &l->where, "the log file's directory", errors) == -1)
		return -1;
	if (lstat(l->path, &st) == -1 || S_ISREG(st.st_mode))
		return 0;
	fprintf(errors, "%s:%u: the log file %s %s\n", l->where.file, l->where.line, l->path,
	    S_ISLNK(st.st_mode) ? "is a symbolic link, expected the name of the file itself"
				: "is there already, expected a regular file");
	return -1;
}

int
precheck(const struct conf *c, FILE *errors)
{
	const struct conf_log *l;
	int rv = 0, handed[HANDED_COUNT];

	STAILQ_FOREACH (l, &c->logs, entry)
		if (l->kind == LOGTO_FILE && log_file(l, errors) == -1)
			rv = -1;
	for (unsigned r = 0; r < ROLE_COUNT && geteuid() == 0; r++)
		if (c->process[r].chroot != NULL &&
		    directory(c->process[r].chroot, &c->process[r].where, "chroot", errors) == -1)
			rv = -1;
	if (c->gssapi.keytab != NULL) {
		struct krb5_conf *k = krb5_conf_read(c->krb5_conf, errors);

		rv = k != NULL ? rv : -1;
		krb5_conf_free(k);
	}
	if (handed_open_all(c, handed, errors) == -1)
		return -1;
	handed_close_all(handed);
	return rv;
}
