/* detail_draw.c - everything about the selected layer: a heat map of its heads, the angles of one of them, its
 * attention ranges, and the effect of the choice. */
#include "ui/views/layers_view.h"
#include "ui/views/whole.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void name_layer(const struct app *app, const struct qk_pair_layer *layer, struct qk_text *text)
{
    const struct qk_layer *post = layer->side[QK_POST];
    qk_text_add(
        text, "layer %d %s %s", layer->index, theme_glyph(&app->theme, GLYPH_DOT), qk_kind_name(layer->kind));
    if (post->mixer != NULL && strcmp(post->mixer, qk_kind_name(layer->kind)) != 0)
        qk_text_add(text, " (%s)", post->mixer);
}

/* The particular properties of its heads. */
static void describe_heads(const struct app *app, const struct qk_pair_layer *layer, struct qk_text *text)
{
    static const char *const POSITIONS[] = {
        [QK_POSITIONS_NONE] = "no positions",
        [QK_POSITIONS_ROPE_HALF] = "RoPE",
        [QK_POSITIONS_ROPE_INTER] = "RoPE",
        [QK_POSITIONS_FIXED] = "convolution",
    };
    const struct qk_layer *post = layer->side[QK_POST];
    const char *dot = theme_glyph(&app->theme, GLYPH_DOT);
    if (!layer->has_qk)
        return;
    qk_text_add(text, "%d q, %d k heads %s %d %s %s", post->role[QK_Q].n_heads, post->role[QK_K].n_heads,
        theme_glyph(&app->theme, GLYPH_TIMES), post->head_dim, dot, POSITIONS[post->positions]);
    if (post->window > 0)
        qk_text_add(text, " %s window %d", dot, post->window);
    if (post->role[QK_Q].norm != NULL || post->role[QK_K].norm != NULL)
        qk_text_add(text, " %s q/k norm", dot);
    if (post->role[QK_Q].bias != NULL)
        qk_text_add(text, " %s bias", dot);
}

/* The heading of the panel. When one line is too short, a second one holds the heads. */
struct description {
    struct qk_text line[2]; /* the second is empty in a heading of one line */
};

static struct description describe(
    const struct app *app, const struct canvas *canvas, int width, const struct qk_pair_layer *layer)
{
    struct qk_text name = {0}, heads = {0}, both = {0};
    name_layer(app, layer, &name);
    describe_heads(app, layer, &heads);
    qk_text_add(&both, "%s", name.s != NULL ? name.s : "");
    if (heads.s != NULL)
        qk_text_add(&both, " %s %s", theme_glyph(&app->theme, GLYPH_DOT), heads.s);
    if (heads.s != NULL && both.s != NULL && text_cells(canvas, both.s) > width - 4) {
        qk_text_free(&both);
        return (struct description){{name, heads}};
    }
    qk_text_free(&name);
    qk_text_free(&heads);
    return (struct description){{both, {0}}};
}

static void free_description(struct description *d)
{
    qk_text_free(&d->line[0]);
    qk_text_free(&d->line[1]);
}

static void draw_description(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_pair_layer *layer)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct description d = describe(app, canvas, area.w, layer);
    draw_rule(canvas, area.y, area.x, area.w, view->panel == PANEL_HEADS ? STYLE_FOCUS : STYLE_HEADING,
        d.line[0].s != NULL ? d.line[0].s : "");
    if (d.line[1].s != NULL)
        draw_text(canvas, area.y + 1, area.x + 1, area.w - 1, ALIGN_LEFT, STYLE_DIM, d.line[1].s);
    free_description(&d);
}

/* The contents below the heading. */
static struct area below_description(
    const struct app *app, const struct canvas *canvas, struct area area, const struct qk_pair_layer *layer)
{
    struct description d = describe(app, canvas, area.w, layer);
    int used = d.line[1].s != NULL ? 2 : 1;
    free_description(&d);
    return (struct area){area.y + used, area.x + 1, area.h - used, area.w - 1};
}

/* The drift whose heads are shown, or NULL with the reason. */
static const struct qk_layer_drift *shown_drift(
    const struct app *app, const struct qk_pair_layer *layer, const char **why, enum style *style)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    *why = layer_obstacle(layer);
    *style = STYLE_DIM;
    if (*why != NULL)
        return NULL;
    *style = STYLE_PENDING;
    if (qk_session_layer_error(app->session, layer->index) != NULL) {
        *style = STYLE_ERROR;
        *why = qk_session_layer_error(app->session, layer->index);
        return NULL;
    }
    bool chosen = view->show_current && !layer_kept(app, layer->index),
         running = qk_session_layer_state(app->session, layer->index) == QK_LAYER_RUNNING;
    *why = chosen ? "computing the numbers of this choice" : running ? "computing" : "waiting to be computed";
    return model_drift(app, layer->index, view->show_current);
}

