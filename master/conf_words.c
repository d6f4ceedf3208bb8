/*
 * The words of the configuration: those that this version has, and those that later ones bring.
 */
#include <string.h>

#include "master/conf_lex.h"

static const struct {
	const char *word;
	int token;
	bool begins; /* a statement */
} words[] = {
	{ "any", T_ANY, false },
	{ "auth", T_AUTH, true },
	{ "block", T_BLOCK, true },
	{ "chroot", T_CHROOT, false },
	{ "connect", T_CONNECT, false },
	{ "directory", T_DIRECTORY, false },
	{ "drop", T_DROP, false },
	{ "egress", T_EGRESS, true },
	{ "facility", T_FACILITY, false },
	{ "file", T_FILE, false },
	{ "format", T_FORMAT, false },
	{ "freebind", T_FREEBIND, false },
	{ "from", T_FROM, false },
	{ "group", T_GROUP, true },
	{ "half-closed", T_HALF_CLOSED, false },
	{ "handshake", T_HANDSHAKE, false },
	{ "idle", T_IDLE, false },
	{ "include", T_INCLUDE, true },
	{ "json", T_JSON, false },
	{ "limit", T_LIMIT, true },
	{ "listen", T_LISTEN, true },
	{ "log", T_LOG, true },
	{ "logfmt", T_LOGFMT, false },
	{ "nat64", T_NAT64, true },
	{ "none", T_NONE, false },
	{ "off", T_OFF, false },
	{ "on", T_ON, false },
	{ "overflow", T_OVERFLOW, false },
	{ "pam", T_PAM, false },
	{ "pass", T_PASS, true },
	{ "password", T_PASSWORD, false },
	{ "per", T_PER, false },
	{ "port", T_PORT, false },
	{ "prefer", T_PREFER, false },
	{ "process", T_PROCESS, true },
	{ "refuse", T_REFUSE, false },
	{ "require", T_REQUIRE, false },
	{ "resolver", T_RESOLVER, true },
	{ "run", T_RUN, true },
	{ "sandbox", T_SANDBOX, true },
	{ "sessions", T_SESSIONS, false },
	{ "socket", T_SOCKET, false },
	{ "stderr", T_STDERR, false },
	{ "syslog", T_SYSLOG, false },
	{ "table", T_TABLE, true },
	{ "timeout", T_TIMEOUT, true },
	{ "to", T_TO, false },
	{ "try", T_TRY, false },
	{ "uid", T_UID, false },
	{ "update", T_UPDATE, false },
	{ "user", T_USER, false },
	{ "worker", T_WORKER, false },
	{ "workers", T_WORKERS, true },
};
#define NWORDS (sizeof(words) / sizeof(words[0]))

/* Words of the language as a whole whose features this version does not have. */
static const char *const later[] = { "acceptor", "bandwidth", "bind", "confidentiality", "device",
	"guard", "gssapi", "initiator", "integrity", "keytab", "mark", "ports", "protection",
	"quota", "quotas", "rate", "service", "socks4", "socks4a", "socks5", "strict", "udp",
	"upstream", "via" };

bool
conf_word_later(const char *word)
{
	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++)
		if (strcmp(later[i], word) == 0)
			return true;
	return false;
}

int
conf_word(const char *s, size_t len, bool *begins)
{
	*begins = false;
	for (size_t i = 0; i < NWORDS; i++)
		if (strlen(words[i].word) == len && memcmp(words[i].word, s, len) == 0) {
			*begins = words[i].begins;
			return words[i].token;
		}
	return T_WORD;
}
