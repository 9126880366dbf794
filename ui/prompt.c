/* prompt.c - line editing. Text is UTF-8; the cursor always stands between characters. */
#include "ui/prompt.h"

#include "ui/key.h"

#include <curses.h>
#include <stdio.h>
#include <string.h>

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static void go(struct prompt *prompt, int direction)
{
    size_t length = strlen(prompt->text);
    if (direction < 0 && prompt->cursor > 0)
        do
            prompt->cursor--;
        while (prompt->cursor > 0 && continues(prompt->text[prompt->cursor]));
    if (direction > 0 && prompt->cursor < length)
        do
            prompt->cursor++;
        while (continues(prompt->text[prompt->cursor]));
}

/* Removes the bytes [from, to) and puts the cursor there. */
static void cut(struct prompt *prompt, size_t from, size_t to)
{
    memmove(prompt->text + from, prompt->text + to, strlen(prompt->text + to) + 1);
    prompt->cursor = from;
}

static void insert(struct prompt *prompt, int key)
{
    char bytes[4];
    size_t n = 0;
    unsigned code = (unsigned)key;
    if (code < 0x80) {
        bytes[n++] = (char)code;
    } else if (code < 0x800) {
        bytes[n++] = (char)(0xc0 | code >> 6);
        bytes[n++] = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        bytes[n++] = (char)(0xe0 | code >> 12);
        bytes[n++] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[n++] = (char)(0x80 | (code & 0x3f));
    } else {
        bytes[n++] = (char)(0xf0 | code >> 18);
        bytes[n++] = (char)(0x80 | (code >> 12 & 0x3f));
        bytes[n++] = (char)(0x80 | (code >> 6 & 0x3f));
        bytes[n++] = (char)(0x80 | (code & 0x3f));
    }
    size_t length = strlen(prompt->text);
    if (length + n >= PROMPT_TEXT)
        return;
    memmove(prompt->text + prompt->cursor + n, prompt->text + prompt->cursor, length - prompt->cursor + 1);
    memcpy(prompt->text + prompt->cursor, bytes, n);
    prompt->cursor += n;
}

static void set_text(struct prompt *prompt, const char *text)
{
    snprintf(prompt->text, sizeof prompt->text, "%s", text);
    prompt->cursor = strlen(prompt->text);
}

static void walk_history(struct prompt *prompt, int direction)
{
    if (prompt->history == NULL)
        return;
    if (direction < 0 && prompt->at > 0) {
        if (prompt->at == prompt->history->n)
            memcpy(prompt->typed, prompt->text, sizeof prompt->typed);
        set_text(prompt, prompt->history->line[--prompt->at]);
    } else if (direction > 0 && prompt->at < prompt->history->n) {
        prompt->at++;
        set_text(prompt, prompt->at < prompt->history->n ? prompt->history->line[prompt->at] : prompt->typed);
    }
}

/* The word before the cursor, as Ctrl-W takes it: blanks, then what is not blank, '/' or ':'. */
static size_t word_start(const struct prompt *prompt)
{
    size_t i = prompt->cursor;
    while (i > 0 && strchr(" /:", prompt->text[i - 1]) != NULL)
        i--;
    while (i > 0 && strchr(" /:", prompt->text[i - 1]) == NULL)
        i--;
    return i;
}

/* Replaces the text by the common start of all candidates, and lists them when that adds nothing. */
static bool run_completion(struct prompt *prompt, prompt_completer *complete, void *context)
{
    struct qk_lines found = {0};
    complete(context, prompt->text, &found);
    if (found.n == 0)
        return false;
    size_t shared = strlen(found.line[0]);
    for (size_t i = 1; i < found.n; i++) {
        size_t k = 0;
        while (k < shared && found.line[i][k] == found.line[0][k])
            k++;
        shared = k;
    }
    while (shared > 0 && continues(found.line[0][shared]))
        shared--;
    bool longer = shared > strlen(prompt->text);
    if (longer || found.n == 1) {
        found.line[0][shared] = '\0';
        set_text(prompt, found.line[0]);
    }
    size_t used = 0;
    prompt->note[0] = '\0';
    for (size_t i = 0; found.n > 1 && i < found.n && used < sizeof prompt->note; i++) {
        /* Shows the candidates from their last word on, without the part that they share. */
        const char *word = found.line[i];
        const char *cut_at = strrchr(found.line[0], ' ');
        size_t skip = cut_at != NULL && (size_t)(cut_at - found.line[0]) < shared
                          ? (size_t)(cut_at - found.line[0]) + 1
                          : 0;
        used += (size_t)snprintf(prompt->note + used, sizeof prompt->note - used, "%s  ", word + skip);
    }
    prompt->wrong = false;
    qk_lines_free(&found);
    return true;
}

