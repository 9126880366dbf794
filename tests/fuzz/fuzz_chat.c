/* fuzz_chat.c - any bytes as a chat template, behind a NUL as messages: refused with a message that names the file, or
 * a text, which is the same every time. */
#include "fuzz.h"

#include "base/text.h"
#include "token/chat.h"

#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "chat";
#define MESSAGES "\0[{\"role\":\"user\",\"content\":\" a \"},{\"role\":\"assistant\",\"content\":\"b\"}]"
const struct fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED(
        "{% for m in messages %}{{ '<' + m['role'] + '>' + m.content | trim }}{% endfor %}{{ bos_token }}" MESSAGES),
    FUZZ_SEED(
        "{%- if messages[0].role == 'user' and not x -%}\n a {# b #}\n{% else %}{% set x = 1 %}{% endif %}\n" MESSAGES),
    FUZZ_SEED(
        "{% set r = messages[1:] %}{{ r|length - 1 }}{{ 'a' if r[0].content.startswith('b') else \"c\" ~ 2 }}" MESSAGES),
    FUZZ_SEED(
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('no') }}{% elif loop.last is defined %}{{ loop.index }}{% endif %}{% endfor %}" MESSAGES)};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"{%", "%}", "{{", "}}", "{#", "#}", "{%-", "-%}", "for m in messages",
    "endfor", "if ", "elif ", "else", "endif", "set x = ", "m.role", "m['content']", "loop.first",
    "loop.index0", "messages[1:]", "messages[-1]", " is defined", " is not none", " not in ", " and ", " or ",
    "not ", "| trim", "|length", ".strip()", ".startswith('a')", "raise_exception('a')", "bos_token", "'a'",
    "\"\\n\"", "(", ")", "~", "+", "%", "==", "!=", "<=", "-1", "2147483647", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char messages[] = "[]";
    const char *text = (const char *)data, *stop = size > 0 ? memchr(text, '\0', size) : NULL;
    size_t n = stop != NULL ? (size_t)(stop - text) : size;
    char *list = stop != NULL ? strndup(stop + 1, size - n - 1) : strdup(messages), *first = NULL,
         *second = NULL;
    struct qk_error err = {0};
    struct qk_chat *chat;
    fuzz_write_file("tokenizer_config.json", "{\"bos_token\":\"<s>\"}", 19);
    fuzz_write_file("chat_template.jinja", text, n);
    fuzz_check(list != NULL, "memory");
    enum qk_code code = qk_chat_open(fuzz_folder(), &chat, &err);
    if (code == QK_OK)
        code = qk_chat_render(chat, list, &first, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "a text, or a message");
    if (code == QK_OK) {
        fuzz_check(qk_chat_render(chat, list, &second, &err) == QK_OK && strcmp(first, second) == 0,
            "the same again");
        fuzz_check(qk_utf8_valid(first, strlen(first)), "UTF-8");
    }
    free(first);
    free(second);
    free(list);
    qk_chat_free(chat);
    return 0;
}
