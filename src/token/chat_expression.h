/* chat_expression.h - values and expressions of chat templates. */
#ifndef QK_TOKEN_CHAT_EXPRESSION_H
#define QK_TOKEN_CHAT_EXPRESSION_H

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

enum qk_chat_kind {
    QK_CHAT_UNDEFINED,
    QK_CHAT_NONE,
    QK_CHAT_BOOL,
    QK_CHAT_NUMBER,
    QK_CHAT_TEXT,
    QK_CHAT_LIST,   /* entries [from, to) of node */
    QK_CHAT_OBJECT, /* node */
    QK_CHAT_LOOP,   /* entry `from` of `to` */
};

/* Texts and nodes are borrowed: from the template, the messages, or the run's own texts. */
struct qk_chat_value {
    enum qk_chat_kind kind;
    long number; /* or bool */
    const char *text;
    size_t n;
    const cJSON *node;
    long from, to;
};

struct qk_chat_variable {
    const char *name; /* n bytes, borrowed */
    size_t n;
    struct qk_chat_value value;
};

enum { QK_CHAT_VARIABLES = 64 };

/* One rendering. */
struct qk_chat_run {
    const char *path; /* of the template, for messages */
    struct qk_chat_variable variable[QK_CHAT_VARIABLES];
    size_t n_variables;
    char **made; /* n_made texts that expressions made; owned */
    size_t n_made, capacity;
    struct qk_text out;
    size_t steps;
    /* --- of the expression in work --- */
    const char *at, *end;
    int depth;
    int idle; /* above 0: what is read does not count, as behind a false condition */
    struct qk_error *err;
};

/* Evaluates the expression that begins at run->at and must end at run->end, or stand before one of the words that
 * statements have behind it. QK_INPUT names what is not supported. */
enum qk_code qk_chat_evaluate(struct qk_chat_run *run, struct qk_chat_value *out);

bool qk_chat_true(const struct qk_chat_value *value);
/* Adds the value as Jinja prints it; false for a list or an object, which no supported template prints. */
bool qk_chat_print(const struct qk_chat_value *value, struct qk_text *to);

/* Sets a variable, also one of an outer block. */
enum qk_code qk_chat_set(
    struct qk_chat_run *run, const char *name, size_t n, const struct qk_chat_value *value);

/* Takes the word at run->at, if it stands there; blanks before it are skipped. */
bool qk_chat_word(struct qk_chat_run *run, const char *word);
/* Takes any name; NULL where none stands there. */
const char *qk_chat_name(struct qk_chat_run *run, size_t *n);
/* Writes "PATH: chat_template: ... is not supported", with the text at `at`. */
enum qk_code qk_chat_unsupported(struct qk_chat_run *run, const char *at);

#endif
