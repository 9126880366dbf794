/* search_draw.c - the search for selections on the screen: its progress, and its Pareto front as a plot in cells and
 * as a list. */
#include "ui/views/search_view.h"

#include "ui/format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BESIDE_COLUMNS = 100,
    LEAST_PLOT = 5,
    MOST_PLOT = 24,
    LABEL_CELLS = 6,
    RATE_CELLS = 13,
    NUMBER_CELLS = 6,
    LEAST_WITH_BOTH = 4
};

/* --- progress --- */

enum { PROGRESS_TEXT = 64 };

/* "3:05 of 10:00", "12 of 20 evaluations": the used part of its limit. */
static const char *progress_text(const struct qk_search_state *found, char out[PROGRESS_TEXT])
{
    char now[NUMBER_TEXT], all[NUMBER_TEXT];
    if (found->limits.max_trials > 0)
        snprintf(out, PROGRESS_TEXT, "%zu of %zu evaluations", found->n_measured, found->limits.max_trials);
    else
        snprintf(out, PROGRESS_TEXT, "%s of %s", format_seconds(now, found->seconds),
            format_seconds(all, found->limits.seconds));
    return out;
}

static const char *title_text(const struct qk_search_state *found, char out[160])
{
    char now[NUMBER_TEXT], progress[PROGRESS_TEXT];
    format_seconds(now, found->seconds);
    switch (found->stage) {
    case QK_SEARCH_OFF:
        snprintf(out, 160, "search for the selections that answer most: s begins one");
        break;
    case QK_SEARCH_RUNNING:
        snprintf(out, 160, "searching: %s, %zu selections, %s", found->doing, found->n_trials,
            progress_text(found, progress));
        break;
    case QK_SEARCH_FAILED:
        snprintf(out, 160, "the search failed after %zu selections", found->n_trials);
        break;
    default:
        snprintf(out, 160, "search: %zu selections, %s%s%s", found->n_trials, now,
            found->stage == QK_SEARCH_CANCELLED ? ", stopped" : "",
            found->stage != QK_SEARCH_LIMITED ? ""
            : found->limits.max_trials > 0    ? ", its evaluations were used up"
                                              : ", its time was up");
        break;
    }
    return out;
}

void search_state(const struct app *app, char out[96])
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    char progress[PROGRESS_TEXT];
    if (found->stage == QK_SEARCH_RUNNING)
        snprintf(out, 96, "searching %s", progress_text(found, progress));
}

/* --- the plot --- */

static double rate_of(struct qk_score score)
{
    return score.total > 0 ? (double)score.right / (double)score.total : NAN;
}

/* All answers of a point to an objective's cases. */
static double rate_of_all(const struct qk_search_point *point, size_t objective)
{
    struct qk_score sum = {0};
    for (int part = 0; part < QK_SEARCH_PARTS; part++) {
        sum.right += point->score[part][objective].right;
        sum.total += point->score[part][objective].total;
    }
    return rate_of(sum);
}

static bool is_confirmed(const struct qk_search_point *point)
{
    return point->score[QK_CONFIRMED][0].total > 0;
}

/* The range of the plot, from low to high: first objective to the right, second upwards. */
struct axes {
    double low[2], high[2];
};

static void reach_to(struct axes *axes, const double at[2])
{
    for (int o = 0; o < 2; o++) {
        axes->low[o] = fmin(axes->low[o], at[o]); /* skips NaN */
        axes->high[o] = fmax(axes->high[o], at[o]);
    }
}

static void place_of(const struct app *app, enum qk_asked who, double at[2])
{
    for (size_t o = 0; o < 2; o++)
        at[o] = rate_of(qk_session_objective(app->session, who, o));
}

static void place_of_point(const struct qk_search_point *point, double at[2])
{
    for (size_t o = 0; o < 2; o++)
        at[o] = rate_of_all(point, o);
}

