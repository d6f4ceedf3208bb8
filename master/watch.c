/*
 * Watches paths by inotify. Owns the inotify descriptor and, for each path, the places where a
 * change of it shows: the directory of the path and of each symbolic link on the way, and the file
 * itself (one that is bind-mounted shows changes only there). Trusts the kernel; what the files say
 * is not its concern.
 */
#include "master/watch.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <unistd.h>

#define SETTLE_MS  100 /* from the first change to the call: an editor's few steps are done then */
#define LINKS_MAX  8   /* symbolic links followed */
#define PLACES_MAX (LINKS_MAX + 2)

#define FILE_MASK (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
#define DIR_MASK  (FILE_MASK | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR)

struct place {
	int wd;
	char name[NAME_MAX + 1]; /* "" : the watched inode itself */
};

struct watched {
	TAILQ_ENTRY(watched) entry;
	struct watch *w;
	char path[PATH_MAX];
	void (*changed)(void *arg);
	void *arg;
	struct deadline settle;
	struct place places[PLACES_MAX];
	size_t n;
};

struct watch {
	struct loop *loop;
	struct ev ev;
	TAILQ_HEAD(, watched) paths;
};

static bool
wd_in_use(const struct watch *w, int wd)
{
	const struct watched *p;

	TAILQ_FOREACH (p, &w->paths, entry) {
		for (size_t i = 0; i < p->n; i++) {
			if (p->places[i].wd == wd)
				return true;
		}
	}
	return false;
}

static void
release(struct watch *w, const struct place *places, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!wd_in_use(w, places[i].wd))
			inotify_rm_watch(w->ev.fd, places[i].wd);
	}
}

static void
add_place(struct watched *p, int wd, const char *name)
{
	size_t len = strlen(name);

	if (wd == -1 || p->n == PLACES_MAX || len > NAME_MAX)
		return;
	struct place *at = &p->places[p->n++];
	at->wd = wd;
	memcpy(at->name, name, len + 1);
}

/* Watches for `path` in its directory; where that is not there, for the directory in its own, and
 * so on upwards. */
static void
add_entry(struct watched *p, const char *path)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s", path);
	for (;;) {
		char *slash = strrchr(dir, '/');
		const char *name = slash != NULL ? slash + 1 : dir;
		const char *in = slash == NULL ? "." : slash == dir ? "/" : dir;
		if (slash != NULL)
			*slash = '\0';
		int wd = inotify_add_watch(p->w->ev.fd, in, DIR_MASK | IN_MASK_ADD);
		if (wd != -1 || slash == NULL || slash == dir) {
			add_place(p, wd, name);
			return;
		}
	}
}

/* Where the link at path leads, in `to`; false: path is no link, or it is not there. */
static bool
follow(const char *path, char to[PATH_MAX])
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	const char *slash = strrchr(path, '/');

	if (len <= 0)
		return false;
	target[len] = '\0';
	int dir_len = target[0] == '/' || slash == NULL ? 0 : (int)(slash + 1 - path);
	int n = snprintf(to, PATH_MAX, "%.*s%s", dir_len, path, target);
	return n > 0 && n < PATH_MAX;
}

/* Finds the places anew, and lets go of those that no path needs any more. */
static void
locate(struct watched *p)
{
	struct place old[PLACES_MAX];
	size_t n = p->n;
	char path[PATH_MAX], next[PATH_MAX];

	memcpy(old, p->places, n * sizeof(old[0]));
	p->n = 0;
	memcpy(path, p->path, sizeof(path));
	for (int i = 0; i <= LINKS_MAX; i++) {
		add_entry(p, path);
		if (!follow(path, next)) {
			int wd = inotify_add_watch(p->w->ev.fd, path, FILE_MASK | IN_MASK_ADD);
			add_place(p, wd, "");
			break;
		}
		memcpy(path, next, sizeof(path));
	}
	release(p->w, old, n);
}

static void
settled(struct deadline *d)
{
	struct watched *p =
	    (struct watched *)(void *)((char *)d - offsetof(struct watched, settle));

	/* First the places, then the call: what changes after it was read is told again. */
	locate(p);
	p->changed(p->arg);
}

static bool
concerns(const struct watched *p, const struct inotify_event *e, const char *name)
{
	if (e->mask & IN_Q_OVERFLOW)
		return true;
	for (size_t i = 0; i < p->n; i++) {
		if (p->places[i].wd != e->wd)
			continue;
		/* Without a name: the file itself, or its directory was moved or removed. */
		if (e->len == 0)
			return p->places[i].name[0] == '\0' ||
			       (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0;
		if (strcmp(p->places[i].name, name) == 0)
			return true;
	}
	return false;
}

static void
dispatch(struct watch *w, const struct inotify_event *e, const char *name)
{
	struct watched *p;

	TAILQ_FOREACH (p, &w->paths, entry) {
		if (!deadline_armed(&p->settle) && concerns(p, e, name))
			deadline_arm(w->loop, &p->settle, SETTLE_MS);
	}
}

static void
readable(struct ev *ev, uint32_t events)
{
	struct watch *w = (struct watch *)(void *)((char *)ev - offsetof(struct watch, ev));
	char buf[4096];
	struct inotify_event e;
	ssize_t len;

	(void)events;
	while ((len = read(ev->fd, buf, sizeof(buf))) > 0) {
		for (size_t at = 0; at + sizeof(e) <= (size_t)len; at += sizeof(e) + e.len) {
			memcpy(&e, buf + at, sizeof(e));
			/* The kernel pads the name with at least one NUL. */
			dispatch(w, &e, e.len > 0 ? buf + at + sizeof(e) : "");
		}
	}
}

struct watch *
watch_new(struct loop *l)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->loop = l;
	w->ev.fd = -1;
	w->ev.cb = readable;
	TAILQ_INIT(&w->paths);
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd == -1 || ev_add(l, &w->ev, fd, EPOLLIN) == -1) {
		int error = errno;
		if (fd != -1)
			close(fd);
		free(w);
		errno = error;
		return NULL;
	}
	return w;
}

int
watch_add(struct watch *w, const char *path, void (*changed)(void *arg), void *arg)
{
	struct watched *p;

	if (strlen(path) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	TAILQ_FOREACH (p, &w->paths, entry) {
		if (strcmp(p->path, path) == 0 && p->changed == changed && p->arg == arg)
			return 0;
	}
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return -1;
	p->w = w;
	snprintf(p->path, sizeof(p->path), "%s", path);
	p->changed = changed;
	p->arg = arg;
	p->settle.cb = settled;
	TAILQ_INSERT_TAIL(&w->paths, p, entry);
	locate(p);
	return 0;
}

void
watch_clear(struct watch *w)
{
	struct watched *p;

	while ((p = TAILQ_FIRST(&w->paths)) != NULL) {
		TAILQ_REMOVE(&w->paths, p, entry);
		deadline_disarm(&p->settle);
		release(w, p->places, p->n);
		free(p);
	}
}

void
watch_free(struct watch *w)
{
	if (w == NULL)
		return;
	watch_clear(w);
	int fd = w->ev.fd;
	ev_del(w->loop, &w->ev);
	close(fd);
	free(w);
}