void prompt_open(
    struct prompt *prompt, const char *label, const char *initial, const char *note, struct qk_lines *history)
{
    *prompt = (struct prompt){.open = true, .history = history, .at = history != NULL ? history->n : 0};
    snprintf(prompt->label, sizeof prompt->label, "%s", label);
    snprintf(prompt->note, sizeof prompt->note, "%s", note);
    set_text(prompt, initial);
    prompt->offered = initial[0] != '\0';
}

void prompt_accept(struct prompt *prompt)
{
    struct qk_lines *history = prompt->history;
    bool again =
        history != NULL && history->n > 0 && strcmp(history->line[history->n - 1], prompt->text) == 0;
    if (history != NULL && prompt->text[0] != '\0' && !again)
        qk_lines_add(history, NULL, "%s", prompt->text); /* without memory the history lacks a line */
    prompt->open = false;
}

/* Keys that change the text; false when the key is none of them. */
static bool edit(struct prompt *prompt, int key)
{
    size_t before = prompt->cursor;
    switch (key) {
    case KEY_OF_CURSES(KEY_BACKSPACE):
        go(prompt, -1);
        cut(prompt, prompt->cursor, before);
        return true;
    case KEY_OF_CURSES(KEY_DC):
        go(prompt, 1);
        cut(prompt, before, prompt->cursor);
        return true;
    case 'U' & 0x1f:
        cut(prompt, 0, prompt->cursor);
        return true;
    case 'K' & 0x1f:
        prompt->text[prompt->cursor] = '\0';
        return true;
    case 'W' & 0x1f:
        cut(prompt, word_start(prompt), prompt->cursor);
        return true;
    case KEY_OF_CURSES(KEY_UP):
    case 'P' & 0x1f:
        walk_history(prompt, -1);
        return true;
    case KEY_OF_CURSES(KEY_DOWN):
    case 'N' & 0x1f:
        walk_history(prompt, 1);
        return true;
    default:
        if (key < 0x20 || key == 0x7f || key > 0x10ffff)
            return false;
        if (prompt->offered)
            set_text(prompt, "");
        insert(prompt, key);
        return true;
    }
}

static void travel(struct prompt *prompt, int key)
{
    if (key == KEY_OF_CURSES(KEY_LEFT) || key == ('B' & 0x1f))
        go(prompt, -1);
    else if (key == KEY_OF_CURSES(KEY_RIGHT) || key == ('F' & 0x1f))
        go(prompt, 1);
    else if (key == KEY_OF_CURSES(KEY_HOME) || key == ('A' & 0x1f))
        prompt->cursor = 0;
    else if (key == KEY_OF_CURSES(KEY_END) || key == ('E' & 0x1f))
        prompt->cursor = strlen(prompt->text);
}

enum prompt_result prompt_key(struct prompt *prompt, int key, prompt_completer *complete, void *context)
{
    bool empty = prompt->text[0] == '\0';
    if (key == '\n')
        return PROMPT_ACCEPTED;
    if (key == 27 || key == ('C' & 0x1f) || (key == KEY_OF_CURSES(KEY_BACKSPACE) && empty)) {
        prompt->open = false;
        return PROMPT_CANCELLED;
    }
    if (key == '\t')
        return complete != NULL && run_completion(prompt, complete, context) ? PROMPT_CHANGED
                                                                             : PROMPT_GOES_ON;
    bool changed = edit(prompt, key);
    prompt->offered = false;
    if (changed) {
        prompt->wrong = false;
        return PROMPT_CHANGED;
    }
    travel(prompt, key);
    return PROMPT_GOES_ON;
}

int prompt_draw(const struct prompt *prompt, struct canvas *canvas, int y, int x, int width)
{
    char before[PROMPT_TEXT], shown[PROMPT_TEXT * 4];
    int used = draw_run(canvas, y, x, width, STYLE_STRONG, prompt->label);
    x += used;
    width -= used;
    snprintf(before, sizeof before, "%.*s", (int)prompt->cursor, prompt->text);
    qk_printable(shown, sizeof shown, before);
    int cursor = text_cells(canvas, shown);
    qk_printable(shown, sizeof shown, prompt->text);
    int all = text_cells(canvas, shown);
    /* A long text slides so that the cursor stays in sight, by whole characters: some have two cells. */
    const char *from = shown;
    while (cursor >= width && *from != '\0') {
        do
            from++;
        while (continues(*from));
        cursor += text_cells(canvas, from) - all;
        all = text_cells(canvas, from);
    }
    draw_text(canvas, y, x, width, ALIGN_LEFT, prompt->offered ? STYLE_DIM : STYLE_TEXT, from);
    return x + cursor;
}