/* The range of the points, post and current. Pre often lies far away, because it cannot do what post learned, and
 * would leave them no room. */
static struct axes axes_of(const struct app *app, const struct qk_search_state *found)
{
    struct axes axes = {{1, 1}, {0, 0}};
    double at[2];
    for (size_t i = 0; i < found->n_points; i++) {
        place_of_point(&found->point[i], at);
        reach_to(&axes, at);
    }
    for (int who = QK_ASKED_POST; who < QK_ASKED_COUNT; who++) {
        place_of(app, (enum qk_asked)who, at);
        reach_to(&axes, at);
    }
    for (int o = 0; o < 2; o++)
        if (axes.high[o] - axes.low[o] < 0.01) { /* a single place gives no scale */
            axes.low[o] = fmax(axes.low[o] - 0.01, 0);
            axes.high[o] = fmin(axes.high[o] + 0.01, 1);
        }
    return axes;
}

/* The cell of a place in the plot; false when it is not known. */
static bool find_cell(struct area plot, const struct axes *axes, const double at[2], int *y, int *x)
{
    if (!(isfinite(at[0]) && isfinite(at[1])))
        return false;
    *x = plot.x + (int)lround((at[0] - axes->low[0]) / (axes->high[0] - axes->low[0]) * (plot.w - 1));
    *y = plot.y + (int)lround((axes->high[1] - at[1]) / (axes->high[1] - axes->low[1]) * (plot.h - 1));
    return true;
}

/* Draws text so that its first cell is at the place; text over the edge is moved in. */
static void draw_at(struct canvas *canvas, struct area plot, const struct axes *axes, const double at[2],
    enum style style, const char *text)
{
    int y, x, cells = text_cells(canvas, text), last = plot.x + plot.w - cells;
    if (find_cell(plot, axes, at, &y, &x))
        draw_run(canvas, y, x > last ? last : x, cells, style, text);
}

/* Draws a dot at the place of pre or post, and its name three cells beside it, since a point may be there, too. A place
 * outside the plot has its name at the edge, with an arrow. */
static void draw_name_at(struct canvas *canvas, struct area plot, const struct axes *axes, const double at[2],
    enum style style, const char *name)
{
    int y, x, cells = text_cells(canvas, name);
    if (!find_cell(plot, axes, at, &y, &x))
        return;
    int right = plot.x + plot.w - 1, bottom = plot.y + plot.h - 1;
    enum glyph glyph = y > bottom ? GLYPH_DOWN : y < plot.y ? GLYPH_UP : x > right ? GLYPH_ARROW : GLYPH_SPOT;
    x = x < plot.x ? plot.x : x > right ? right : x;
    y = y < plot.y ? plot.y : y > bottom ? bottom : y;
    draw_run(canvas, y, x, 1, style, theme_glyph(canvas->theme, glyph));
    draw_run(canvas, y, x + 2 + cells <= right ? x + 3 : x - 2 - cells, cells, style, name);
}

static void draw_frame_of(
    struct canvas *canvas, struct area area, const struct axes *axes, const struct qk_search_state *found)
{
    char text[32];
    int bottom = area.y + area.h - 1, x = area.x + LABEL_CELLS + 1, w = area.w - LABEL_CELLS - 1;
    for (int y = area.y; y < bottom; y++)
        draw_text(canvas, y, x - 1, 1, ALIGN_LEFT, STYLE_RULE, theme_glyph(canvas->theme, GLYPH_WALL));
    for (int end = 0; end < 2; end++) {
        snprintf(text, sizeof text, "%.1f", 100 * (end == 0 ? axes->high[1] : axes->low[1]));
        draw_text(canvas, end == 0 ? area.y : bottom - 1, area.x, LABEL_CELLS, ALIGN_RIGHT, STYLE_DIM, text);
        snprintf(text, sizeof text, "%.1f", 100 * (end == 0 ? axes->low[0] : axes->high[0]));
        draw_text(canvas, bottom, end == 0 ? x : x + w - LABEL_CELLS, LABEL_CELLS,
            end == 0 ? ALIGN_LEFT : ALIGN_RIGHT, STYLE_DIM, text);
    }
    draw_format(canvas, bottom, x + LABEL_CELLS + 1, w - 2 * LABEL_CELLS - 2, STYLE_HEADING,
        "%s %.63s, upwards %.63s", theme_glyph(canvas->theme, GLYPH_ARROW), found->objective[0],
        found->objective[1]);
}

