/* command_line.c - the filling of braces, and the run. */
#include "eval/engine/command_line.h"

#include "base/process.h"

#include <stdlib.h>
#include <string.h>

/* The filling whose {NAME} stands at `text`, or NULL. */
static const struct qk_filling *filling_at(const char *text, const struct qk_filling *filling, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(filling[i].name);
        if (text[0] == '{' && strncmp(text + 1, filling[i].name, length) == 0 && text[1 + length] == '}')
            return &filling[i];
    }
    return NULL;
}

bool qk_command_has(const char *command, const char *name)
{
    const struct qk_filling wanted = {name, ""};
    for (const char *p = command; *p != '\0'; p++)
        if (filling_at(p, &wanted, 1) != NULL)
            return true;
    return false;
}

enum qk_code qk_command_fill(
    const char *command, const struct qk_filling *filling, size_t n, char **out, struct qk_error *err)
{
    struct qk_text text = {0};
    for (const char *p = command; *p != '\0';) {
        const struct qk_filling *found = filling_at(p, filling, n);
        if (found == NULL) {
            qk_text_add_bytes(&text, p++, 1);
            continue;
        }
        qk_process_quote(command, (size_t)(p - command), found->word, &text);
        p += strlen(found->name) + 2;
    }
    return qk_text_take(&text, out, err);
}

static void note(const struct qk_engine_options *options, const char *line)
{
    if (options->note != NULL)
        options->note(options->context, line);
}

enum qk_code qk_command_run(const struct qk_engine_options *options, const char *what, const char *line,
    bool leave, const struct qk_place *place, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_process process = {.what = what,
        .line = line,
        .log = place->log,
        .seconds = options->seconds,
        .leave = leave,
        .said = options->said,
        .context = options->context};
    struct qk_lines last = {0};
    enum qk_code code = qk_process_run(&process, progress, &last, err);
    if (last.n > 0)
        note(options, "the last lines of the command:");
    for (size_t i = 0; i < last.n; i++) {
        struct qk_text text = {0};
        qk_text_add(&text, "  %s", last.line[i]);
        note(options, text.s != NULL ? text.s : last.line[i]);
        qk_text_free(&text);
    }
    qk_lines_free(&last);
    return code;
}
