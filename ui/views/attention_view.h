/* attention_view.h - the attention of one head from one token of a needle prompt or of the probe: its state
 * (attention_view.c) and drawing (attention_draw.c). */
#ifndef QK_UI_VIEWS_ATTENTION_VIEW_H
#define QK_UI_VIEWS_ATTENTION_VIEW_H

#include "ui/app.h"
#include "ui/screen.h"

enum { PIECE_TEXT = 256, N_ATTENTION_SIDES = 3 };

/* app->state[SCREEN_ATTENTION] */
struct attention_view {
    bool needle; /* the text is a needle prompt, else the probe */
    size_t query;
    enum qk_range_side side; /* whose weights shade the text */
    const int32_t *ids;      /* the text that query and lines belong to */
    size_t n_ids;
    size_t *line; /* first token of each line, wrapped for `width` cells; owned */
    size_t n_lines, capacity;
    int width, height, listed; /* cells and rows of the text, rows of the strongest */
};

/* By enum qk_range_side. */
struct attention_side {
    const char *name;
    enum style style;
};
extern const struct attention_side ATTENTION_SIDES[N_ATTENTION_SIDES];

/* Takes over another text, from its last token, or from the one that answers. It drops everything of the one before.
 */
void attention_follow(struct app *app);
/* True when token i belongs to the needle or to the answer. */
bool is_needle_token(const struct app *app, size_t i);
/* The characters that begin in token i, control characters made visible, needle and answer in brackets; *ends (may be
 * NULL): a line ends with it. */
char *token_text(const struct app *app, size_t i, char out[PIECE_TEXT], bool *ends);
/* Breaks the text into lines of `width` cells. */
void wrap_tokens(struct app *app, const struct canvas *canvas, int width);
/* Line of the token. */
size_t line_of(const struct attention_view *view, size_t token);

void place_attention(struct app *app, const struct canvas *canvas, struct area area);
void draw_attention(const struct app *app, struct canvas *canvas, struct area area);

#endif