/* Draws pre and post by name, the points by number, and the current selection as a bullet. Later ones cover earlier
 * ones. */
static void draw_plot(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_search_state *found)
{
    const struct search_view *view = search_of(app);
    static const char *const NAMES[] = {"pre", "post"};
    struct axes axes = axes_of(app, found);
    struct area plot = {area.y, area.x + LABEL_CELLS + 1, area.h - 1, area.w - LABEL_CELLS - 1};
    double at[2];
    draw_frame_of(canvas, area, &axes, found);
    for (int who = QK_ASKED_PRE; who <= QK_ASKED_POST; who++) {
        place_of(app, (enum qk_asked)who, at);
        draw_name_at(canvas, plot, &axes, at, who == QK_ASKED_PRE ? STYLE_PRE : STYLE_POST, NAMES[who]);
    }
    place_of(app, QK_ASKED_CURRENT, at);
    int current = qk_session_point(app->session);
    if (current < 0)
        draw_at(canvas, plot, &axes, at, STYLE_CHOICE, theme_glyph(canvas->theme, GLYPH_BULLET));
    for (size_t k = 0; k <= found->n_points; k++) { /* the selected one again at the end */
        size_t i = k < found->n_points ? k : (size_t)view->point;
        char text[24];
        snprintf(text, sizeof text, "%zu%s", i + 1,
            (int)i == current ? theme_glyph(canvas->theme, GLYPH_BULLET) : "");
        place_of_point(&found->point[i], at);
        canvas->selected = (int)i == view->point;
        draw_at(canvas, plot, &axes, at, (int)i == current ? STYLE_CHOICE : STYLE_STRONG, text);
        canvas->selected = false;
    }
}

/* --- the list --- */

enum align objective_align(const struct app *app)
{
    return qk_session_evaluation(app->session)->n_files > 1 ? ALIGN_LEFT : ALIGN_TAIL;
}

/* The number of objectives that fit beside the selection. */
static int shown_objectives(const struct qk_search_state *found, int width)
{
    int n = (width - NUMBER_CELLS - 16) / RATE_CELLS;
    n = n < 1 ? 1 : n;
    return n < (int)found->n_objectives ? n : (int)found->n_objectives;
}

/* "78.0 71-84", of the objective's cases in a part: the interval holds together with those of all other selections. */
static const char *figure_text(const struct qk_search_state *found, const struct qk_search_point *point,
    enum qk_search_part part, int objective, char out[64])
{
    struct qk_score score = point->score[part][objective];
    struct qk_interval interval = qk_score_interval_of(score, found->n_at_once[part]);
    snprintf(out, 64, "%5.1f %.0f-%.0f", 100 * rate_of(score), 100 * interval.low, 100 * interval.high);
    return out;
}

