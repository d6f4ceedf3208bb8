/*
 * The lexer of the configuration. It owns the stack of inputs: files that include files, and
 * macros, whose text is read again where they are used. It trusts the files no further than to be
 * an operator's: any octets end in a token or in a reported error.
 *
 * A line's end is a token outside braces and a separator inside them. A brace that was never closed
 * would so swallow the rest of the file and its errors; no list can hold a word that begins a
 * statement, so at a line that begins with one the lexer reports the brace and closes it itself.
 */
#include "master/conf_lex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"

struct conf_input {
	struct conf_input *up;
	const char *text;
	size_t len, at;
	struct conf_where where;        /* of what comes next; a macro's: where it was used */
	const struct conf_macro *macro; /* NULL: a file */
	unsigned depth;
};

void
conf_lex_spoil(struct conf_parse *ps)
{
	static const struct {
		const char *word;
		unsigned spoiled;
	} kinds[] = { { "table", SPOILED_TABLE }, { "auth", SPOILED_AUTH },
		{ "listen", SPOILED_LISTEN }, { "include", SPOILED_ALL } };

	switch (ps->lex.first) {
	case T_TABLE:
		ps->spoiled |= SPOILED_TABLE;
		break;
	case T_AUTH:
		ps->spoiled |= SPOILED_AUTH;
		break;
	case T_LISTEN:
		ps->spoiled |= SPOILED_LISTEN;
		break;
	case T_INCLUDE:
		ps->spoiled |= SPOILED_ALL;
		break;
	case T_WORD: /* one of them, misspelt? */
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (conf_near(ps->lex.begin->s, kinds[i].word))
				ps->spoiled |= kinds[i].spoiled;
		break;
	case T_MACRO:
		conf_lex_define(ps, ps->lex.begin, NULL);
		break;
	default:
		break;
	}
}

/* --- inputs --- */

static int
input_push(struct conf_parse *ps, const char *text, size_t len, const struct conf_macro *macro)
{
	struct conf_input *in = conf_alloc(ps, sizeof(*in));

	in->up = ps->lex.in;
	in->text = text;
	in->len = len;
	in->macro = macro;
	in->depth = in->up == NULL ? 0 : in->up->depth + 1;
	if (in->depth > CONF_NEST_MAX) {
		errno = ELOOP;
		return -1;
	}
	if (macro != NULL)
		in->where = in->up->where;
	ps->lex.in = in;
	return 0;
}

int
conf_lex_file(struct conf_parse *ps, const char *path)
{
	size_t len;

	for (const struct conf_input *in = ps->lex.in; in != NULL; in = in->up)
		if (in->macro == NULL && strcmp(in->where.file, path) == 0) {
			errno = ELOOP;
			return -1;
		}
	if ((ps->scratch = conf_slurp(ps, path, &len)) == NULL)
		return -1;
	char *text = conf_copy(ps, ps->scratch, len);
	free(ps->scratch);
	ps->scratch = NULL;
	if (input_push(ps, text, len, NULL) == -1)
		return -1;
	ps->lex.in->where = (struct conf_where){ path, 1 };
	return 0;
}

void
conf_lex_include(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *path)
{
	const char *text = conf_text(ps, path, "a path", CONF_FILE_MAX);

	if (text == NULL) {
		ps->spoiled |= SPOILED_ALL;
		return;
	}
	text = conf_beside(ps, w, text);
	if (conf_lex_file(ps, text) == 0)
		return;
	ps->spoiled |= SPOILED_ALL;
	if (errno == ELOOP)
		conf_error(ps, w,
		    "include of %s goes round in a circle or too deep, expected at most %d files inside each other",
		    text, CONF_NEST_MAX);
	else
		conf_error(
		    ps, w, "cannot read %s: %s, expected a readable file", text, strerror(errno));
}

static int
peek(const struct conf_input *in, size_t ahead)
{
	return in->len - in->at > ahead ? (unsigned char)in->text[in->at + ahead] : -1;
}

