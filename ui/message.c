/* message.c - the message on the last line, those before it, and questions. */
#include "ui/message.h"

#include "ui/app.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void remember(struct app *app, const char *text)
{
    size_t n = app->messages.n;
    if (n == 0 || strcmp(app->messages.line[n - 1], text) != 0)
        qk_lines_add(&app->messages, NULL, "%s", text); /* without memory it is only shown once */
}

void say(struct app *app, enum style style, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(app->message, sizeof app->message, format, arguments);
    va_end(arguments);
    app->message_style = style;
    remember(app, app->message);
}

void say_notes(struct app *app)
{
    struct qk_lines notes;
    if (qk_pair_notes(app->pair, &notes, NULL) == QK_OK) {
        for (size_t i = notes.n; i-- > 0;) /* the newest stand first */
            remember(app, notes.line[i]);
        if (notes.n == 1)
            say(app, STYLE_WARNING, "%s", notes.line[0]);
        else if (notes.n > 1)
            say(app, STYLE_WARNING, "%zu notes on these checkpoints: W shows them", notes.n);
    }
    qk_lines_free(&notes);
}

unsigned say_error(struct app *app, const struct qk_error *err)
{
    say(app, STYLE_ERROR, "%s", err->text);
    return REFRESH_FAILED | REFRESH_DRAW;
}

unsigned say_failure(struct app *app, const char *format, ...)
{
    char text[QK_ERROR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    say(app, STYLE_WARNING, "%s", text);
    return REFRESH_FAILED | REFRESH_DRAW;
}

void ask(struct app *app, unsigned (*answer)(struct app *app), const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(app->question, sizeof app->question, format, arguments);
    va_end(arguments);
    app->answer = answer;
}
