/* attention_view.c - the view of one head's attention from one token of the probe: over its whole past, shaded on
 * the text itself, and the tokens that get most of it. */
#include "ui/app.h"

#include "base/mem.h"
#include "ui/format.h"
#include "ui/handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_SIDES = 3,
    LABEL_CELLS = 8,
    PIECE_TEXT = 256,
    MOST_CELLS = 512,
    MOST_LISTED = 16,
    CONTEXT_TEXT = 1024
};
enum { FIXED_ROWS = 6, TOKEN_CELLS = 7, DISTANCE_CELLS = 9, WEIGHT_CELLS = 8, GAP = 2 };

static const struct {
    const char *name;
    enum style style;
} SIDES[N_SIDES] = {{"pre", STYLE_PRE}, {"post", STYLE_POST}, {"current", STYLE_CHOICE}};

void attention_free(struct app *app)
{
    free(app->attention.line);
}

/* --- tokens as text --- */

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static size_t character_bytes(char lead)
{
    unsigned char c = (unsigned char)lead;
    return c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* The characters that begin in token i, as bytes: a character that two tokens share belongs to the first. */
static size_t token_bytes(const struct app *app, size_t i, char out[PIECE_TEXT])
{
    size_t n = 0, length, left = 0;
    const char *piece = qk_session_probe_piece(app->session, i, &length);
    if (piece == NULL)
        return (size_t)snprintf(out, PIECE_TEXT, "%d ", app->attention.ids[i]);
    for (size_t k = 0; k < length && n + 1 < PIECE_TEXT; k++) {
        if (i > 0 && n == 0 && continues(piece[k]))
            continue;
        left = continues(piece[k]) ? (left > 0 ? left - 1 : 0) : character_bytes(piece[k]) - 1;
        out[n++] = piece[k];
    }
    for (size_t next = i + 1; left > 0 && next < app->attention.n_ids; next++) {
        piece = qk_session_probe_piece(app->session, next, &length);
        for (size_t k = 0; k < length && left > 0 && n + 1 < PIECE_TEXT; k++, left--) {
            if (!continues(piece[k]))
                return n;
            out[n++] = piece[k];
        }
    }
    return n;
}

/* The same with every control character made visible; *ends (may be NULL): a line ends with it. */
static char *token_text(const struct app *app, size_t i, char out[PIECE_TEXT], bool *ends)
{
    char bytes[PIECE_TEXT];
    size_t length = token_bytes(app, i, bytes), n = 0;
    if (ends != NULL)
        *ends = memchr(bytes, '\n', length) != NULL;
    for (size_t k = 0; k < length && n + 8 < PIECE_TEXT; k++) {
        unsigned char c = (unsigned char)bytes[k];
        if (c == '\n' || c == '\t')
            n += (size_t)snprintf(out + n, PIECE_TEXT - n, "%s",
                theme_glyph(&app->theme, c == '\n' ? GLYPH_NEWLINE : GLYPH_TAB));
        else if (c < 0x20 || c == 0x7f)
            n += (size_t)snprintf(out + n, PIECE_TEXT - n, "^%c", c ^ 0x40);
        else
            out[n++] = (char)c;
    }
    out[n] = '\0';
    return out;
}

/* --- lines --- */

void attention_sync(struct app *app)
{
    struct attention_view *view = &app->attention;
    const struct qk_probe_state *state = qk_session_probe_state(app->session);
    if (view->ids == state->ids && view->n_ids == state->n_ids)
        return;
    view->ids = state->ids;
    view->n_ids = state->n_ids;
    view->query = view->n_ids > 0 ? view->n_ids - 1 : 0;
    view->n_lines = 0;
    view->width = 0;
}

static void wrap(struct app *app, const struct canvas *canvas, int width)
{
    struct attention_view *view = &app->attention;
    int used = width + 1;
    view->n_lines = 0;
    view->width = width;
    for (size_t i = 0; i < view->n_ids; i++) {
        char text[PIECE_TEXT];
        bool ends;
        int cells = text_cells(canvas, token_text(app, i, text, &ends));
        if (used > 0 && used + cells > width) {
            if (qk_grow(&view->line, &view->capacity, view->n_lines + 1, sizeof *view->line, NULL) != QK_OK)
                return;
            view->line[view->n_lines++] = i;
            used = 0;
        }
        used = ends ? width + 1 : used + cells;
    }
}

static size_t line_of(const struct attention_view *view, size_t token)
{
    size_t low = 0, high = view->n_lines;
    while (low + 1 < high) {
        size_t middle = (low + high) / 2;
        if (view->line[middle] <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* --- weights --- */

/* Weights of one query, by side; NULL: not known yet. */
struct weights {
    const float *row[N_SIDES];
    size_t n;
};

/* How strong a weight is, 0 to WEIGHT_LEVELS - 1: against attention that is even over the past. */
static const int TIMES_EVEN[WEIGHT_LEVELS] = {0, 1, 4, 16, 64};

static enum style weight_style(const struct weights *weights, int side, size_t i)
{
    int level = 0;
    double weight = weights->row[side] != NULL ? (double)weights->row[side][i] : 0;
    for (int k = 1; k < WEIGHT_LEVELS; k++)
        if (weight * (double)weights->n >= TIMES_EVEN[k])
            level = k;
    if (weight >= 0.5) /* few tokens: nothing can be 64 times even */
        level = WEIGHT_LEVELS - 1;
    return (enum style)(STYLE_WEIGHT + level);
}

/* The tokens with the largest weights, the largest first; returns how many. */
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

/* What goes to each stretch of the past, from its first token to the query. */
static void draw_overview(struct canvas *canvas, struct area area, const struct weights *weights)
{
    double value[N_SIDES][MOST_CELLS] = {{0}}, top = 0;
    int cells = area.w - LABEL_CELLS;
    cells = cells > MOST_CELLS ? MOST_CELLS : cells;
    cells = (size_t)cells > weights->n ? (int)weights->n : cells;
    for (int s = 0; s < N_SIDES; s++) {
        for (size_t i = 0; weights->row[s] != NULL && i < weights->n; i++)
            value[s][i * (size_t)cells / weights->n] += (double)weights->row[s][i];
        for (int c = 0; c < cells; c++)
            top = value[s][c] > top ? value[s][c] : top;
    }
    for (int s = 0; s < N_SIDES; s++) {
        struct area bar = {area.y + s, area.x + LABEL_CELLS, 1, cells};
        draw_text(canvas, bar.y, area.x, LABEL_CELLS, ALIGN_LEFT, SIDES[s].style, SIDES[s].name);
        if (weights->row[s] != NULL)
            draw_columns(canvas, bar, SIDES[s].style, value[s], cells, top);
        else
            draw_run(canvas, bar.y, bar.x, area.w - LABEL_CELLS, STYLE_PENDING, "computing");
    }
}

static void draw_legend(const struct app *app, struct canvas *canvas, int y, int x, int width)
{
    int end = x + width, side = (int)app->attention.side;
    x += draw_run(canvas, y, x, end - x, STYLE_DIM, "shaded by ");
    x += draw_run(canvas, y, x, end - x, SIDES[side].style, SIDES[side].name);
    x += draw_run(canvas, y, x, end - x, STYLE_DIM, ", times even: ");
    for (int k = 0; k < WEIGHT_LEVELS; k++) {
        x += draw_format(canvas, y, x, end - x, (enum style)(STYLE_WEIGHT + k), k == 0 ? "less" : "%s%d",
            theme_glyph(&app->theme, GLYPH_AT_LEAST), TIMES_EVEN[k]);
        x += 2;
    }
}

static int draw_token(
    const struct app *app, struct canvas *canvas, struct area cell, const struct weights *weights, size_t i)
{
    char text[PIECE_TEXT];
    const struct attention_view *view = &app->attention;
    bool query = i == view->query;
    enum style style = query             ? STYLE_STRONG
                       : i > view->query ? STYLE_GONE
                                         : weight_style(weights, (int)view->side, i);
    if (query) {
        canvas->cursor_y = cell.y;
        canvas->cursor_x = cell.x;
    }
    canvas->selected = query;
    int used = draw_run(canvas, cell.y, cell.x, cell.w, style, token_text(app, i, text, NULL));
    canvas->selected = false;
    return used;
}

/* The text around the query, most of it before. */
static void draw_probe_text(
    const struct app *app, struct canvas *canvas, struct area area, const struct weights *weights)
{
    const struct attention_view *view = &app->attention;
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

/* A token with what stands before and after it, all tokens of a list under each other. */
static void draw_context(
    const struct app *app, struct canvas *canvas, struct area cell, enum style style, size_t i)
{
    enum { TOKENS_BEFORE = 12, TOKENS_AFTER = 16 };
    const struct attention_view *view = &app->attention;
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
    const int side = (int)app->attention.side;
    int x = row.x + TOKEN_CELLS + DISTANCE_CELLS, end = row.x + row.w;
    draw_format(canvas, row.y, row.x, TOKEN_CELLS, STYLE_TEXT, "%*zu", TOKEN_CELLS, i);
    draw_format(canvas, row.y, row.x + TOKEN_CELLS, DISTANCE_CELLS, STYLE_TEXT, "%*zu", DISTANCE_CELLS,
        app->attention.query - i);
    for (int s = 0; s < N_SIDES; s++, x += WEIGHT_CELLS) {
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
    size_t token[MOST_LISTED];
    int side = (int)app->attention.side, x = area.x;
    int n = strongest(weights, side, token, area.h - 1 > MOST_LISTED ? MOST_LISTED : area.h - 1);
    draw_text(canvas, area.y, x, TOKEN_CELLS, ALIGN_RIGHT, STYLE_HEADING, "token");
    draw_text(canvas, area.y, x + TOKEN_CELLS, DISTANCE_CELLS, ALIGN_RIGHT, STYLE_HEADING, "distance");
    x += TOKEN_CELLS + DISTANCE_CELLS;
    for (int s = 0; s < N_SIDES; s++, x += WEIGHT_CELLS)
        draw_text(canvas, area.y, x, WEIGHT_CELLS, ALIGN_RIGHT, SIDES[s].style, SIDES[s].name);
    draw_text(canvas, area.y, x + GAP, area.x + area.w - x - GAP, ALIGN_LEFT, STYLE_HEADING, "the strongest");
    for (int k = 0; k < n; k++)
        draw_listed(app, canvas, (struct area){area.y + 1 + k, area.x, 1, area.w}, weights, token[k]);
}

/* Why there is no attention to show, or NULL. */
static const char *attention_obstacle(const struct app *app)
{
    const struct qk_pair_layer *layer = selected_layer(app);
    const char *why = layer != NULL ? range_obstacle(app, layer->index) : "no layer is selected";
    return why == NULL && app->attention.n_ids == 0 ? "there is no probe" : why;
}

/* The text takes what the list of the strongest leaves, and no more than its lines. */
static void place_attention(struct app *app, const struct canvas *canvas, struct area area)
{
    struct attention_view *view = &app->attention;
    int width = area.w - 2, rest = area.h - FIXED_ROWS, listed = rest * 2 / 5;
    if (attention_obstacle(app) != NULL)
        return;
    if (view->width != width)
        wrap(app, canvas, width);
    if (view->n_lines < (size_t)(rest - listed))
        listed = rest - (int)view->n_lines;
    view->listed = listed > MOST_LISTED ? MOST_LISTED : listed;
    view->height = rest - view->listed;
}

static void draw_attention(const struct app *app, struct canvas *canvas, struct area area)
{
    char heading[160];
    const struct attention_view *view = &app->attention;
    const char *why = attention_obstacle(app);
    if (why != NULL) {
        draw_rule(canvas, area.y, area.x, area.w, STYLE_HEADING, "attention");
        draw_wrapped(canvas, (struct area){area.y + 1, area.x + 1, area.h - 1, area.w - 2}, STYLE_DIM, why);
        return;
    }
    int layer = selected_layer(app)->index, head = range_head(app);
    int x = area.x + 1, y = area.y, width = area.w - 2;
    struct weights weights = {.n = view->query + 1};
    for (int s = 0; s < N_SIDES; s++)
        weights.row[s] =
            qk_session_attention_row(app->session, layer, head, view->query, (enum qk_range_side)s);
    snprintf(heading, sizeof heading, "attention of layer %d, q%d, from token %zu of %zu", layer, head,
        view->query, view->n_ids);
    draw_rule(canvas, y++, area.x, area.w, STYLE_FOCUS, heading);
    draw_overview(canvas, (struct area){y, x, N_SIDES, width}, &weights);
    y += N_SIDES;
    draw_legend(app, canvas, y++, x, width);
    draw_probe_text(app, canvas, (struct area){y, x, view->height, width}, &weights);
    y += view->height;
    draw_strongest(app, canvas, (struct area){y, x, view->listed + 1, width}, &weights);
}

/* --- moving and finding --- */

static void move_query(struct attention_view *view, long by)
{
    if (by < 0)
        view->query = (size_t)-by > view->query ? 0 : view->query - (size_t)-by;
    else
        view->query += (size_t)by;
    if (view->query >= view->n_ids)
        view->query = view->n_ids > 0 ? view->n_ids - 1 : 0;
}

static void move_lines(struct attention_view *view, int by)
{
    if (view->n_lines == 0)
        return;
    size_t line = line_of(view, view->query), last = view->n_lines - 1;
    if (by < 0)
        line = (size_t)-by > line ? 0 : line - (size_t)-by;
    else
        line = line + (size_t)by > last ? last : line + (size_t)by;
    view->query = line == last && by > 0 ? view->n_ids - 1 : view->line[line];
}

static void move_head(struct app *app, int by)
{
    int n = selected_layer(app)->side[QK_POST]->role[QK_Q].n_heads, head = range_head(app) + by;
    app->head = head < 0 ? 0 : head >= n ? n - 1 : head;
}

static void go_attention(struct app *app, enum action action)
{
    struct attention_view *view = &app->attention;
    int page = view->height > 1 ? view->height - 1 : 1, half = (page + 1) / 2;
    if (selected_layer(app) == NULL || view->n_ids == 0)
        return;
    switch (action) {
    case ACTION_UP:
    case ACTION_DOWN:
        move_head(app, action == ACTION_UP ? -1 : 1);
        break;
    case ACTION_PAGE_UP:
    case ACTION_PAGE_DOWN:
        move_lines(view, action == ACTION_PAGE_UP ? -page : page);
        break;
    case ACTION_HALF_UP:
    case ACTION_HALF_DOWN:
        move_lines(view, action == ACTION_HALF_UP ? -half : half);
        break;
    case ACTION_FIRST:
        view->query = 0;
        break;
    case ACTION_LAST:
        view->query = view->n_ids - 1;
        break;
    default:
        move_query(view, action == ACTION_EARLIER ? -1 : 1);
        break;
    }
}

/* True when the word begins in token i, whatever the case of its letters. */
static bool begins_in(const struct app *app, size_t i, const char *word)
{
    char text[PIECE_TEXT * 2];
    size_t own = token_bytes(app, i, text), n = own;
    for (size_t next = i + 1; next < app->attention.n_ids && n < own + strlen(word); next++) {
        if (n + PIECE_TEXT > sizeof text)
            break;
        n += token_bytes(app, next, text + n);
    }
    text[n < sizeof text ? n : sizeof text - 1] = '\0';
    const char *at = strcasestr(text, word);
    return at != NULL && at < text + own;
}

static bool find_token(struct app *app, bool backwards)
{
    struct attention_view *view = &app->attention;
    size_t n = view->n_ids;
    for (size_t k = 1; k <= n; k++) {
        size_t at = (view->query + (backwards ? n - k : k)) % n;
        if (!begins_in(app, at, app->rows.search))
            continue;
        view->query = at;
        return true;
    }
    return false;
}

const struct screen_ops attention_screen = {
    .where = ON_ATTENTION,
    .place = place_attention,
    .draw = draw_attention,
    .go = go_attention,
    .find = find_token,
};

/* --- handlers --- */

unsigned run_attention(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    if (top_screen(app) == &attention_screen)
        close_screen(app); /* the key that opened it closes it too */
    else
        open_screen(app, &attention_screen);
    return REFRESH_DRAW;
}

unsigned run_side(struct app *app, enum action action, const char *argument)
{
    (void)action;
    (void)argument;
    app->attention.side = (enum qk_range_side)(((int)app->attention.side + 1) % N_SIDES);
    say(app, STYLE_DIM, "shaded by the attention of %s", SIDES[app->attention.side].name);
    return REFRESH_DRAW;
}

unsigned run_query(struct app *app, enum action action, const char *argument)
{
    if (argument == NULL)
        return ask_argument(app, action, "token ", "", "number of a token of the probe");
    char *end;
    long number = strtol(argument, &end, 10);
    if (end == argument || *end != '\0' || number < 0 || (size_t)number >= app->attention.n_ids)
        return say_failure(app, "query: '%s' is no token of the probe (0 to %zu)", argument,
            app->attention.n_ids > 0 ? app->attention.n_ids - 1 : 0);
    app->attention.query = (size_t)number;
    return REFRESH_DRAW;
}
