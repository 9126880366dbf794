/* attention_draw.c - one head's attention from one token of a text: over its whole past, shaded on the text, and its
 * strongest tokens. */
#include "ui/views/attention_view.h"

#include "ui/format.h"
#include "ui/views/layers_view.h"

#include <stdio.h>
#include <string.h>

enum { LABEL_CELLS = 8, MOST_CELLS = 512, MOST_LISTED = 16, CONTEXT_TEXT = 1024 };
enum { FIXED_ROWS = 6, TOKEN_CELLS = 7, DISTANCE_CELLS = 9, WEIGHT_CELLS = 8, GAP = 2 };

const struct attention_side ATTENTION_SIDES[N_ATTENTION_SIDES] = {
    {"pre", STYLE_PRE}, {"post", STYLE_POST}, {"current", STYLE_CHOICE}};

/* --- weights --- */

/* Weights of one query, by side; NULL: not known yet. */
struct weights {
    const float *row[N_ATTENTION_SIDES];
    size_t n;
};

/* The level of a weight, 0 to WEIGHT_LEVELS - 1, against even attention over the past. */
static const int TIMES_EVEN[WEIGHT_LEVELS] = {0, 1, 4, 16, 64};

static enum style weight_style(const struct weights *weights, int side, size_t i)
{
    int level = 0;
    double weight = weights->row[side] != NULL ? (double)weights->row[side][i] : 0;
    for (int k = 1; k < WEIGHT_LEVELS; k++)
        if (weight * (double)weights->n >= TIMES_EVEN[k])
            level = k;
    if (weight >= 0.5) /* with few tokens no weight is 64 times even */
        level = WEIGHT_LEVELS - 1;
    return (enum style)(STYLE_WEIGHT + level);
}

/* Lists the tokens with the largest weights, the largest first; returns their number. */
static int strongest(const struct weights *weights, int side, size_t *token, int most)
{
    int n = 0;
    const float *row = weights->row[side];
    for (size_t i = 0; row != NULL && i < weights->n; i++) {
        if (n == most && row[i] <= row[token[n - 1]])
            continue;
        int k = n < most ? n++ : n - 1;
        for (; k > 0 && row[token[k - 1]] < row[i]; k--)
            token[k] = token[k - 1];
        token[k] = i;
    }
    return n;
}

/* --- drawing --- */

/* The attention to each stretch of the past, from its first token to the query. */
static void draw_overview(struct canvas *canvas, struct area area, const struct weights *weights)
{
    double value[N_ATTENTION_SIDES][MOST_CELLS] = {{0}}, top = 0;
    int cells = area.w - LABEL_CELLS;
    cells = cells > MOST_CELLS ? MOST_CELLS : cells;
    cells = (size_t)cells > weights->n ? (int)weights->n : cells;
    for (int s = 0; s < N_ATTENTION_SIDES; s++) {
        for (size_t i = 0; weights->row[s] != NULL && i < weights->n; i++)
            value[s][i * (size_t)cells / weights->n] += (double)weights->row[s][i];
        for (int c = 0; c < cells; c++)
            top = value[s][c] > top ? value[s][c] : top;
    }
    for (int s = 0; s < N_ATTENTION_SIDES; s++) {
        struct area bar = {area.y + s, area.x + LABEL_CELLS, 1, cells};
        draw_text(canvas, bar.y, area.x, LABEL_CELLS, ALIGN_LEFT, ATTENTION_SIDES[s].style,
            ATTENTION_SIDES[s].name);
        if (weights->row[s] != NULL)
            draw_columns(canvas, bar, ATTENTION_SIDES[s].style, value[s], cells, top);
        else
            draw_run(canvas, bar.y, bar.x, area.w - LABEL_CELLS, STYLE_PENDING, "computing");
    }
}

static void draw_legend(const struct app *app, struct canvas *canvas, int y, int x, int width)
{
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    int end = x + width, side = (int)view->side;
    x += draw_run(canvas, y, x, end - x, STYLE_DIM, "shaded by ");
    x += draw_run(canvas, y, x, end - x, ATTENTION_SIDES[side].style, ATTENTION_SIDES[side].name);
    x += draw_run(canvas, y, x, end - x, STYLE_DIM, ", times even: ");
    for (int k = 0; k < WEIGHT_LEVELS; k++) {
        x += draw_format(canvas, y, x, end - x, (enum style)(STYLE_WEIGHT + k), k == 0 ? "less" : "%s%d",
            theme_glyph(&app->theme, GLYPH_AT_LEAST), TIMES_EVEN[k]);
        x += 2;
    }
    if (view->needle)
        draw_run(canvas, y, x, end - x, STYLE_DIM, "[needle, answer]");
}

