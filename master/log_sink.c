/*
 * The queue of one log. Owns the lines that wait and the log's descriptor; trusts nothing about
 * whoever reads the log: one that never does costs LOG_QUEUE_MAX octets and no time.
 */
#include "master/log_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/log.h"

static void
sink_on_ev(struct ev *e, uint32_t events)
{
	struct sink *s = (struct sink *)(void *)((char *)e - offsetof(struct sink, ev));
	size_t before = s->queued;

	(void)events;
	ev_del(s->loop, &s->ev);
	sink_pump(s);
	/* Told to be writable, and was not: no second time in this way, or the loop would spin. */
	if (s->queued == before)
		ev_del(s->loop, &s->ev);
	s->on_room(s);
}

static void
sink_on_retry(struct deadline *d)
{
	struct sink *s = (struct sink *)(void *)((char *)d - offsetof(struct sink, retry));

	sink_pump(s);
	s->on_room(s);
}

struct sink *
sink_new(struct loop *l, const struct conf_log *c)
{
	const char *path = c->kind == LOGTO_SYSLOG && c->path == NULL ? "/dev/log" : c->path;
	struct sink *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	if (c->kind != LOGTO_STDERR && (path == NULL || (s->path = strdup(path)) == NULL)) {
		free(s);
		return NULL;
	}
	s->loop = l;
	s->kind = c->kind;
	s->format = c->format;
	s->facility = c->facility;
	s->fd = -1;
	s->ev.fd = -1;
	s->ev.cb = sink_on_ev;
	s->retry.cb = sink_on_retry;
	STAILQ_INIT(&s->queue);
	return s;
}

int
sink_open(struct sink *s)
{
	switch (s->kind) {
	case LOGTO_SYSLOG:
		return sink_open_syslog(s);
	case LOGTO_FILE:
		return sink_open_file(s);
	case LOGTO_STDERR:
		return sink_open_stderr(s);
	}
	errno = EINVAL;
	return -1;
}

static enum sink_sent
sink_send(struct sink *s, unsigned *lines)
{
	switch (s->kind) {
	case LOGTO_SYSLOG:
		return sink_send_syslog(s, lines);
	case LOGTO_FILE:
		return sink_send_file(s, lines);
	case LOGTO_STDERR:
		return sink_send_stderr(s, lines);
	}
	return SINK_NEVER;
}

static size_t
line_cost(const struct sink_line *line)
{
	return sizeof(*line) + line->len;
}

static void
sink_drop_head(struct sink *s)
{
	struct sink_line *line = STAILQ_FIRST(&s->queue);

	STAILQ_REMOVE_HEAD(&s->queue, entry);
	s->queued -= line_cost(line);
	if (line->capped)
		s->queued_capped -= line_cost(line);
	free(line);
}

void
sink_free(struct sink *s)
{
	if (s == NULL)
		return;
	while (!STAILQ_EMPTY(&s->queue))
		sink_drop_head(s);
	deadline_disarm(&s->retry);
	ev_del(s->loop, &s->ev);
	if (s->fd != -1)
		close(s->fd);
	free(s->path);
	free(s);
}

/* Sees to it that the queue is tried again: by epoll where it can tell, by the deadline in any
 * case. */
static void
sink_wait(struct sink *s, enum sink_sent why)
{
	if (why == SINK_WAIT && s->fd != -1 && s->ev.fd == -1)
		(void)ev_add(s->loop, &s->ev, s->fd, EPOLLOUT);
	if (!deadline_armed(&s->retry))
		deadline_arm(s->loop, &s->retry, SINK_RETRY_MS);
}

unsigned
sink_batch(const struct sink *s, struct iovec iov[SINK_BATCH])
{
	struct sink_line *line;
	unsigned n = 0;

	STAILQ_FOREACH (line, &s->queue, entry) {
		if (n == SINK_BATCH)
			break;
		iov[n].iov_base = line->text + line->off;
		iov[n++].iov_len = line->len - line->off;
	}
	return n;
}

void
sink_pump(struct sink *s)
{
	s->fresh = 0;
	while (!STAILQ_EMPTY(&s->queue)) {
		unsigned lines = 0;
		enum sink_sent sent = sink_send(s, &lines);

		while (lines-- > 0)
			sink_drop_head(s);
		if (sent == SINK_WAIT || sent == SINK_LATER) {
			sink_wait(s, sent);
			return;
		}
		if (sent == SINK_NEVER) {
			s->lost++;
			sink_drop_head(s);
		}
	}
	ev_del(s->loop, &s->ev);
	deadline_disarm(&s->retry);
}

void
sink_flush(struct sink *s)
{
	if (s->ev.fd == -1)
		sink_pump(s);
}

static bool
sink_full(const struct sink *s, size_t cost, bool capped)
{
	return s->queued + cost > LOG_QUEUE_MAX ||
	       (capped && s->queued_capped + cost > LOG_CAPPED_MAX);
}

void
sink_put(struct sink *s, const char *text, size_t len, bool capped)
{
	size_t cost = sizeof(struct sink_line) + len;
	struct sink_line *line = NULL;

	if (sink_full(s, cost, capped))
		sink_flush(s);
	if (!sink_full(s, cost, capped))
		line = malloc(cost);
	if (line == NULL) {
		s->lost++;
		return;
	}
	line->len = len;
	line->off = 0;
	line->capped = capped;
	memcpy(line->text, text, len);
	STAILQ_INSERT_TAIL(&s->queue, line, entry);
	s->queued += cost;
	if (capped)
		s->queued_capped += cost;
	if (++s->fresh >= SINK_BATCH)
		sink_flush(s);
}

bool
sink_same(const struct sink *a, const struct sink *b)
{
	if (a->kind != b->kind)
		return false;
	return a->path == NULL || strcmp(a->path, b->path) == 0;
}

/* The two descriptors lead to one file. */
static bool
same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

void
sink_adopt(struct sink *s, struct sink *old)
{
	struct sink_line *head = STAILQ_FIRST(&old->queue);

	if (head != NULL && head->off > 0) {
		if (s->kind != LOGTO_FILE || same_file(s->fd, old->fd))
			s->mend = false; /* the line that is not ended goes on */
		else
			head->off = 0; /* its beginning was rotated away: the whole of it again */
	}
	STAILQ_CONCAT(&s->queue, &old->queue);
	s->queued += old->queued;
	s->queued_capped += old->queued_capped;
	s->lost += old->lost;
	old->queued = old->queued_capped = 0;
	old->lost = 0;
	if (!STAILQ_EMPTY(&s->queue))
		sink_pump(s);
}

const char *
sink_name(const struct sink *s)
{
	return s->path != NULL ? s->path : "stderr";
}
