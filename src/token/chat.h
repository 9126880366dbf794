/* chat.h - a chat as one text, by the chat_template that comes with a tokenizer.
 *
 * Such a template is a program in the language of Jinja. This interpreter knows what templates of the usual pattern
 * have: loops over messages, conditions, variables, texts put together, loop.first and its like, slices, trim and
 * strip. It refuses anything else by name (macros, namespaces, functions). White space is as transformers has it
 * (trim_blocks, lstrip_blocks). */
#ifndef QK_TOKEN_CHAT_H
#define QK_TOKEN_CHAT_H

#include "base/error.h"

struct qk_chat;

/* Reads FOLDER/chat_template.jinja, else chat_template of FOLDER/tokenizer_config.json. QK_INPUT where there is none,
 * or where its tags do not fit together. *out is freed with qk_chat_free, and NULL on failure. Threads may share it. */
enum qk_code qk_chat_open(const char *folder, struct qk_chat **out, struct qk_error *err);
void qk_chat_free(struct qk_chat *chat);

/* *text = the messages (a JSON list of {"role", "content"}) by the template, with the prompt for the answer behind
 * them; the caller frees. It holds the special tokens, so a tokenizer adds none. QK_INPUT names the template and what
 * of it is not supported, or what it refuses. */
enum qk_code qk_chat_render(
    const struct qk_chat *chat, const char *messages, char **text, struct qk_error *err);

#endif
