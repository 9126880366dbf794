/* attention_view.c - the tokens of a needle prompt or the probe as text and lines, with moves and search in them. */
#include "ui/views/attention_view.h"

#include "base/mem.h"
#include "ui/dispatch.h"
#include "ui/handlers.h"
#include "ui/message.h"
#include "ui/views/layers_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- tokens as text --- */

static const char *piece_of(const struct app *app, size_t i, size_t *n)
{
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    return view->needle ? qk_session_needle_piece(app->session, i, n)
                        : qk_session_probe_piece(app->session, i, n);
}

/* The needle whose text is shown; NULL: the probe's is. */
static const struct qk_needle *shown_needle(const struct app *app)
{
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    int shown = qk_session_needle_shown(app->session);
    return view->needle && shown >= 0 ? &qk_session_needles_state(app->session)->kept->needles.item[shown]
                                      : NULL;
}

bool is_needle_token(const struct app *app, size_t i)
{
    const struct qk_needle *needle = shown_needle(app);
    if (needle == NULL)
        return false;
    bool there = i >= needle->place[0] && i <= needle->place[needle->n_answer - 1];
    return there || i > needle->query[0]; /* behind the first query is the answer */
}

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
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    size_t n = 0, length, left = 0;
    const char *piece = piece_of(app, i, &length);
    if (piece == NULL)
        return (size_t)snprintf(out, PIECE_TEXT, "%d ", view->ids[i]);
    for (size_t k = 0; k < length && n + 1 < PIECE_TEXT; k++) {
        if (i > 0 && n == 0 && continues(piece[k]))
            continue;
        left = continues(piece[k]) ? (left > 0 ? left - 1 : 0) : character_bytes(piece[k]) - 1;
        out[n++] = piece[k];
    }
    for (size_t next = i + 1; left > 0 && next < view->n_ids; next++) {
        piece = piece_of(app, next, &length);
        for (size_t k = 0; k < length && left > 0 && n + 1 < PIECE_TEXT; k++, left--) {
            if (!continues(piece[k]))
                return n;
            out[n++] = piece[k];
        }
    }
    return n;
}

char *token_text(const struct app *app, size_t i, char out[PIECE_TEXT], bool *ends)
{
    char bytes[PIECE_TEXT];
    size_t length = token_bytes(app, i, bytes), n = 0;
    if (ends != NULL)
        *ends = memchr(bytes, '\n', length) != NULL;
    if (is_needle_token(app, i) && (i == 0 || !is_needle_token(app, i - 1)))
        out[n++] = '[';
    for (size_t k = 0; k < length && n + 9 < PIECE_TEXT; k++) {
        unsigned char c = (unsigned char)bytes[k];
        if (c == '\n' || c == '\t')
            n += (size_t)snprintf(out + n, PIECE_TEXT - n, "%s",
                theme_glyph(&app->theme, c == '\n' ? GLYPH_NEWLINE : GLYPH_TAB));
        else if (c < 0x20 || c == 0x7f)
            n += (size_t)snprintf(out + n, PIECE_TEXT - n, "^%c", c ^ 0x40);
        else
            out[n++] = (char)c;
    }
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    if (is_needle_token(app, i) && (i + 1 == view->n_ids || !is_needle_token(app, i + 1)))
        out[n++] = ']';
    out[n] = '\0';
    return out;
}

/* --- lines --- */

void attention_follow(struct app *app)
{
    struct attention_view *view = app->state[SCREEN_ATTENTION];
    const struct qk_probe_state *state = qk_session_probe_state(app->session);
    const struct qk_needle *needle = shown_needle(app);
    const int32_t *ids = needle != NULL ? needle->ids : state->ids;
    size_t n_ids = needle != NULL ? needle->T : state->n_ids;
    view->needle = needle != NULL;
    if (view->ids == ids && view->n_ids == n_ids)
        return;
    view->ids = ids;
    view->n_ids = n_ids;
    view->query = needle != NULL ? needle->query[0] : n_ids > 0 ? n_ids - 1 : 0;
    view->n_lines = 0;
    view->width = 0;
}

void wrap_tokens(struct app *app, const struct canvas *canvas, int width)
{
    struct attention_view *view = app->state[SCREEN_ATTENTION];
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

size_t line_of(const struct attention_view *view, size_t token)
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
    struct attention_view *view = app->state[SCREEN_ATTENTION];
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

/* True when the word begins in token i, without regard to case. */
static bool begins_in(const struct app *app, size_t i, const char *word)
{
    const struct attention_view *view = app->state[SCREEN_ATTENTION];
    char text[PIECE_TEXT * 2];
    size_t own = token_bytes(app, i, text), n = own;
    for (size_t next = i + 1; next < view->n_ids && n < own + strlen(word); next++) {
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
    struct attention_view *view = app->state[SCREEN_ATTENTION];
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

static void end_attention(void *state)
{
    struct attention_view *view = state;
    free(view->line);
}

const struct screen_ops attention_screen = {
    .state_size = sizeof(struct attention_view),
    .place = place_attention,
    .draw = draw_attention,
    .go = go_attention,
    .find = find_token,
    .report = attention_follow,
    .end = end_attention,
};

/* --- handlers --- */

unsigned run_attention(struct app *app, enum action action, const char *argument)
{
    struct attention_view *view = app->state[SCREEN_ATTENTION];
    struct qk_session_needle needle;
    (void)action;
    (void)argument;
    if (top_screen(app) != SCREEN_ATTENTION) {
        view->needle = qk_session_needle(app->session, app->rows.selected, &needle);
        attention_follow(app);
    }
    return toggle_screen(app, SCREEN_ATTENTION);
}

unsigned run_text(struct app *app, enum action action, const char *argument)
{
    struct attention_view *view = app->state[SCREEN_ATTENTION];
    (void)action;
    (void)argument;
    view->needle = !view->needle;
    attention_follow(app);
    say(app, STYLE_DIM, "attention on %s", view->needle ? "a needle prompt" : "the probe text");
    return REFRESH_DRAW;
}

unsigned run_side(struct app *app, enum action action, const char *argument)
{
    struct attention_view *view = app->state[SCREEN_ATTENTION];
    (void)action;
    (void)argument;
    view->side = (enum qk_range_side)(((int)view->side + 1) % N_ATTENTION_SIDES);
    say(app, STYLE_DIM, "shaded by the attention of %s", ATTENTION_SIDES[view->side].name);
    return REFRESH_DRAW;
}

unsigned run_query(struct app *app, enum action action, const char *argument)
{
    struct attention_view *view = app->state[SCREEN_ATTENTION];
    if (argument == NULL)
        return ask_argument(app, action, "token ", "", "number of a token of the probe");
    char *end;
    long number = strtol(argument, &end, 10);
    if (end == argument || *end != '\0' || number < 0 || (size_t)number >= view->n_ids)
        return say_failure(app, "query: '%s' is no token of the probe (0 to %zu)", argument,
            view->n_ids > 0 ? view->n_ids - 1 : 0);
    view->query = (size_t)number;
    return REFRESH_DRAW;
}