static void draw_point(const struct app *app, struct canvas *canvas, struct area row,
    const struct qk_search_state *found, int i, int n_shown)
{
    const struct search_view *view = search_of(app);
    const struct qk_search_point *point = &found->point[i];
    char text[64];
    int x = row.x + NUMBER_CELLS;
    bool current = i == qk_session_point(app->session);
    canvas->selected = i == view->point;
    draw_text(canvas, row.y, row.x, row.w, ALIGN_LEFT, STYLE_TEXT, "");
    draw_text(canvas, row.y, row.x, 1, ALIGN_LEFT, STYLE_POINTER,
        canvas->selected ? theme_glyph(&app->theme, GLYPH_POINTER) : "");
    snprintf(text, sizeof text, "%d%s", i + 1, current ? theme_glyph(&app->theme, GLYPH_BULLET) : " ");
    draw_text(
        canvas, row.y, row.x + 1, NUMBER_CELLS - 2, ALIGN_RIGHT, current ? STYLE_CHOICE : STYLE_STRONG, text);
    enum qk_search_part part = is_confirmed(point) ? QK_CONFIRMED : QK_SEARCHED;
    for (int o = 0; o < n_shown; o++, x += RATE_CELLS)
        draw_text(canvas, row.y, x, RATE_CELLS - 1, ALIGN_LEFT, part == QK_CONFIRMED ? STYLE_TEXT : STYLE_DIM,
            figure_text(found, point, part, o, text));
    draw_text(
        canvas, row.y, x, row.x + row.w - x, ALIGN_LEFT, current ? STYLE_CHOICE : STYLE_TEXT, point->text);
    if (canvas->selected) {
        canvas->cursor_y = row.y;
        canvas->cursor_x = row.x;
    }
    canvas->selected = false;
}

/* The figures of the selected point on the cases of one part, for as many objectives as have room. */
static void draw_part(const struct app *app, struct canvas *canvas, struct area row,
    const struct qk_search_state *found, enum qk_search_part part)
{
    static const char *const WHICH[] = {[QK_SEARCHED] = "searched on:", [QK_CONFIRMED] = "held out:"};
    const struct qk_search_point *point = &found->point[search_of(app)->point];
    char figure[64], text[128];
    int x = row.x + draw_run(canvas, row.y, row.x, row.w, STYLE_DIM, WHICH[part]), end = row.x + row.w;
    if (part == QK_CONFIRMED && !is_confirmed(point)) {
        draw_run(canvas, row.y, x, end - x, STYLE_DIM, " not asked yet");
        return;
    }
    for (int o = 0; o < (int)found->n_objectives; o++) {
        snprintf(text, sizeof text, "%s %.24s %s", o == 0 ? "" : ",", found->objective[o],
            figure_text(found, point, part, o, figure));
        if (text_cells(canvas, text) > end - x)
            break;
        x += draw_run(canvas, row.y, x, end - x, STYLE_DIM, text);
    }
}

/* Remembers the selected point, because the front grows while a search runs. */
static void keep_point(struct search_view *view, const struct qk_search_state *found)
{
    const char *text = found->point[view->point].text;
    if (view->selection != NULL && strcmp(view->selection, text) == 0)
        return;
    free(view->selection);
    view->selection = strdup(text); /* without it the number stays */
}

/* Rows of a list's area for points: the heading has one, and where there is room the selected point's figures have
 * a row for each part of the cases. */
static int point_rows(struct area area)
{
    return area.h - (area.h > LEAST_WITH_BOTH ? 1 + QK_SEARCH_PARTS : 1);
}

static void draw_points(
    const struct app *app, struct canvas *canvas, struct area area, const struct qk_search_state *found)
{
    const struct search_view *view = search_of(app);
    int n = (int)found->n_points, rows = point_rows(area), n_shown = shown_objectives(found, area.w);
    draw_text(canvas, area.y, area.x, NUMBER_CELLS, ALIGN_LEFT, STYLE_HEADING, "point");
    for (int o = 0; o < n_shown; o++)
        draw_text(canvas, area.y, area.x + NUMBER_CELLS + o * RATE_CELLS, RATE_CELLS - 1,
            objective_align(app), STYLE_HEADING, found->objective[o]);
    draw_text(canvas, area.y, area.x + NUMBER_CELLS + n_shown * RATE_CELLS,
        area.w - NUMBER_CELLS - n_shown * RATE_CELLS, ALIGN_LEFT, STYLE_HEADING, "selection");
    for (int i = view->first_point; i < n && i < view->first_point + rows; i++)
        draw_point(app, canvas, (struct area){area.y + 1 + i - view->first_point, area.x, 1, area.w}, found,
            i, n_shown);
    for (int part = 0; rows < area.h - 1 && part < QK_SEARCH_PARTS; part++)
        draw_part(app, canvas, (struct area){area.y + area.h - 1 - part, area.x, 1, area.w}, found,
            (enum qk_search_part)part);
}

