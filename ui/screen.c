/* screen.c - the table of views, their states, and the stack of those that are open. */
#include "ui/screen.h"

#include "base/mem.h"
#include "ui/app.h"

#include <stdlib.h>

static const struct screen_ops *const OPS[SCREEN_COUNT] = {
#define X(id, ops) [SCREEN_##id] = &ops,
    QK_SCREENS(X)
#undef X
};

enum qk_code screens_start(struct app *app, struct qk_error *err)
{
    for (int i = 0; i < SCREEN_COUNT; i++)
        if (OPS[i]->state_size > 0)
            QK_TRY(qk_alloc(&app->state[i], 1, OPS[i]->state_size, err));
    for (int i = 0; i < SCREEN_COUNT; i++)
        if (OPS[i]->start != NULL)
            QK_TRY(OPS[i]->start(app, err));
    return QK_OK;
}

void screens_end(struct app *app)
{
    for (int i = 0; i < SCREEN_COUNT; i++) {
        if (OPS[i]->end != NULL && app->state[i] != NULL)
            OPS[i]->end(app->state[i]);
        free(app->state[i]);
    }
}

void screens_report(struct app *app)
{
    for (int i = 0; i < SCREEN_COUNT; i++)
        if (OPS[i]->report != NULL)
            OPS[i]->report(app);
}

enum screen_id top_screen(const struct app *app)
{
    return app->screen[app->depth - 1];
}

const struct screen_ops *top_ops(const struct app *app)
{
    return OPS[top_screen(app)];
}

unsigned here(const struct app *app)
{
    return 1u << top_screen(app);
}

static void came_to_top(struct app *app)
{
    if (top_ops(app)->open != NULL)
        top_ops(app)->open(app);
}

void open_screen(struct app *app, enum screen_id screen)
{
    if (app->depth < SCREEN_DEPTH)
        app->screen[app->depth++] = screen;
    came_to_top(app);
}

void close_screen(struct app *app)
{
    if (app->depth == 1)
        return;
    const struct screen_ops *closed = top_ops(app);
    app->depth--;
    if (closed->close != NULL)
        closed->close(app);
    came_to_top(app);
}

unsigned toggle_screen(struct app *app, enum screen_id screen)
{
    if (top_screen(app) == screen)
        close_screen(app);
    else
        open_screen(app, screen);
    return REFRESH_DRAW;
}
