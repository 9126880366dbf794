/* choice_draw.c - the choice of the selected layer: mode, its form, and the current model's numbers against pre and
 * against post. */
#include "ui/views/layers_view.h"

#include "ui/format.h"

#include <stdio.h>

/* One number of the table. */
struct measure {
    const char *label;
    enum qk_metric metric;
    int role;
};
static const struct measure MEASURES[] = {
    {"q rel.", QK_METRIC_REL_FRO, QK_Q},
    {"q angle", QK_METRIC_ANGLE_MEAN, QK_Q},
    {"k rel.", QK_METRIC_REL_FRO, QK_K},
    {"k angle", QK_METRIC_ANGLE_MEAN, QK_K},
    {"routing", QK_METRIC_ROUTING, -1},
};
enum { N_MEASURES = sizeof MEASURES / sizeof MEASURES[0], LABEL_CELLS = 9, CELLS = 18 };

static void measure_text(
    const struct app *app, char out[64], const struct qk_layer_drift *drift, const struct measure *measure)
{
    char number[NUMBER_TEXT];
    format_metric(number, measure->metric, qk_metric_layer(drift, measure->metric, measure->role), 6);
    const struct qk_metric_info *info = qk_metric_info(measure->metric);
    snprintf(out, 64, "%s%s", number,
        info->percent   ? " %"
        : info->degrees ? theme_glyph(&app->theme, GLYPH_DEGREE)
                        : "");
}

/* "turns whole heads (no positions in q and k)": only for a mode with a form of its own in each layer. */
static void draw_form(struct canvas *canvas, int y, int x, int width, const struct qk_current *current)
{
    if (current->form.what != NULL)
        draw_format(canvas, y, x, width, STYLE_DIM, "%s (%s)", current->form.what, current->form.why);
}

static int draw_mode(const struct app *app, struct canvas *canvas, struct area area, int layer)
{
    char text[CHOICE_LABEL];
    const struct qk_layer_choice *choice = &qk_session_selection(app->session)->choice[layer];
    draw_text(canvas, area.y, area.x, LABEL_CELLS, ALIGN_LEFT, STYLE_HEADING,
        app->role < 0       ? "choice"
        : app->role == QK_Q ? "choice q"
                            : "choice k");
    int used = LABEL_CELLS;
    for (int r = 0; r < QK_ROLE_COUNT && qk_layer_choice_by_head(choice); r++) {
        char of_role[QK_ROLE_CHOICE_TEXT];
        if (qk_layer_choice_mode(choice, (enum qk_role)r) == QK_KEEP)
            continue;
        bool single = choice->head[r] != NULL;
        qk_layer_choice_text(of_role, choice, (enum qk_role)r);
        used += draw_format(canvas, area.y, area.x + used, area.w - used, STYLE_CHOICE, "%s%s%s  ",
            single ? "" : qk_role_name((enum qk_role)r), single ? "" : " ", of_role);
    }
    if (qk_layer_choice_by_head(choice))
        return used;
    used += draw_run(canvas, area.y, area.x + used, area.w - used,
        layer_kept(app, layer) ? STYLE_DIM : STYLE_CHOICE,
        format_choices(text, choice, app->theme.ascii, CHOICE_WHOLE));
    return used + 2;
}

/* The line below the choice while there are no numbers; false when there are. */
static bool draw_reason(const struct app *app, struct canvas *canvas, struct area area, int layer)
{
    const char *error = qk_session_current_error(app->session, layer);
    const char *fixed = app->pair->layer[layer].fixed;
    const char *why = !layer_kept(app, layer) ? "computing its numbers"
                      : fixed != NULL         ? fixed
                                              : "as post is: Space restores, m blends";
    if (error == NULL && !layer_kept(app, layer) && qk_session_current(app->session, layer) != NULL)
        return false;
    enum style style = error != NULL ? STYLE_ERROR : layer_kept(app, layer) ? STYLE_DIM : STYLE_PENDING;
    draw_wrapped(canvas, (struct area){area.y, area.x + LABEL_CELLS, area.h, area.w - LABEL_CELLS}, style,
        error != NULL ? error : why);
    return true;
}