static int draw_token(
    const struct app *app, struct canvas *canvas, struct area cell, const struct weights *weights, size_t i)
{
    char text[PIECE_TEXT];
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    bool query = i == view->query;
    enum style style = query             ? STYLE_STRONG
                       : i > view->query ? STYLE_GONE
                                         : weight_style(weights, (int)view->side, i);
    if (query) {
        canvas->cursor_y = cell.y;
        canvas->cursor_x = cell.x;
    }
    canvas->selected = query;
    canvas->underlined = is_needle_token(app, i);
    int used = draw_run(canvas, cell.y, cell.x, cell.w, style, token_text(app, i, text, NULL));
    canvas->selected = canvas->underlined = false;
    return used;
}

/* The text around the query, most of it before. */
static void draw_probe_text(
    const struct app *app, struct canvas *canvas, struct area area, const struct weights *weights)
{
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    size_t at = line_of(view, view->query), before = area.h > 2 ? (size_t)area.h - 2 : 0;
    size_t first = at > before ? at - before : 0;
    for (int row = 0; row < area.h && first + (size_t)row < view->n_lines; row++) {
        size_t line = first + (size_t)row;
        size_t end = line + 1 < view->n_lines ? view->line[line + 1] : view->n_ids;
        int x = 0;
        for (size_t i = view->line[line]; i < end; i++)
            x += draw_token(app, canvas, (struct area){area.y + row, area.x + x, 1, area.w - x}, weights, i);
    }
}

/* Joins the texts of tokens from..end - 1. */
static void join(const struct app *app, char out[CONTEXT_TEXT], size_t from, size_t end)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = from; i < end; i++) {
        char text[PIECE_TEXT];
        size_t length = strlen(token_text(app, i, text, NULL));
        if (n + length >= CONTEXT_TEXT)
            return;
        memcpy(out + n, text, length + 1);
        n += length;
    }
}

/* Draws a token with the text before and after it, all tokens of a list in one column. */
static void draw_context(
    const struct app *app, struct canvas *canvas, struct area cell, enum style style, size_t i)
{
    enum { TOKENS_BEFORE = 12, TOKENS_AFTER = 16 };
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    char text[CONTEXT_TEXT], piece[PIECE_TEXT];
    int left = cell.w / 3;
    join(app, text, i > TOKENS_BEFORE ? i - TOKENS_BEFORE : 0, i);
    draw_text(canvas, cell.y, cell.x, left, text_cells(canvas, text) > left ? ALIGN_TAIL : ALIGN_RIGHT,
        STYLE_DIM, text);
    int used = left;
    used += draw_run(canvas, cell.y, cell.x + used, cell.w - used, style, token_text(app, i, piece, NULL));
    join(app, text, i + 1, view->n_ids - i > TOKENS_AFTER ? i + 1 + TOKENS_AFTER : view->n_ids);
    draw_text(canvas, cell.y, cell.x + used, cell.w - used, ALIGN_LEFT, STYLE_DIM, text);
}

static void draw_listed(
    const struct app *app, struct canvas *canvas, struct area row, const struct weights *weights, size_t i)
{
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    const int side = (int)view->side;
    int x = row.x + TOKEN_CELLS + DISTANCE_CELLS, end = row.x + row.w;
    draw_format(canvas, row.y, row.x, TOKEN_CELLS, STYLE_TEXT, "%*zu", TOKEN_CELLS, i);
    draw_format(canvas, row.y, row.x + TOKEN_CELLS, DISTANCE_CELLS, STYLE_TEXT, "%*zu", DISTANCE_CELLS,
        view->query - i);
    for (int s = 0; s < N_ATTENTION_SIDES; s++, x += WEIGHT_CELLS) {
        char number[NUMBER_TEXT];
        snprintf(number, sizeof number, "%s", theme_glyph(&app->theme, GLYPH_WAIT));
        if (weights->row[s] != NULL)
            snprintf(number, sizeof number, "%.3f", (double)weights->row[s][i]);
        draw_text(canvas, row.y, x, WEIGHT_CELLS, ALIGN_RIGHT, s == side ? STYLE_STRONG : STYLE_TEXT, number);
    }
    x += GAP;
    draw_context(app, canvas, (struct area){row.y, x, 1, end - x}, weight_style(weights, side, i), i);
}