/* Rows of each part of the panel. */
struct shares {
    int heat, choice, ranges, needle, angles, blank;
};
enum {
    SMALL_HEAT = 3,
    GOOD_HEAT = 7,
    SMALL_CHOICE = 2,
    WHOLE_CHOICE = 8,
    SMALL_ANGLES = 2,
    GOOD_ANGLES = 6,
    HIGH_ANGLES = 13
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Parts above the angles: each has a blank row below it, where there is room for any. */
static int parts_above_angles(const struct shares *s)
{
    return 2 + (s->ranges > 0) + (s->needle > 0);
}

/* Every part gets its smallest size first, then as much as there is room for. */
static struct shares share_without_ranges(int rows, int heads, int needle)
{
    struct shares s = {.heat = least(rows, least(heads, GOOD_HEAT))};
    int left = rows - s.heat;
    if (left >= SMALL_CHOICE + needle) {
        s.needle = needle;
        left -= needle;
    }
    if (left >= SMALL_CHOICE)
        s.choice = SMALL_CHOICE;
    if (left >= WHOLE_CHOICE + SMALL_ANGLES + 2)
        s.choice = WHOLE_CHOICE;
    int more = least(left - s.choice, heads - s.heat);
    s.heat += more;
    left -= more;
    s.blank = left - s.choice >= 8 ? 1 : 0;
    s.angles = least(left - s.choice - parts_above_angles(&s) * s.blank, HIGH_ANGLES);
    return s;
}

/* Ranges come before the heat map's last rows and the angles. Then come the needle curve, the selected head's ranges,
 * the table of the choice, the rest of the heat map, angles, and higher bars. */
static struct shares share_with_ranges(int rows, int heads, int needle)
{
    struct shares s = {.heat = SMALL_HEAT, .ranges = LEAST_RANGES};
    int left = rows - s.heat - s.ranges;
    s.choice = least(left, SMALL_CHOICE);
    left -= s.choice;
    s.needle = left >= needle ? needle : 0;
    left -= s.needle;
    int heat = least(left, least(heads, GOOD_HEAT) - s.heat);
    s.heat += heat;
    left -= heat;
    if (left >= BOTH_RANGES - LEAST_RANGES) {
        left -= BOTH_RANGES - LEAST_RANGES;
        s.ranges = BOTH_RANGES;
    }
    if (left >= WHOLE_CHOICE - SMALL_CHOICE) {
        left -= WHOLE_CHOICE - SMALL_CHOICE;
        s.choice = WHOLE_CHOICE;
    }
    heat = least(left, heads - s.heat);
    s.heat += heat;
    left -= heat;
    s.blank = left >= GOOD_ANGLES + parts_above_angles(&s) ? 1 : 0;
    left -= parts_above_angles(&s) * s.blank;
    s.angles = left >= GOOD_ANGLES ? least(left, HIGH_ANGLES) : 0;
    left -= s.angles;
    for (int high = 2; high <= 4 && left >= 6; high++, left -= 6)
        s.ranges += 6;
    return s;
}

static struct shares share(const struct app *app, int rows, int width)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct qk_session_needle needle;
    int layer = app->rows.selected, heads = heads_rows(app);
    bool attention = view->plot == PLOT_RANGES;
    bool ranges = attention && qk_probe_has(app->pair, layer) && rows >= SMALL_HEAT + LEAST_RANGES;
    bool apart = attention && qk_session_needle(app->session, layer, &needle) &&
                 !(ranges && ranges_beside(app, layer, width) > 0);
    return ranges ? share_with_ranges(rows, heads, apart ? NEEDLE_ROWS : 0)
                  : share_without_ranges(rows, heads, apart ? NEEDLE_ROWS : 0);
}

static void draw_parts(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    struct shares s = share(app, area.h, area.w);
    int y = area.y;
    draw_heads(app, canvas, (struct area){y, area.x, s.heat, area.w}, drift);
    y += s.heat + s.blank;
    if (s.choice > 0)
        draw_choice(app, canvas, (struct area){y, area.x, s.choice, area.w});
    y += s.choice + s.blank;
    if (s.ranges > 0)
        draw_ranges(app, canvas, (struct area){y, area.x, s.ranges, area.w});
    y += s.ranges > 0 ? s.ranges + s.blank : 0;
    if (s.needle > 0)
        draw_needle(
            app, canvas, (struct area){y, area.x, s.needle, area.w}, app->rows.selected, range_head(app));
    y += s.needle > 0 ? s.needle + s.blank : 0;
    if (s.angles >= SMALL_ANGLES)
        draw_spectrum(app, canvas, (struct area){y, area.x, s.angles, area.w}, drift);
}

/* True where the list has no rows. */
static bool is_whole(const struct layers_view *view)
{
    return view->list_area.h == 0;
}

void place_detail(struct app *app, const struct canvas *canvas, struct area area)
{
    struct layers_view *view = app->state[SCREEN_LIST];
    const struct qk_pair_layer *layer = selected_layer(app);
    const char *why;
    enum style style;
    view->detail_area = area;
    view->heads_area.h = 0;
    if (layer == NULL || shown_drift(app, layer, &why, &style) == NULL)
        return;
    area = below_description(app, canvas, area, layer);
    if (is_whole(view)) {
        place_whole_layer(app, area);
        return;
    }
    area.h = share(app, area.h, area.w).heat;
    place_heads(app, area);
}

void draw_detail(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    const char *why;
    enum style style;
    if (layer == NULL) {
        draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, "no layer");
        return;
    }
    draw_description(app, canvas, area, layer);
    area = below_description(app, canvas, area, layer);
    const struct qk_layer_drift *drift = shown_drift(app, layer, &why, &style);
    if (drift != NULL && is_whole(app->state[SCREEN_LIST]))
        draw_whole_layer(app, canvas, area, drift);
    else if (drift != NULL)
        draw_parts(app, canvas, area, drift);
    else
        draw_wrapped(canvas, area, style, why);
}