static void
newline(struct conf_input *in)
{
	in->at++;
	if (in->macro == NULL)
		in->where.line++;
}

/* Blanks, comments and continued lines. */
static void
skip_blanks(struct conf_input *in)
{
	for (;;) {
		int c = peek(in, 0);

		if (c == ' ' || c == '\t' || c == '\r') {
			in->at++;
		} else if (c == '#') {
			while ((c = peek(in, 0)) != -1 && c != '\n')
				in->at++;
		} else if (c == '\\' && peek(in, 1) == '\n') {
			in->at++;
			newline(in);
		} else if (c == '\\' && peek(in, 1) == '\r' && peek(in, 2) == '\n') {
			in->at += 2;
			newline(in);
		} else {
			return;
		}
	}
}

static bool
is_word(int c)
{
	return c > ' ' && c < 0x7f && strchr("{},=#\"$\\!<>", c) == NULL;
}

static bool
is_name(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

/* --- macros --- */

static struct conf_macro *
macro_find(struct conf_parse *ps, const char *name)
{
	struct conf_macro *m;

	STAILQ_FOREACH (m, &ps->macros, entry)
		if (strcmp(m->name, name) == 0)
			return m;
	m = conf_alloc(ps, sizeof(*m));
	m->name = name;
	STAILQ_INSERT_TAIL(&ps->macros, m, entry);
	return m;
}

void
conf_lex_define(struct conf_parse *ps, const struct conf_item *name, const struct conf_item *value)
{
	struct conf_macro *m = macro_find(ps, name->s);

	if (m->defined && value != NULL) {
		conf_error(ps, &name->where,
		    "macro %s is defined twice, expected once (first: %s:%u)", name->s,
		    m->where.file, m->where.line);
		return;
	}
	m->defined = true;
	m->where = name->where;
	if (!m->outside && value != NULL) {
		m->value = value->s;
		m->len = value->len;
	}
}

void
conf_lex_define_outside(struct conf_parse *ps, const struct conf_define *d)
{
	const struct conf_where w = { "-D", 1 };
	size_t n = 0;

	while (is_name((unsigned char)d->name[n]))
		n++;
	if (n == 0 || d->name[n] != '\0') {
		conf_error(
		    ps, &w, "\"%s\" names no macro, expected letters, digits and _", d->name);
		return;
	}
	struct conf_macro *m = macro_find(ps, conf_copy(ps, d->name, n));
	m->outside = true;
	m->len = strlen(d->value);
	m->value = conf_copy(ps, d->value, m->len);
}

/* "$name": its text comes next. 0, or the error token. */
static int
macro_use(struct conf_parse *ps)
{
	struct conf_input *in = ps->lex.in;
	size_t n = 0;

	in->at++;
	while (is_name(peek(in, n)))
		n++;
	if (n == 0) {
		conf_error(ps, &in->where, "$ without a name, expected a macro's name behind it");
		return T_CONFYYerror;
	}
	struct conf_macro *m = macro_find(ps, conf_copy(ps, in->text + in->at, n));
	in->at += n;
	m->used = true;
	if (m->value != NULL && input_push(ps, m->value, m->len, m) == 0)
		return 0;
	if (m->value != NULL)
		conf_error(ps, &in->where,
		    "macro $%s leads back to itself or too deep, expected at most %d inside each other",
		    m->name, CONF_NEST_MAX);
	else if (!m->defined)
		conf_error(ps, &in->where,
		    "macro $%s is not defined, expected %s = \"...\" further up", m->name, m->name);
	return T_CONFYYerror;
}

/* --- tokens --- */

static int
token(struct conf_parse *ps, int kind, const char *text, size_t len, const struct conf_where *w)
{
	struct conf_lex *lx = &ps->lex;
	struct conf_item *it = conf_alloc(ps, sizeof(*it));

	it->kind = kind == T_TABLE_NAME ? ITEM_TABLE : kind == T_ANY ? ITEM_ANY : ITEM_TEXT;
	it->token = kind;
	it->quoted = kind == T_STRING;
	it->s = conf_copy(ps, text, len);
	it->len = len;
	it->where = *w;
	lx->before = lx->item;
	lx->item = it;
	if (lx->last == T_NL) {
		lx->first = kind;
		lx->begin = it;
	}
	lx->last = kind;
	return kind;
}

/* One escape, behind its backslash. The octet, or -1. */
static int
escape(struct conf_input *in)
{
	int c = peek(in, 0);

	if (c == 'x' && hex_value(peek(in, 1)) != -1 && hex_value(peek(in, 2)) != -1) {
		c = hex_value(peek(in, 1)) * 16 + hex_value(peek(in, 2));
		in->at += 3;
		return c;
	}
	in->at++;
	switch (c) {
	case '"':
	case '\\':
		return c;
	case 'n':
		return '\n';
	case 't':
		return '\t';
	default:
		in->at--;
		return -1;
	}
}

static int
string(struct conf_parse *ps)
{
	struct conf_input *in = ps->lex.in;
	const struct conf_where w = in->where;
	size_t n = 0, end = in->at + 1;
	bool bad = false;

	while (end < in->len && in->text[end] != '"' && in->text[end] != '\n')
		end +=
		    in->text[end] == '\\' && end + 1 < in->len && in->text[end + 1] != '\n' ? 2 : 1;
	char *out = conf_alloc(ps, end - in->at + 1);

	for (in->at++; in->at < end;) {
		int c = peek(in, 0);

		in->at++;
		if (c == '\\' && (c = escape(in)) == -1) {
			conf_error(ps, &w,
			    "unknown escape in a quoted string, expected \\\", \\\\, \\n, \\t or \\xHH");
			bad = true;
		} else {
			out[n++] = (char)c;
		}
	}
	if (peek(in, 0) != '"') {
		conf_error(ps, &w, "a quoted string does not end, expected \" on the same line");
		bad = true;
	} else {
		in->at++;
	}
	int kind = token(ps, T_STRING, out, n, &w);
	return bad ? T_CONFYYerror : kind;
}

static int
word(struct conf_parse *ps)
{
	struct conf_input *in = ps->lex.in;
	const char *start = in->text + in->at;
	const struct conf_where w = in->where;
	size_t n = 0, name = 0, ahead;
	bool begins;

	while (is_word(peek(in, n)))
		n++;
	while (name < n && is_name((unsigned char)start[name]))
		name++;
	for (ahead = n; peek(in, ahead) == ' ' || peek(in, ahead) == '\t';)
		ahead++;
	in->at += n;
	if (ps->lex.last == T_NL && name == n && peek(in, ahead - n) == '=')
		return token(ps, T_MACRO, start, n, &w);
	return token(ps, conf_word(start, n, &begins), start, n, &w);
}

static int
table_name(struct conf_parse *ps)
{
	struct conf_input *in = ps->lex.in;
	const struct conf_where w = in->where;
	const char *start = in->text + in->at + 1;
	size_t n = 1;

	while (is_name(peek(in, n)) || peek(in, n) == '-')
		n++;
	if (n == 1 || peek(in, n) != '>') {
		conf_error(ps, &w,
		    "< without a table's name and >, expected <name> of letters, digits, - and _");
		in->at++;
		return T_CONFYYerror;
	}
	in->at += n + 1;
	return token(ps, T_TABLE_NAME, start, n - 1, &w);
}

/* Does the line at hand begin with a word that begins a statement? */
static bool
begins_statement(const struct conf_input *in)
{
	const char *start = in->text + in->at;
	size_t n = 0, ahead;
	bool begins;

	while (is_word(peek(in, n)))
		n++;
	for (ahead = n; peek(in, ahead) == ' ' || peek(in, ahead) == '\t';)
		ahead++;
	if (n > 0 && peek(in, ahead) == '=')
		return true;
	conf_word(start, n, &begins);
	return begins;
}

/* What follows then is the error, a } for each {, and the line's end. */
static int
close_braces(struct conf_parse *ps)
{
	conf_error(ps, &ps->lex.brace, "a { is never closed, expected a } behind the list");
	ps->lex.close = ps->lex.braces + 1;
	ps->unclosed = true;
	if (ps->rule != NULL)
		ps->rule->rule->broken = true;
	return T_CONFYYerror;
}

static int
line_end(struct conf_parse *ps)
{
	struct conf_lex *lx = &ps->lex;
	struct conf_where w = lx->in->where;

	newline(lx->in);
	if (lx->braces == 0)
		return token(ps, T_NL, "\n", 1, &w);
	for (;;) { /* many line breaks are one separator */
		skip_blanks(lx->in);
		if (peek(lx->in, 0) != '\n')
			break;
		newline(lx->in);
	}
	if (begins_statement(lx->in))
		return close_braces(ps);
	return token(ps, T_BREAK, "\n", 1, &w);
}

/* The end of an input. Its token, or 0: go on with the one above. */
static int
input_end(struct conf_parse *ps)
{
	struct conf_lex *lx = &ps->lex;
	struct conf_input *in = lx->in;

	if (in->macro == NULL && lx->braces > 0)
		return close_braces(ps);
	if (in->macro == NULL && lx->last != T_NL)
		return token(ps, T_NL, "\n", 1, &in->where);
	lx->in = in->up;
	if (lx->in == NULL) {
		ps->end = in->where;
		if (in->len > 0 && in->text[in->len - 1] == '\n')
			ps->end.line--;
	}
	return 0;
}

static int
punctuation(struct conf_parse *ps, int c)
{
	struct conf_lex *lx = &ps->lex;
	struct conf_where w = lx->in->where;
	char text = (char)c;

	lx->in->at++;
	switch (c) {
	case '{':
		if (lx->braces++ == 0)
			lx->brace = w;
		break;
	case '}':
		if (lx->braces > 0)
			lx->braces--;
		break;
	case ',':
	case '=':
	case '!':
		break;
	default:
		conf_error(
		    ps, &w, "octet 0x%02x stands outside quotes, expected a word", (unsigned)c);
		return T_CONFYYerror;
	}
	return token(ps, c, &text, 1, &w);
}

static int
next(struct conf_parse *ps)
{
	struct conf_lex *lx = &ps->lex;

	while (lx->in != NULL) {
		struct conf_input *in = lx->in;
		int kind = 0;

		if (lx->close > 1) {
			lx->close--;
			lx->braces = 0;
			return token(ps, '}', "}", 1, &lx->brace);
		}
		if (lx->close == 1) {
			lx->close = 0;
			return token(ps, T_NL, "\n", 1, &in->where);
		}
		skip_blanks(in);
		int c = peek(in, 0);
		if (c == -1)
			kind = input_end(ps);
		else if (c == '\n')
			return line_end(ps);
		else if (c == '"')
			return string(ps);
		else if (c == '$')
			kind = macro_use(ps);
		else if (c == '<')
			return table_name(ps);
		else if (is_word(c))
			return word(ps);
		else
			return punctuation(ps, c);
		if (kind != 0)
			return kind;
	}
	return 0;
}

int
confyylex(CONFYYSTYPE *val, CONFYYLTYPE *where, struct conf_parse *ps)
{
	int kind = next(ps);

	if (kind == T_CONFYYerror) {
		if (ps->lex.last == T_NL) { /* where any statement might stand */
			ps->lex.first = kind;
			ps->spoiled |= SPOILED_ALL;
		}
		ps->lex.last = kind;
		conf_lex_spoil(ps);
	}
	val->item = ps->lex.item;
	if (kind != 0 && kind != T_CONFYYerror)
		*where = ps->lex.item->where;
	return kind;
}
