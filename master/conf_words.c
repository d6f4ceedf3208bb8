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
	{ "acceptor", T_ACCEPTOR, false },
	{ "advertise", T_ADVERTISE, false },
	{ "allow", T_ALLOW, false },
	{ "any", T_ANY, false },
	{ "association", T_ASSOCIATION, false },
	{ "associations", T_ASSOCIATIONS, false },
	{ "auth", T_AUTH, true },
	{ "bind", T_BIND, false }, /* nor does udp: both stand in lists too */
	{ "block", T_BLOCK, true },
	{ "ccache", T_CCACHE, false },
	{ "chroot", T_CHROOT, false },
	{ "confidentiality", T_CONFIDENTIALITY, false },
	{ "config", T_CONFIG, false },
	{ "connect", T_CONNECT, false },
	{ "connected", T_CONNECTED, false },
	{ "deny", T_DENY, false },
	{ "device", T_DEVICE, false },
	{ "directory", T_DIRECTORY, false },
	{ "drop", T_DROP, false },
	{ "egress", T_EGRESS, true },
	{ "facility", T_FACILITY, false },
	{ "file", T_FILE, false },
	{ "format", T_FORMAT, false },
	{ "fragments", T_FRAGMENTS, false },
	{ "freebind", T_FREEBIND, false },
	{ "from", T_FROM, false },
	{ "group", T_GROUP, true },
	{ "gssapi", T_GSSAPI, false },
	{ "half-closed", T_HALF_CLOSED, false },
	{ "handshake", T_HANDSHAKE, false },
	{ "idle", T_IDLE, false },
	{ "include", T_INCLUDE, true },
	{ "initiator", T_INITIATOR, false },
	{ "integrity", T_INTEGRITY, false },
	{ "json", T_JSON, false },
	{ "kerberos", T_KERBEROS, true },
	{ "keytab", T_KEYTAB, false },
	{ "limit", T_LIMIT, true },
	{ "listen", T_LISTEN, true },
	{ "log", T_LOG, true },
	{ "logfmt", T_LOGFMT, false },
	{ "mark", T_MARK, false },
	{ "names", T_NAMES, false },
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
	{ "ports", T_PORTS, false },
	{ "prefer", T_PREFER, false },
	{ "principal", T_PRINCIPAL, false },
	{ "process", T_PROCESS, true },
	{ "protection", T_PROTECTION, false },
	{ "refuse", T_REFUSE, false },
	{ "replies", T_REPLIES, false },
	{ "require", T_REQUIRE, false },
	{ "resolver", T_RESOLVER, true },
	{ "round-robin", T_ROUND_ROBIN, false },
	{ "run", T_RUN, true },
	{ "sandbox", T_SANDBOX, true },
	{ "service", T_SERVICE, false },
	{ "sessions", T_SESSIONS, false },
	{ "socket", T_SOCKET, false },
	{ "socks4", T_SOCKS4, true },
	{ "socks5", T_SOCKS5, false },
	{ "source-hash", T_SOURCE_HASH, false },
	{ "stderr", T_STDERR, false },
	{ "syslog", T_SYSLOG, false },
	{ "table", T_TABLE, true },
	{ "targets", T_TARGETS, false },
	{ "timeout", T_TIMEOUT, true },
	{ "to", T_TO, false },
	{ "try", T_TRY, false },
	{ "udp", T_UDP, false },
	{ "uid", T_UID, false },
	{ "update", T_UPDATE, false },
	{ "upstream", T_UPSTREAM, true },
	{ "user", T_USER, false },
	{ "via", T_VIA, false },
	{ "worker", T_WORKER, false },
	{ "workers", T_WORKERS, true },
};
#define NWORDS (sizeof(words) / sizeof(words[0]))

/* Words of the language as a whole whose features this version does not have. Those that the
 * grammar knows already are refused all the same while they stand here. */
static const char *const later[] = { "bandwidth", "guard", "quota", "quotas", "rate", "socks4a",
	"strict" };

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
		if (strlen(words[i].word) == len && memcmp(words[i].word, s, len) == 0 &&
		    !conf_word_later(words[i].word)) {
			*begins = words[i].begins;
			return words[i].token;
		}
	return T_WORD;
}
