/*
 * A ledger file of arbitrary octets is opened without harm: what is handed over is within its
 * ranges, and the ledger works afterwards. The input: an octet that says how much of a sound head
 * comes first, and whether the size is made to fit; then the file.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/ledger.h"

#define HEAD    4096 /* octets before the first entry */
#define WORKERS 2u
#define SLOTS   4u
#define WHOLE   (HEAD + WORKERS * SLOTS * sizeof(struct ledger_entry))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/sallyport-fuzz-ledger.XXXXXX";
static uint8_t sound[HEAD];

static void
path_of(char *buf, size_t size, const char *name)
{
	snprintf(buf, size, "%s/%s", dir, name);
}

static void
clean(void)
{
	char path[100];

	path_of(path, sizeof(path), "ledger");
	unlink(path);
	path_of(path, sizeof(path), "ledger.old");
	unlink(path);
	rmdir(dir);
}

/* The directory, and the head of a ledger that is sound. */
static void
start(void)
{
	char path[100];
	int fd;

	if (mkdtemp(dir) == NULL)
		abort();
	atexit(clean);
	ledger_close(ledger_open(dir, 1, WORKERS, SLOTS, NULL, NULL), NULL);
	path_of(path, sizeof(path), "ledger");
	if ((fd = open(path, O_RDONLY)) == -1 || read(fd, sound, HEAD) != HEAD)
		abort();
	close(fd);
}

static void
orphan(const struct ledger_entry *e, uint64_t instance, void *arg)
{
	(void)instance;
	(void)arg;
	if (e->state == LEDGER_FREE || e->state > LEDGER_CONNECTED || e->method >= METHOD_COUNT ||
	    e->command >= COMMAND_COUNT || e->reason >= REASON_COUNT ||
	    strlen(e->rule_text) >= sizeof(e->rule_text))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int started;
	static uint8_t file[WHOLE * 2];
	char path[100];
	size_t head, len;

	if (!started++)
		start();
	if (size == 0)
		return 0;
	head = data[0] & 0x3f;
	if (head == 0x3f)
		head = HEAD;
	memset(file, 0, sizeof(file));
	memcpy(file, sound, head);
	len = size - 1 < sizeof(file) - head ? size - 1 : sizeof(file) - head;
	memcpy(file + head, data + 1, len);
	len = data[0] & 0x40 ? WHOLE : head + len;

	path_of(path, sizeof(path), "ledger");
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd == -1 || write(fd, file, len) != (ssize_t)len)
		abort();
	close(fd);
	struct ledger *lg = ledger_open(dir, 2, 1, 2, orphan, NULL);
	if (lg == NULL || ledger_at(lg, 0, 1)->state != LEDGER_FREE)
		abort();
	ledger_close(lg, NULL);
	return 0;
}
