/*
 * Clients that prove themselves by Kerberos: the statements `auth gssapi` and `kerberos config`.
 */
#include <string.h>

#include "master/conf_parse.h"

#define SERVICE_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

void
conf_gssapi_begin(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *keytab)
{
	struct conf_gssapi *g = &ps->conf->gssapi;
	const char *s;

	conf_once(ps, ONCE_AUTH_GSSAPI, w, "auth gssapi");
	if ((s = conf_path(ps, keytab, "a keytab", PATH_MAX_MSG - 1)) == NULL) {
		ps->spoiled |= SPOILED_AUTH;
		return;
	}
	g->keytab = conf_copy(ps, s, strlen(s));
	g->where = *w;
}

/* The first components of the principals that are served, as in "socks" of socks/gateway@REALM. */
void
conf_gssapi_service(struct conf_parse *ps, const struct conf_item *word, struct conf_items *names)
{
	const struct conf_item *it;

	if (!conf_once(ps, ONCE_GSSAPI_SERVICE, &word->where, "service"))
		return;
	STAILQ_FOREACH (it, names, entry)
		if (it->len > 0 && strspn(it->s, SERVICE_CHARACTERS) != it->len)
			conf_error(ps, &it->where,
			    "%s is no service, expected the first part of a principal, as socks of socks/gateway.example.com",
			    conf_show(ps, it));
	conf_names(ps, names, "service", &ps->conf->gssapi.services);
}

void
conf_gssapi_allow(struct conf_parse *ps, struct conf_items *what)
{
	static const struct {
		const char *word;
		uint8_t flag;
	} all[] = { { "clear", GSSAPI_CLEAR }, { "nec", GSSAPI_NEC },
		{ "expired", GSSAPI_EXPIRED } };
	struct conf_gssapi *g = &ps->conf->gssapi;
	const struct conf_item *it;

	STAILQ_FOREACH (it, what, entry) {
		size_t i = 0;

		while (i < sizeof(all) / sizeof(all[0]) && strcmp(all[i].word, it->s) != 0)
			i++;
		if (i == sizeof(all) / sizeof(all[0]))
			conf_error(ps, &it->where,
			    "auth gssapi cannot allow %s, expected clear, nec or expired",
			    conf_show(ps, it));
		else if (g->flags & all[i].flag)
			conf_error(ps, &it->where,
			    "allow %s stands twice in auth gssapi, expected it once", it->s);
		else
			g->flags |= all[i].flag;
	}
}

void
conf_gssapi_names(
    struct conf_parse *ps, const struct conf_item *word, const struct conf_item *which)
{
	conf_once(ps, ONCE_GSSAPI_NAMES, &word->where, "names");
	if (strcmp(which->s, "principal") == 0)
		ps->conf->gssapi.flags |= GSSAPI_PRINCIPAL;
	else if (strcmp(which->s, "local") != 0)
		conf_error(ps, &which->where, "unknown names %s, expected local or principal",
		    conf_show(ps, which));
}

void
conf_set_kerberos_config(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *path)
{
	const char *s;

	conf_once(ps, ONCE_KERBEROS_CONFIG, w, "kerberos config");
	if ((s = conf_path(ps, path, "a Kerberos configuration", PATH_MAX_MSG - 1)) == NULL)
		return;
	ps->conf->krb5_conf = conf_copy(ps, s, strlen(s));
	ps->conf->krb5_conf_where = *w;
}
