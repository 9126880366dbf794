/* prompt.h - a one-line editor with history and completion; knows text, not what it is for. */
#ifndef QK_UI_PROMPT_H
#define QK_UI_PROMPT_H

#include "ui/draw.h"

#include "base/text.h"

#include <stdbool.h>

enum { PROMPT_TEXT = 1024 };

/* What may stand in place of the text's tail: fills `to` with whole new texts. */
typedef void prompt_completer(void *context, const char *text, struct qk_lines *to);

struct prompt {
    bool open;
    char label[64];
    char text[PROMPT_TEXT];
    size_t cursor;            /* byte offset, at the start of a character */
    bool offered;             /* text is an offer, which the first character typed replaces */
    char note[QK_ERROR_TEXT]; /* shown above: a hint, the completions, or a fault */
    bool wrong;               /* note is a fault */
    struct qk_lines *history; /* borrowed; newest last */
    size_t at;                /* line of the history that is shown; history->n: what was typed */
    char typed[PROMPT_TEXT];  /* kept while the history is walked */
};

enum prompt_result { PROMPT_GOES_ON, PROMPT_CHANGED, PROMPT_ACCEPTED, PROMPT_CANCELLED };

/* `initial` is an offer: Enter accepts it, an editing key edits it, typing replaces it. */
void prompt_open(struct prompt *prompt, const char *label, const char *initial, const char *note,
    struct qk_lines *history);
enum prompt_result prompt_key(struct prompt *prompt, int key, prompt_completer *complete, void *context);
/* Adds the text to the history and closes. */
void prompt_accept(struct prompt *prompt);
/* Draws label and text in the row and returns the cursor's column. */
int prompt_draw(const struct prompt *prompt, struct canvas *canvas, int y, int x, int width);

#endif
