/*
 * The lexer of the configuration: files, includes and macros become one run of tokens.
 */
#ifndef MASTER_CONF_LEX_H
#define MASTER_CONF_LEX_H

#include <stdbool.h>
#include <stddef.h>

#include "master/conf_grammar.h"
#include "master/conf_parse.h"

/* The grammar's source of tokens. T_CONFYYerror: an error that has been reported already. */
int confyylex(CONFYYSTYPE *val, CONFYYLTYPE *where, struct conf_parse *ps);

/* Reads from the file from now on until its end. -1 with errno. `path` must live on. */
int conf_lex_file(struct conf_parse *ps, const char *path);
/* `include`: likewise, with errors reported at w. */
void conf_lex_include(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *path);

/* A definition in a file (value NULL: it was an error), and one of -D. */
void conf_lex_define(
    struct conf_parse *ps, const struct conf_item *name, const struct conf_item *value);
void conf_lex_define_outside(struct conf_parse *ps, const struct conf_define *d);

/* The token of a bare word, and whether it begins a statement; T_WORD: it is none of the language.
 */
int conf_word(const char *s, size_t len, bool *begins);
/* A word of the language that a later version brings. */
bool conf_word_later(const char *word);

/* Marks the kind of the statement under way as one with an error. */
void conf_lex_spoil(struct conf_parse *ps);

#endif
