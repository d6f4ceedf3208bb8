/*
 * The load of the benchmark: clients of RFC 1961 on MIT's API, with the targets behind the gateway,
 * and MIT's own work alone. What costs the client anything is done before or after the measured
 * stretch, which the caller brackets: "ready" is written, a line is read, the stretch runs, "done"
 * is written.
 *
 *   gss_load bulk PORT LEVEL up|down MIB     one session on 127.0.0.1
 *   gss_load negotiate PORT LEVEL N CLIENTS  N connections as far as the level's answer, by so many
 *                                            clients at a time
 *   gss_load greet PORT N CLIENTS            likewise, as far as the method's answer (X'00')
 *   gss_load accept N KEYTAB                 ns of CPU that gss_accept_sec_context takes
 *   gss_load alone LEVEL MIB KEYTAB          ns of CPU a GB: gss_wrap, gss_unwrap
 *
 * The last two have both sides; their krb5.conf are in CLIENT_CONFIG and ACCEPTOR_CONFIG.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "tests/bench/gss.h"
#include "tests/bench/load_stats.h"

#define PIECE   60000 /* octets of data in a token of the client's */
#define MIB     (1024ull * 1024)
#define CHECKED 4 /* tokens of the gateway's that are unwrapped; the others are only read */

#define CLIENTS 64 /* at most */

static _Thread_local uint8_t buf[TOKEN_MAX];
static uint8_t block[PIECE];