/* The same in one line: "q 7.58 -> 0 %   k 7.96 -> 3.98 %   routing 13.1 -> 3.92 %". */
static void draw_one_line(const struct app *app, struct canvas *canvas, struct area area,
    const struct qk_layer_drift *before, const struct qk_current *current)
{
    static const struct {
        const char *label;
        int measure;
    } PARTS[] = {{"q", 0}, {"k", 2}, {"routing", 4}};
    int x = area.x + LABEL_CELLS, end = area.x + area.w;
    draw_text(canvas, area.y, area.x, LABEL_CELLS, ALIGN_LEFT, STYLE_HEADING, "from pre");
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        const struct measure *measure = &MEASURES[PARTS[i].measure];
        char now[64], was[NUMBER_TEXT] = "-";
        measure_text(app, now, &current->against[QK_PRE], measure);
        if (before != NULL)
            format_metric(was, measure->metric, qk_metric_layer(before, measure->metric, measure->role), 6);
        x += draw_format(canvas, area.y, x, end - x, STYLE_DIM, "%s ", PARTS[i].label);
        x += draw_format(canvas, area.y, x, end - x, STYLE_TEXT, "%s ", was);
        x += draw_format(canvas, area.y, x, end - x, STYLE_DIM, "%s ", theme_glyph(&app->theme, GLYPH_ARROW));
        x += draw_format(canvas, area.y, x, end - x, STYLE_CHOICE, "%s   ", now);
    }
}

static void draw_table(const struct app *app, struct canvas *canvas, struct area area,
    const struct qk_layer_drift *before, const struct qk_current *current)
{
    static const char *const LONG[] = {"post from pre", "now from pre", "now from post"};
    static const char *const SHORT[] = {"post/pre", "now/pre", "now/post"};
    const struct qk_layer_drift *drift[] = {before, &current->against[QK_PRE], &current->against[QK_POST]};
    int cells = (area.w - LABEL_CELLS) / 3;
    cells = cells > CELLS ? CELLS : cells;
    for (int column = 0; column < 3; column++) {
        int x = area.x + LABEL_CELLS + column * cells;
        draw_text(canvas, area.y, x, cells - 1, ALIGN_LEFT, STYLE_HEADING,
            cells > 14 ? LONG[column] : SHORT[column]);
        for (int i = 0; i < N_MEASURES && i + 1 < area.h; i++) {
            char text[64] = "-";
            if (drift[column] != NULL)
                measure_text(app, text, drift[column], &MEASURES[i]);
            draw_text(canvas, area.y + 1 + i, x, cells - 1, ALIGN_LEFT,
                column == 1 ? STYLE_CHOICE : STYLE_TEXT, text);
        }
    }
    for (int i = 0; i < N_MEASURES && i + 1 < area.h; i++)
        draw_text(canvas, area.y + 1 + i, area.x, LABEL_CELLS, ALIGN_LEFT, STYLE_HEADING, MEASURES[i].label);
}

void draw_choice(const struct app *app, struct canvas *canvas, struct area area)
{
    int layer = app->rows.selected;
    int used = draw_mode(app, canvas, (struct area){area.y, area.x, 1, area.w}, layer);
    struct area rest = {area.y + 1, area.x, area.h - 1, area.w};
    if (rest.h <= 0 || draw_reason(app, canvas, rest, layer))
        return;
    const struct qk_current *current = qk_session_current(app->session, layer);
    const struct qk_layer_drift *before = qk_session_drift(app->session, layer);
    if (rest.h <= N_MEASURES) {
        draw_form(canvas, area.y, area.x + used, area.w - used, current);
        draw_one_line(app, canvas, rest, before, current);
        return;
    }
    draw_table(app, canvas, rest, before, current);
    if (rest.h > N_MEASURES + 1)
        draw_form(canvas, rest.y + N_MEASURES + 1, area.x, area.w, current);
}
