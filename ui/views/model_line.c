/* model_line.c - the model as a whole in one line: routing and reach as means over its layers, and the largest drop. */
#include "ui/views/layers_view.h"

#include <math.h>
#include <stdio.h>

enum { PART_TEXT = 64 };

/* The mean of a number over the layers that have it, of post and of the current model. */
struct mean {
    double post, now;
    int n;
};

static void add(struct mean *mean, double post, double now)
{
    if (isnan(post))
        return;
    mean->post += post;
    mean->now += isnan(now) ? post : now;
    mean->n++;
}

/* "routing 13.9 > 9.21 %"; false while nothing is known. */
static bool routing_text(const struct app *app, char out[PART_TEXT])
{
    struct mean mean = {0};
    char post[NUMBER_TEXT], now[NUMBER_TEXT];
    for (int i = 0; i < app->pair->n_layers; i++) {
        const struct qk_layer_drift *drift = qk_session_drift(app->session, i);
        const struct qk_current *current = qk_session_current(app->session, i);
        add(&mean, drift != NULL && drift->has_qk ? drift->routing_rel_fro : NAN,
            current != NULL ? current->against[QK_PRE].routing_rel_fro : NAN);
    }
    if (mean.n == 0)
        return false;
    format_number(post, 100 * mean.post / mean.n);
    format_number(now, 100 * mean.now / mean.n);
    if (mean.post == mean.now)
        snprintf(out, PART_TEXT, "mean routing %s %%", post);
    else
        snprintf(
            out, PART_TEXT, "mean routing %s %s %s %%", post, theme_glyph(&app->theme, GLYPH_ARROW), now);
    return true;
}

/* "reach 32.1 -0.31". */
static bool reach_mean_text(const struct app *app, char out[PART_TEXT])
{
    struct mean pre = {0}, change = {0};
    char before[NUMBER_TEXT], post[NUMBER_TEXT], now[NUMBER_TEXT];
    for (int i = 0; i < app->pair->n_layers; i++) {
        struct qk_session_range range;
        if (!qk_session_range(app->session, i, &range))
            continue;
        double far = range.side[QK_PRE]->layer.long_mass;
        add(&pre, far, NAN);
        add(&change, range.side[QK_POST]->layer.long_mass - far,
            range.current != NULL ? range.current->layer.long_mass - far : NAN);
    }
    if (pre.n == 0 || change.n == 0)
        return false;
    format_number(before, 100 * pre.post / pre.n);
    format_signed(post, 100 * change.post / change.n, app->theme.ascii);
    format_signed(now, 100 * change.now / change.n, app->theme.ascii);
    if (change.post == change.now)
        snprintf(out, PART_TEXT, "reach %s %s", before, post);
    else
        snprintf(
            out, PART_TEXT, "reach %s %s %s %s", before, post, theme_glyph(&app->theme, GLYPH_THEN), now);
    return true;
}

/* "drop .126 at 7/q2", the head that lost most. */
static bool drop_text(const struct app *app, char out[PART_TEXT])
{
    double most = NAN;
    char number[NUMBER_TEXT];
    for (int i = 0; i < app->pair->n_layers; i++) {
        struct qk_session_needle needle;
        if (!qk_session_needle(app->session, i, &needle))
            continue;
        double drop = needle_value(&needle, NEEDLE_DROP, needle.largest_drop);
        if (isnan(most) || drop > most) {
            most = drop;
            snprintf(
                out, PART_TEXT, "drop %s at %d/q%d", format_mass(number, drop, 4), i, needle.largest_drop);
        }
    }
    return !isnan(most);
}

void describe_model(const struct app *app, const struct canvas *canvas, int width, struct qk_text *text)
{
    static bool (*const PARTS[])(const struct app *, char[PART_TEXT]) = {
        routing_text, reach_mean_text, drop_text};
    char part[PART_TEXT], whole[PART_TEXT + 8];
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        if (!PARTS[i](app, part))
            continue;
        snprintf(whole, sizeof whole, " %s %s", theme_glyph(&app->theme, GLYPH_DOT), part);
        if (text->s != NULL && text_cells(canvas, text->s) + text_cells(canvas, whole) <= width)
            qk_text_add(text, "%s", whole);
    }
}