/* Places plot and list beside each other, or one above the other. Without room for both, or with one objective, there
 * is the list alone, and the plot's area has no rows. */
static void divide(
    struct area area, const struct qk_search_state *found, struct area *plot, struct area *list)
{
    int n = (int)found->n_points;
    bool plotted = found->n_objectives > 1, beside = area.w >= BESIDE_COLUMNS && area.h >= LEAST_PLOT;
    *plot = *list = area;
    plot->h = 0;
    if (plotted && beside) {
        plot->w = area.w * 2 / 5;
        plot->h = area.h > MOST_PLOT ? MOST_PLOT : area.h;
        *list = (struct area){area.y, area.x + plot->w + 2, area.h, area.w - plot->w - 2};
    } else if (plotted && area.h >= LEAST_PLOT + 2) {
        int wanted = n + 3 > LEAST_WITH_BOTH ? n + 3 : LEAST_WITH_BOTH + 1,
            rows = wanted < area.h / 3 + 1 ? wanted : area.h / 3 + 1;
        plot->h = area.h - rows > MOST_PLOT ? MOST_PLOT : area.h - rows;
        *list = (struct area){area.y + plot->h, area.x, area.h - plot->h, area.w};
    }
}

/* The area of the front in the area of a search, below its title and its error, which takes *error_rows rows (may be
 * NULL). Without a front it has no rows. */
static struct area front_area(
    const struct canvas *canvas, struct area area, const struct qk_search_state *found, int *error_rows)
{
    int used = 0;
    area = (struct area){area.y + 1, area.x + 1, area.h - 1, area.w - 2};
    if (found->error != NULL && area.h > 0)
        used = wrapped_rows(canvas, found->error, area.w, area.h > 2 ? 2 : 1);
    if (error_rows != NULL)
        *error_rows = used;
    area.y += used;
    area.h = found->n_points > 0 && area.h - used > 1 ? area.h - used : 0;
    return area;
}

void place_search(struct app *app, const struct canvas *canvas, struct area area)
{
    struct search_view *view = search_of(app);
    const struct qk_search_state *found = qk_session_search_state(app->session);
    struct area front = front_area(canvas, area, found, NULL), plot, list;
    if (front.h == 0)
        return;
    divide(front, found, &plot, &list);
    int n = (int)found->n_points, rows = point_rows(list);
    if (view->point >= n)
        view->point = n - 1;
    if (view->point < view->first_point)
        view->first_point = view->point;
    if (view->point >= view->first_point + rows)
        view->first_point = view->point - rows + 1;
    if (view->first_point > n - rows)
        view->first_point = n > rows ? n - rows : 0;
    keep_point(view, found);
}

void draw_search(const struct app *app, struct canvas *canvas, struct area area)
{
    const struct qk_search_state *found = qk_session_search_state(app->session);
    char text[160];
    struct area plot, list;
    int error_rows;
    if (area.h < 1)
        return;
    draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, title_text(found, text));
    struct area front = front_area(canvas, area, found, &error_rows);
    if (error_rows > 0)
        draw_wrapped(
            canvas, (struct area){area.y + 1, front.x, error_rows, front.w}, STYLE_ERROR, found->error);
    if (front.h == 0)
        return;
    divide(front, found, &plot, &list);
    if (plot.h > 0)
        draw_plot(app, canvas, plot, found);
    draw_points(app, canvas, list, found);
}
