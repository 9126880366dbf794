/* whole_draw.c - a layer on the whole screen: its heads as rows, its choice, ranges and spectra. */
#include "ui/views/layers_view.h"
#include "ui/views/whole.h"

enum {
    WIDE = 150,       /* cells from which on spectra stand beside the rest */
    LEFT_SHARE = 108, /* the rest, then */
    LEAST_HEADS = 4,
    SMALL_CHOICE = 2,
    WHOLE_CHOICE = 8,
    LEAST_SPECTRA = 5,
    HIGHER = 6 /* rows that make the bars of both histograms a row higher */
};

/* Rows of each part, from top to bottom; 0: it is not there. */
struct whole {
    int heads, choice, ranges, needle, spectra, blank;
    struct area left, beside; /* `beside` has the spectra, or no rows */
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int take(int *left, int wanted, int given)
{
    if (*left < wanted)
        return 0;
    *left -= given;
    return given;
}

/* The smallest size of every part comes first, then all heads, both histograms, spectra, the table of the choice, and
 * higher bars. */
static struct whole share(const struct app *app, struct area area)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    struct whole w = {.left = area};
    struct qk_session_needle needle;
    int layer = app->rows.selected, all = 1 + head_columns(app), rows = area.h;
    if (area.w >= WIDE) {
        w.left.w = LEFT_SHARE;
        w.beside = (struct area){area.y, area.x + LEFT_SHARE + 2, area.h, area.w - LEFT_SHARE - 2};
    }
    bool attention = view->plot == PLOT_RANGES, ranges = attention && qk_probe_has(app->pair, layer);
    w.heads = least(least(all, LEAST_HEADS), rows);
    rows -= w.heads;
    w.choice = take(&rows, SMALL_CHOICE, SMALL_CHOICE);
    w.ranges = ranges ? take(&rows, LEAST_RANGES, LEAST_RANGES) : 0;
    bool apart = attention && qk_session_needle(app->session, layer, &needle) &&
                 (w.ranges == 0 || ranges_beside(app, layer, w.left.w) == 0);
    w.needle = apart ? take(&rows, NEEDLE_ROWS, NEEDLE_ROWS) : 0;
    int more = least(rows, all - w.heads);
    w.heads += more;
    rows -= more;
    if (w.ranges > 0)
        w.ranges += take(&rows, BOTH_RANGES - LEAST_RANGES, BOTH_RANGES - LEAST_RANGES);
    if (w.beside.h == 0 && rows > LEAST_SPECTRA)
        w.spectra = take(&rows, LEAST_SPECTRA, spectra_rows(app, area.w, rows - 1));
    w.blank = rows >= 3 ? 1 : 0;
    rows -= 3 * w.blank;
    w.choice += take(&rows, WHOLE_CHOICE - SMALL_CHOICE, WHOLE_CHOICE - SMALL_CHOICE);
    for (int i = 0; w.ranges == BOTH_RANGES + i * HIGHER && i < 3; i++)
        w.ranges += take(&rows, HIGHER, HIGHER);
    return w;
}

void place_whole_layer(struct app *app, struct area area)
{
    struct whole w = share(app, area);
    place_head_rows(app, (struct area){w.left.y, w.left.x, w.heads, w.left.w});
}

void draw_whole_layer(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_layer_drift *drift)
{
    struct whole w = share(app, area);
    const struct qk_current *current = qk_session_current(app->session, app->rows.selected);
    drift = current != NULL ? &current->against[QK_PRE] : drift; /* over post, as in the list */
    int y = w.left.y, x = w.left.x, width = w.left.w;
    draw_head_rows(app, canvas, (struct area){y, x, w.heads, width}, drift);
    y += w.heads + w.blank;
    if (w.choice > 0)
        draw_choice(app, canvas, (struct area){y, x, w.choice, width});
    y += w.choice + w.blank;
    if (w.ranges > 0)
        draw_ranges(app, canvas, (struct area){y, x, w.ranges, width});
    y += w.ranges + (w.ranges > 0 ? w.blank : 0);
    if (w.needle > 0)
        draw_needle(app, canvas, (struct area){y, x, w.needle, width}, app->rows.selected, range_head(app));
    y += w.needle;
    if (drift->norms_only)
        return;
    if (w.spectra > 0)
        draw_spectra(app, canvas, (struct area){y, x, w.spectra, area.w}, drift);
    if (w.beside.h > 0)
        draw_spectra(app, canvas, w.beside, drift);
}