static void draw_strongest(
    const struct app *app, struct canvas *canvas, struct area area, const struct weights *weights)
{
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    size_t token[MOST_LISTED];
    int side = (int)view->side, x = area.x;
    int n = strongest(weights, side, token, area.h - 1 > MOST_LISTED ? MOST_LISTED : area.h - 1);
    draw_text(canvas, area.y, x, TOKEN_CELLS, ALIGN_RIGHT, STYLE_HEADING, "token");
    draw_text(canvas, area.y, x + TOKEN_CELLS, DISTANCE_CELLS, ALIGN_RIGHT, STYLE_HEADING, "distance");
    x += TOKEN_CELLS + DISTANCE_CELLS;
    for (int s = 0; s < N_ATTENTION_SIDES; s++, x += WEIGHT_CELLS)
        draw_text(
            canvas, area.y, x, WEIGHT_CELLS, ALIGN_RIGHT, ATTENTION_SIDES[s].style, ATTENTION_SIDES[s].name);
    draw_text(canvas, area.y, x + GAP, area.x + area.w - x - GAP, ALIGN_LEFT, STYLE_HEADING, "the strongest");
    for (int k = 0; k < n; k++)
        draw_listed(app, canvas, (struct area){area.y + 1 + k, area.x, 1, area.w}, weights, token[k]);
}

/* Why there is no attention to show, or NULL. */
static const char *attention_obstacle(const struct app *app)
{
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    const struct qk_pair_layer *layer = selected_layer(app);
    struct qk_session_needle needle;
    if (layer != NULL && view->needle)
        return qk_session_needle(app->session, layer->index, &needle) ? NULL : layer_obstacle(layer);
    const char *why = layer != NULL ? range_obstacle(app, layer->index) : "no layer is selected";
    return why == NULL && view->n_ids == 0 ? "there is no probe" : why;
}

/* The text takes the rows that the list of the strongest leaves, and at most its lines. */
void place_attention(struct app *app, const struct canvas *canvas, struct area area)
{
    struct attention_view *view = app->state[SCREEN_ATTENTION];
    int width = area.w - 2, rest = area.h - FIXED_ROWS, listed = rest * 2 / 5;
    if (attention_obstacle(app) != NULL)
        return;
    if (view->width != width)
        wrap_tokens(app, canvas, width);
    if (view->n_lines < (size_t)(rest - listed))
        listed = rest - (int)view->n_lines;
    view->listed = listed > MOST_LISTED ? MOST_LISTED : listed;
    view->height = rest - view->listed;
}

void draw_attention(const struct app *app, struct canvas *canvas, struct area area)
{
    char heading[160];
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    const char *why = attention_obstacle(app);
    if (why != NULL) {
        draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, "attention");
        draw_wrapped(canvas, (struct area){area.y + 1, area.x + 1, area.h - 1, area.w - 2}, STYLE_DIM, why);
        return;
    }
    int layer = selected_layer(app)->index, head = range_head(app);
    int x = area.x + 1, y = area.y, width = area.w - 2;
    struct weights weights = {.n = view->query + 1};
    for (int s = 0; s < N_ATTENTION_SIDES; s++)
        weights.row[s] =
            view->needle
                ? qk_session_needle_row(app->session, layer, head, view->query, (enum qk_range_side)s)
                : qk_session_attention_row(app->session, layer, head, view->query, (enum qk_range_side)s);
    snprintf(heading, sizeof heading, "%s of layer %d, q%d,%s from token %zu of %zu",
        app->pair->layer[layer].kind == QK_LINEAR ? "coefficients" : "attention", layer, head,
        view->needle ? " on a needle," : "", view->query, view->n_ids);
    draw_rule(canvas, y++, area.x, area.w, STYLE_FOCUS, heading);
    draw_overview(canvas, (struct area){y, x, N_ATTENTION_SIDES, width}, &weights);
    y += N_ATTENTION_SIDES;
    draw_legend(app, canvas, y++, x, width);
    draw_probe_text(app, canvas, (struct area){y, x, view->height, width}, &weights);
    y += view->height;
    draw_strongest(app, canvas, (struct area){y, x, view->listed + 1, width}, &weights);
}