static uint64_t
ns_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t
cpu(void)
{
	return ns_of(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t began;

static void
begin(void)
{
	char line[16];

	puts("ready");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		exit(1);
	began = ns_of(CLOCK_MONOTONIC);
}

/* After so many units. */
static void
done(double units)
{
	double seconds = (double)(ns_of(CLOCK_MONOTONIC) - began) / 1e9;

	puts("done");
	stats_print(units, seconds);
	fflush(stdout);
}

/* --- the client --- */

static int
dial(int port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == -1)
		err(1, "connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void
greet(int fd, uint8_t method)
{
	uint8_t hello[3] = { 5, 1, method }, answer[2];

	write_all(fd, hello, sizeof(hello));
	read_all(fd, answer, sizeof(answer));
	if (answer[1] != method)
		errx(1, "method %u, expected %u", answer[1], method);
}

static gss_name_t
service(void)
{
	static gss_name_t name = GSS_C_NO_NAME;
	gss_buffer_desc text = { 18, (void *)(uintptr_t) "socks@gateway.test" };
	OM_uint32 minor;

	if (name == GSS_C_NO_NAME)
		gss_check(gss_import_name(&minor, &text, GSS_C_NT_HOSTBASED_SERVICE, &name), &minor,
		    "gss_import_name");
	return name;
}

/* A step of the initiator; token is what came, and becomes what goes. */
static OM_uint32
step(gss_ctx_id_t *ctx, gss_buffer_desc *token)
{
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor, major;

	major = gss_init_sec_context(&minor, GSS_C_NO_CREDENTIAL, ctx, service(), GSS_C_NO_OID,
	    GSS_C_MUTUAL_FLAG | GSS_C_REPLAY_FLAG | GSS_C_SEQUENCE_FLAG | GSS_C_CONF_FLAG |
		GSS_C_INTEG_FLAG,
	    0, GSS_C_NO_CHANNEL_BINDINGS, token, NULL, &out, NULL, NULL);
	gss_check(major, &minor, "gss_init_sec_context");
	*token = out;
	return major;
}

static void
negotiate(int fd, gss_ctx_id_t *ctx, uint8_t level)
{
	gss_buffer_desc token = GSS_C_EMPTY_BUFFER, answer;
	OM_uint32 major, minor;

	greet(fd, 1);
	major = step(ctx, &token);
	while (token.length > 0) {
		send_message(fd, MTYP_CONTEXT, &token);
		gss_release_buffer(&minor, &token);
		read_message(fd, MTYP_CONTEXT, buf, &token);
		if (major == GSS_S_COMPLETE)
			break;
		major = step(ctx, &token);
	}
	send_wrapped(fd, *ctx, MTYP_LEVEL, false, &level, 1);
	answer = read_wrapped(fd, *ctx, MTYP_LEVEL, buf);
	if (answer.length != 1 || *(uint8_t *)answer.value != level)
		errx(1, "another level was answered");
	gss_release_buffer(&minor, &answer);
}

/* --- the target: takes or gives so many octets --- */

static struct {
	int listener;
	bool gives;
	uint64_t octets, taken;
} target;

static void *
serve_target(void *arg)
{
	uint8_t *mine = malloc(256 * 1024);
	uint64_t left = target.octets;
	ssize_t n = 1;
	int fd = accept(target.listener, NULL, NULL);

	memset(mine, 'x', 256 * 1024);
	while (target.gives && left > 0) {
		n = (ssize_t)(left < 256 * 1024 ? left : 256 * 1024);
		write_all(fd, mine, (size_t)n);
		left -= (uint64_t)n;
	}
	if (target.gives)
		shutdown(fd, SHUT_WR);
	while (!target.gives && target.taken < target.octets && n > 0)
		if ((n = recv(fd, mine, 256 * 1024, 0)) > 0)
			target.taken += (uint64_t)n;
	free(mine);
	if (target.gives)
		(void)!recv(fd, &n, 1, 0);
	close(fd);
	return arg;
}

/* CONNECT to the target, which begins to give only once `begin` is over: the source is held back by
 * its accept. */
static void
request(int fd, gss_ctx_id_t ctx, bool conf)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	uint8_t ask[10] = { 5, 1, 0, 1 };
	gss_buffer_desc reply;
	OM_uint32 minor;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	target.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(target.listener, (struct sockaddr *)&sin, len) == -1 ||
	    listen(target.listener, 1) == -1 ||
	    getsockname(target.listener, (struct sockaddr *)&sin, &len) == -1)
		err(1, "listen");
	memcpy(ask + 4, &sin.sin_addr, 4);
	memcpy(ask + 8, &sin.sin_port, 2);
	send_wrapped(fd, ctx, MTYP_DATA, conf, ask, sizeof(ask));
	reply = read_wrapped(fd, ctx, MTYP_DATA, buf);
	if (reply.length < 2 || ((uint8_t *)reply.value)[1] != 0)
		errx(1, "CONNECT was refused");
	gss_release_buffer(&minor, &reply);
}

static void
upload(int fd, gss_ctx_id_t ctx, bool conf, uint64_t octets, pthread_t thread)
{
	size_t n = (size_t)((octets + PIECE - 1) / PIECE);
	gss_buffer_desc *tokens = calloc(n, sizeof(*tokens));
	uint64_t left = octets;
	OM_uint32 minor;

	for (size_t i = 0; i < n; i++) {
		gss_buffer_desc in = { left < PIECE ? (size_t)left : PIECE, block };

		left -= in.length;
		gss_check(gss_wrap(&minor, ctx, conf, GSS_C_QOP_DEFAULT, &in, NULL, &tokens[i]),
		    &minor, "gss_wrap");
	}
	begin();
	pthread_create(&thread, NULL, serve_target, NULL);
	for (size_t i = 0; i < n; i++)
		send_message(fd, MTYP_DATA, &tokens[i]);
	pthread_join(thread, NULL);
	done((double)octets / 1e6);
	if (target.taken != octets)
		errx(1, "the target has got %llu octets", (unsigned long long)target.taken);
	printf("tokens %zu\n", n);
}

static void
download(int fd, gss_ctx_id_t ctx, uint64_t octets, pthread_t thread)
{
	uint64_t raw = 0, n = 0, plain = 0;
	gss_buffer_desc token;
	OM_uint32 minor;
	uint8_t head[FRAME];

	begin();
	pthread_create(&thread, NULL, serve_target, NULL);
	while (recv(fd, head, FRAME, MSG_WAITALL) == FRAME) {
		token.length = (size_t)(head[2] << 8 | head[3]);
		token.value = buf;
		read_all(fd, buf, token.length);
		raw += token.length;
		if (n++ < CHECKED) {
			gss_buffer_desc data = GSS_C_EMPTY_BUFFER;

			gss_check(
			    gss_unwrap(&minor, ctx, &token, &data, NULL, NULL), &minor, "unwrap");
			plain += data.length;
			gss_release_buffer(&minor, &data);
		}
	}
	done((double)octets / 1e6);
	/* A token is 16 octets of header, and at most as much again of confounder, header and
	 * checksum. */
	if (n == 0 || plain == 0 || raw < octets + 28 * n || raw > octets + 80 * n)
		errx(1, "%llu octets came in %llu tokens", (unsigned long long)raw,
		    (unsigned long long)n);
	shutdown(fd, SHUT_WR);
	pthread_join(thread, NULL);
	printf("tokens %llu\n", (unsigned long long)n);
}

static void
bulk(int port, uint8_t level, bool up, uint64_t octets)
{
	gss_ctx_id_t ctx = GSS_C_NO_CONTEXT;
	pthread_t thread = 0;
	int fd = dial(port);

	negotiate(fd, &ctx, level);
	target.gives = !up;
	target.octets = octets;
	request(fd, ctx, level >= 2);
	if (up)
		upload(fd, ctx, level >= 2, octets, thread);
	else
		download(fd, ctx, octets, thread);
	close(fd);
}

static struct {
	int port, level, each;
	pthread_mutex_t lock; /* of the latencies */
} connections = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *
one_client(void *arg)
{
	int port = connections.port, level = connections.level, fd;
	gss_ctx_id_t ctx;
	OM_uint32 minor;

	for (int i = 0; i < connections.each; i++) {
		uint64_t from = ns_of(CLOCK_MONOTONIC);

		ctx = GSS_C_NO_CONTEXT;
		fd = dial(port);
		if (level >= 0)
			negotiate(fd, &ctx, (uint8_t)level);
		else
			greet(fd, 0);
		pthread_mutex_lock(&connections.lock);
		stats_add((int64_t)(ns_of(CLOCK_MONOTONIC) - from));
		pthread_mutex_unlock(&connections.lock);
		close(fd);
		gss_delete_sec_context(&minor, &ctx, GSS_C_NO_BUFFER);
	}
	return arg;
}

static void
many(int port, int level, int n, int clients)
{
	pthread_t thread[CLIENTS];

	if (clients < 1 || clients > CLIENTS)
		errx(2, "from 1 to %d clients", CLIENTS);
	(void)service();
	connections.port = port;
	connections.level = level;
	connections.each = n / clients;
	begin();
	for (int i = 0; i < clients; i++)
		pthread_create(&thread[i], NULL, one_client, NULL);
	for (int i = 0; i < clients; i++)
		pthread_join(thread[i], NULL);
	done(n);
}

/* --- MIT's work alone --- */

/* The krb5.conf of one side: MIT's library looks for it at each call. The client's may permit one
 * encryption type alone, of which the service's own key need not be. */
static void
side(const char *variable)
{
	setenv("KRB5_CONFIG", getenv(variable), 1);
}

/* Contexts of both sides; ns of CPU in gss_accept_sec_context. */
static uint64_t
establish(gss_cred_id_t cred, gss_ctx_id_t *mine, gss_ctx_id_t *its)
{
	gss_buffer_desc token = GSS_C_EMPTY_BUFFER, answer = GSS_C_EMPTY_BUFFER;
	OM_uint32 major, minor;
	uint64_t before, took;

	*mine = *its = GSS_C_NO_CONTEXT;
	side("CLIENT_CONFIG");
	step(mine, &token);
	side("ACCEPTOR_CONFIG");
	before = cpu();
	major = gss_accept_sec_context(&minor, its, cred, &token, GSS_C_NO_CHANNEL_BINDINGS, NULL,
	    NULL, &answer, NULL, NULL, NULL);
	took = cpu() - before;
	gss_check(major, &minor, "gss_accept_sec_context");
	gss_release_buffer(&minor, &token);
	side("CLIENT_CONFIG");
	step(mine, &answer);
	gss_release_buffer(&minor, &answer);
	return took;
}

static void
accept_alone(int n, const char *keytab)
{
	gss_cred_id_t cred = acceptor_of(keytab);
	gss_ctx_id_t mine, its;
	uint64_t took = 0;
	OM_uint32 minor;

	for (int i = 0; i < n; i++) {
		took += establish(cred, &mine, &its);
		gss_delete_sec_context(&minor, &mine, GSS_C_NO_BUFFER);
		gss_delete_sec_context(&minor, &its, GSS_C_NO_BUFFER);
	}
	printf("accept %llu\n", (unsigned long long)(took / (uint64_t)n));
}

static void
wrap_alone(int level, uint64_t octets, const char *keytab)
{
	gss_cred_id_t cred = acceptor_of(keytab);
	uint64_t t[3], wrap = 0, unwrap = 0, sum = 0;
	gss_ctx_id_t mine, its;
	OM_uint32 minor;

	establish(cred, &mine, &its);
	for (; sum < octets; sum += PIECE) {
		gss_buffer_desc in = { PIECE, block }, token, out;

		t[0] = cpu();
		gss_check(gss_wrap(&minor, its, level >= 2, GSS_C_QOP_DEFAULT, &in, NULL, &token),
		    &minor, "gss_wrap");
		t[1] = cpu();
		gss_check(gss_unwrap(&minor, mine, &token, &out, NULL, NULL), &minor, "gss_unwrap");
		t[2] = cpu();
		wrap += t[1] - t[0];
		unwrap += t[2] - t[1];
		gss_release_buffer(&minor, &token);
		gss_release_buffer(&minor, &out);
	}
	printf("wrap %.0f\nunwrap %.0f\n", (double)wrap * 1e9 / (double)sum,
	    (double)unwrap * 1e9 / (double)sum);
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	memset(block, 'x', sizeof(block));
	if (strcmp(what, "bulk") == 0 && argc == 6)
		bulk(atoi(argv[2]), (uint8_t)atoi(argv[3]), strcmp(argv[4], "up") == 0,
		    strtoull(argv[5], NULL, 10) * MIB);
	else if (strcmp(what, "negotiate") == 0 && argc == 6)
		many(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
	else if (strcmp(what, "greet") == 0 && argc == 5)
		many(atoi(argv[2]), -1, atoi(argv[3]), atoi(argv[4]));
	else if (strcmp(what, "accept") == 0 && argc == 4)
		accept_alone(atoi(argv[2]), argv[3]);
	else if (strcmp(what, "alone") == 0 && argc == 5)
		wrap_alone(atoi(argv[2]), strtoull(argv[3], NULL, 10) * MIB, argv[4]);
	else
		errx(2, "see the top of tests/bench/gss_load.c");
	return 0;
}
