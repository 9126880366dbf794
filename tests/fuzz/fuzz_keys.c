/* fuzz_keys.c - any bytes as keys, clicks, pastes and waits on the screen of a tiny pair. Cursor, views and prompt
 * always stay in range; undo leads to no choices, and redo back to these.
 *
 * The first byte chooses the pair and the options of the screen; each further one is a key, or one of the
 * events below. The target is the terminal (terminal.h), and draws with curses on /dev/null. Prompts are kept
 * from naming files outside the target's own folder. The session's threads run beside it, and their
 * results at a tick differ from run to run. */
#include "fuzz.h"

#include "ui/app.h"
#include "ui/dispatch.h"
#include "ui/key.h"
#include "ui/preconditions.h"
#include "ui/screen.h"
#include "ui/terminal.h"
#include "ui/unsaved.h"
#include "ui/views/attention_view.h"
#include "ui/views/eval_view.h"

#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes that are no keys. From SPECIAL, SIZES and CHARACTERS on, entries of the tables below. PRESS is
 * followed by row and column. */
enum {
    SPECIAL = 0x80,
    SIZES = 0xa0,
    CHARACTERS = 0xb0,
    TICK = 0xc0,
    SETTLE,
    PROBE,
    PASTE_ON,
    PASTE_OFF,
    PRESS,
    WHEEL_UP,
    WHEEL_DOWN,
    LEAVE /* and open the pair again */
};
static const int SPECIAL_KEYS[] = {KEY_OF_CURSES(KEY_UP), KEY_OF_CURSES(KEY_DOWN), KEY_OF_CURSES(KEY_LEFT),
    KEY_OF_CURSES(KEY_RIGHT), KEY_OF_CURSES(KEY_HOME), KEY_OF_CURSES(KEY_END), KEY_OF_CURSES(KEY_PPAGE),
    KEY_OF_CURSES(KEY_NPAGE), KEY_OF_CURSES(KEY_BACKSPACE), KEY_OF_CURSES(KEY_DC), KEY_OF_CURSES(KEY_BTAB),
    KEY_OF_CURSES(KEY_F(1)), KEY_OF_CURSES(KEY_F(5)), KEY_OF_CURSES(KEY_RESIZE), KEY_IGNORED};
static const int SIZE[][2] = {{24, 80}, {15, 60}, {14, 60}, {15, 59}, {1, 1}, {50, 200}, {16, 300}, {120, 61},
    {24, 100}, {20, 70}, {2, 80}, {36, 120}};
static const int CODE_POINTS[] = {
    0xe9, 0x6f22, 0x301, 0x200d, 0x1f600, 0x10ffff, 0xd800, 0xffff, 0x110000, 0x9b};
enum {
    N_SPECIAL = sizeof SPECIAL_KEYS / sizeof SPECIAL_KEYS[0],
    N_SIZES = sizeof SIZE / sizeof SIZE[0],
    N_CHARACTERS = sizeof CODE_POINTS / sizeof CODE_POINTS[0],
    LONGEST = 512,
    MOST_ROWS = 120,
    MOST_COLUMNS = 300,
    AGAIN = 4, /* of so many frames one is drawn twice */
    WAITS = 50 /* of two milliseconds, in one run */
};

const char fuzz_name[] = "keys";
#define ENTER "\n"
#define SETTLED "\xc1"
const struct fuzz_seed fuzz_seeds[] = {FUZZ_SEED("\0  jm++-u\x12" SETTLED "0"),
    FUZZ_SEED(
        "\1" SETTLED "sssS/full" ENTER "nN\\linear" ENTER "Aaab1,2" ENTER "v\x81m" ENTER "\x1b\x1b\x1b"),
    FUZZ_SEED(
        "\0:set all=lerp:0.5" ENTER "uuU\x12:mode qk-pro:0.3" ENTER "x++--p0.7" ENTER ENTER "lhdcE\xc0"),
    FUZZ_SEED("\0j\xc2" SETTLED SETTLED "f\x82\x82" SETTLED "\t\t\x81\x85g:query 3" ENTER SETTLED "/e" ENTER
              "nN m" SETTLED "\xc5\4\7fR\nTg" ENTER "X" SETTLED),
    FUZZ_SEED(
        "\4 e\xa1LFONv" SETTLED "w" SETTLED "v" SETTLED "qwr.json" ENTER "0or.json" ENTER "t\x15x" ENTER),
    FUZZ_SEED("\0t" SETTLED "s1" ENTER SETTLED "h\n\xc0Xqu"),
    FUZZ_SEED("\2?/undo" ENTER "nq!\x8bP\xc5\3\5\xc6\xc7yr"),
    FUZZ_SEED("\0 \xc8o" ENTER "\xc3"
              "ab\xc4/\xb0\xb1\x88\x15\t\t\xc4:\t\tQn\x03y"),
    FUZZ_SEED(
        "\3\xa4j\xa3\xa2 \xa5:layer 3" ENTER "\xa6:sort shift" ENTER "\x83\x83G\xa7gg\x06\x02\x04\x15")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {":set ", ":mode ", ":sort ", ":export ", ":write", ":verify", ":states ",
    ":ids ", ":probe ", ":load r.json\n", ":save r.json\n", ":front 1\n", ":front 9 ev\n", ":evaluate\n",
    "all=", "full", "=restore\n", "lerp:0.5\n", "qk-pro:", "routing>0.1", "q.angle>=4", "\n", "\x1b", "\t",
    "\x15", "\x12", "u", " ", "\xc1", "\xc2", "\xc8", "\xa1", "\xa4", "y", NULL};

/* --- the terminal --- */

static struct {
    const uint8_t *byte;
    size_t n, at;
    bool one_by_one; /* a frame is drawn after each key, not after each burst of them */
    bool given;      /* the one key of this time */
    bool pasting;
    int waits; /* that are left for SETTLE */
    struct pointer pointer;
    char work[64]; /* the folder that is the current one meanwhile, with a slash behind it */
    struct app *app;
} typed;

enum qk_code terminal_check(struct qk_error *err)
{
    return qk_fail(err, QK_USAGE, "the target is the terminal");
}

enum qk_code terminal_start(struct qk_error *err)
{
    return terminal_check(err);
}

unsigned terminal_wait(int other, int milliseconds)
{
    (void)other;
    (void)milliseconds;
    return EVENT_END;
}

void terminal_stop(void)
{
}

void terminal_release(void)
{
}

bool terminal_suspend(bool from_key)
{
    return from_key;
}

void terminal_use_pointer(bool on)
{
    (void)on;
}

bool terminal_copy(const struct qk_lines *names)
{
    fuzz_check(names->n > 0, "something to copy");
    return true;
}

bool terminal_pasting(void)
{
    return typed.pasting;
}

struct pointer terminal_pointer(void)
{
    return typed.pointer;
}

/* May the text be accepted? It may name files: relative to the work folder, or in it. */
static bool stays_inside(const char *text)
{
    bool inside = strncmp(text, typed.work, strlen(typed.work)) == 0;
    return strstr(text, "..") == NULL && strchr(text, '~') == NULL && (inside || strchr(text, '/') == NULL);
}

static const char *make_path(char out[96], const char *name)
{
    snprintf(out, 96, "%s/%s", fuzz_folder(), name);
    return out;
}

static int next_byte(void)
{
    return typed.at < typed.n ? typed.byte[typed.at++] : 0;
}

static int pointer_key(int byte)
{
    typed.pointer = (struct pointer){.kind = byte == PRESS      ? POINTER_PRESS
                                             : byte == WHEEL_UP ? POINTER_UP
                                                                : POINTER_DOWN};
    if (byte == PRESS) {
        typed.pointer.y = next_byte();
        typed.pointer.x = next_byte();
    }
    return KEY_POINTER;
}

/* The key that begins with the next byte; 0 when that is no key. */
static int key_of_input(void)
{
    int byte = typed.at < typed.n ? typed.byte[typed.at] : 0;
    bool special = byte >= SPECIAL && byte < SPECIAL + N_SPECIAL;
    bool character = byte >= CHARACTERS && byte < CHARACTERS + N_CHARACTERS;
    bool pointer = byte >= PRESS && byte <= WHEEL_DOWN;
    if (typed.at == typed.n || (byte >= SPECIAL && !special && !character && !pointer))
        return 0;
    typed.at++;
    if (pointer)
        return pointer_key(byte);
    return key_normal(special     ? SPECIAL_KEYS[byte - SPECIAL]
                      : character ? CODE_POINTS[byte - CHARACTERS]
                                  : byte);
}

int terminal_key(void)
{
    if (typed.one_by_one && typed.given)
        return 0;
    int key = key_of_input();
    typed.given = true;
    if (key == '\n' && typed.app->prompt.open && !typed.pasting && !stays_inside(typed.app->prompt.text))
        return 27;
    return key;
}

void terminal_drain(void)
{
    while (key_of_input() != 0)
        ;
}

/* --- what must hold --- */

static void check_rows(const struct app *app)
{
    const struct rows *rows = &app->rows;
    int n_layers = app->pair->n_layers;
    fuzz_check(rows->n >= 0 && rows->n <= n_layers, "rows are layers");
    for (int i = 0; i < rows->n; i++)
        fuzz_check(rows->layer[i] >= 0 && rows->layer[i] < n_layers, "rows name layers");
    fuzz_check(rows->n == 0 ? rows->selected == -1 : rows_at(rows) >= 0, "the selected layer is in view");
    fuzz_check(rows->anchor >= -1 && rows->anchor < n_layers, "a range begins at a layer");
    fuzz_check(rows->top >= 0 && (rows->top == 0 || rows->top < rows->n), "the first row shown is one");
}

static void check_prompt(const struct prompt *prompt)
{
    size_t length = strnlen(prompt->text, PROMPT_TEXT);
    fuzz_check(length < PROMPT_TEXT && prompt->cursor <= length, "the prompt's cursor is in its text");
    fuzz_check(((unsigned char)prompt->text[prompt->cursor] & 0xc0) != 0x80, "and before a character");
    fuzz_check(
        !prompt->open || prompt->history == NULL || prompt->at <= prompt->history->n, "so is the history's");
}

static void check_screen(const struct app *app)
{
    int rows, columns;
    getmaxyx(stdscr, rows, columns);
    fuzz_check(app->depth >= 1 && app->depth <= SCREEN_DEPTH, "one view at least");
    fuzz_check(app->head >= 0, "a head is selected");
    fuzz_check(getcurx(stdscr) < columns && getcury(stdscr) < rows, "the cursor is on the screen");
    fuzz_check(app->n_hits >= 0 && app->n_hits <= FOOTER_HITS, "the footer's places");
    fuzz_check(memchr(app->message, '\0', sizeof app->message) != NULL, "the message ends");
    const struct attention_view *attention = app->state[SCREEN_ATTENTION];
    if (top_screen(app) == SCREEN_ATTENTION && attention->n_ids > 0)
        fuzz_check(attention->query < attention->n_ids, "the query is a token");
}

/* Numbers of the current model are of the choices that are shown beside them. */
static void check_current(const struct app *app)
{
    const struct qk_selection *selection = qk_session_selection(app->session);
    for (int i = 0; i < app->pair->n_layers; i++) {
        const struct qk_current *current = qk_session_current(app->session, i);
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            fuzz_check(
                current == NULL || qk_choice_equal(current->choice.role[r], selection->choice[i].role[r]),
                "current numbers belong to the present choices");
            fuzz_check(app->pair->layer[i].has_qk || selection->choice[i].role[r].mode == QK_KEEP,
                "only q and k are chosen");
        }
    }
}

/* A frame is of one layout: when nothing happened since, it is drawn again cell by cell as it was. */
static void check_again(struct app *app)
{
    static cchar_t before[MOST_ROWS][MOST_COLUMNS + 1], after[MOST_COLUMNS + 1];
    int rows, columns, y, x;
    getmaxyx(stdscr, rows, columns);
    getyx(stdscr, y, x);
    for (int row = 0; row < rows; row++)
        mvin_wchnstr(row, 0, before[row], columns);
    wmove(stdscr, y, x);
    app_draw(app, REFRESH_DRAW);
    fuzz_check(getcury(stdscr) == y && getcurx(stdscr) == x, "the cursor stays");
    for (int row = 0; row < rows; row++) {
        mvin_wchnstr(row, 0, after, columns);
        fuzz_check(memcmp(before[row], after, (size_t)columns * sizeof *after) == 0,
            "a frame drawn again is the same");
    }
    wmove(stdscr, y, x);
}

static void check(const struct app *app)
{
    check_rows(app);
    check_prompt(&app->prompt);
    check_screen(app);
    check_current(app);
}

static void check_undo(const struct app *app)
{
    struct qk_selection before;
    struct qk_error err = {0};
    int depth = qk_session_undo_depth(app->session), redo = qk_session_redo_depth(app->session);
    fuzz_check(qk_selection_copy(&before, qk_session_selection(app->session), &err) == QK_OK, "memory");
    for (int i = 0; i < depth; i++)
        fuzz_check(qk_session_undo(app->session, NULL), "as deep as it says");
    fuzz_check(
        qk_session_undo_depth(app->session) == 0 && !qk_session_undo(app->session, NULL), "and no deeper");
    fuzz_check(qk_selection_count(qk_session_selection(app->session)) == 0, "undo leads to no choices");
    for (int i = 0; i < depth; i++)
        fuzz_check(qk_session_redo(app->session, NULL), "what was undone can be redone");
    fuzz_check(
        qk_selection_equal(&before, qk_session_selection(app->session)), "and leads to the same choices");
    fuzz_check(qk_session_redo_depth(app->session) == redo, "what could be redone still can");
    qk_selection_free(&before);
}

/* --- one run --- */

/* The pairs and the screen, once. */
static void prepare(void)
{
    static FILE *in, *out;
    char path[96];
    if (out != NULL)
        return;
    setlocale(LC_ALL, "C.UTF-8");
    fuzz_write_pairs();
    setenv(
        "XDG_CACHE_HOME", make_path(path, "cache"), 1); /* passes over the probe are kept from run to run */
    setenv("XDG_STATE_HOME", make_path(path, "work/state"), 1);
    setenv("HOME", make_path(path, "work"), 1);
    snprintf(typed.work, sizeof typed.work, "%s/work/", fuzz_folder());
    setenv("LINES", "24", 1);
    setenv("COLUMNS", "80", 1);
    in = fopen("/dev/null", "r");
    out = fopen("/dev/null", "w");
    fuzz_check(
        in != NULL && out != NULL && newterm("xterm-256color", out, in) != NULL, "a terminal to draw on");
}

static void start_app(struct app *app, const struct qk_ui_options *options, const char *pre, const char *post)
{
    struct qk_error err = {0};
    memset(app, 0, sizeof *app);
    app->path[QK_PRE] = pre;
    app->path[QK_POST] = post;
    app->options = options;
    fuzz_check(app_open(app, &err) == QK_OK, "the pair opens");
    theme_start(&app->theme, options);
    unsaved_offer(app);
    app_draw(app, REFRESH_DRAW);
}

static void end_app(struct app *app)
{
    check_undo(app);
    unsaved_keep(app);
    app_free(app);
}

static bool busy(const struct app *app)
{
    int done, total;
    qk_session_done(app->session, &done, &total);
    return done < total || qk_session_task(app->session)->running || passes_run(app) || evaluation_busy(app);
}

/* Waits until nothing runs, though not for long: an exact run waits itself, and a search has minutes. */
static unsigned settle(struct app *app)
{
    unsigned refresh = app_take_results(app);
    for (; busy(app) && typed.waits > 0; typed.waits--) {
        struct pollfd fd = {.fd = qk_session_event_fd(app->session), .events = POLLIN};
        poll(&fd, 1, 2);
        refresh |= app_take_results(app);
    }
    return refresh;
}

/* Does what the next byte is when it is no key. */
static unsigned other_event(struct app *app)
{
    char path[96];
    int byte = next_byte();
    if (byte >= SIZES && byte < SIZES + N_SIZES) {
        resize_term(SIZE[byte - SIZES][0], SIZE[byte - SIZES][1]);
        return REFRESH_SCREEN;
    }
    switch (byte) {
    case TICK:
        return app_take_results(app);
    case SETTLE:
        return settle(app);
    case PROBE:
        /* a short text of its own: the built-in one, which T runs, takes a thousand times as long */
        return run_action(app, ACTION_IDS, make_path(path, "run/ids"));
    case PASTE_ON:
    case PASTE_OFF:
        typed.pasting = byte == PASTE_ON;
        return REFRESH_NONE;
    case LEAVE: {
        const struct qk_ui_options *options = app->options;
        const char *pre = app->path[QK_PRE], *post = app->path[QK_POST];
        end_app(app);
        start_app(app, options, pre, post);
        return REFRESH_NONE;
    }
    default:
        return REFRESH_NONE;
    }
}

static void run(struct app *app)
{
    unsigned refresh = REFRESH_NONE;
    while (typed.at < typed.n && (refresh & REFRESH_QUIT) == 0) {
        size_t before = typed.at;
        typed.given = false;
        refresh = app_take_keys(app);
        if (typed.at == before)
            refresh = other_event(app);
        app_draw(app, refresh);
        check(app);
        if (refresh != REFRESH_NONE && typed.at % AGAIN == 0)
            check_again(app);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct app app;
    char work[96], pre[96], post[96];
    int flags = size > 0 ? data[0] : 0, here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct qk_ui_options options = {
        .ascii = (flags & 2) != 0, .readonly = (flags & 8) != 0, .threads = 1};
    prepare();
    fuzz_check(
        here >= 0 && mkdir(make_path(work, "work"), 0700) == 0 && chdir(work) == 0, "a folder to work in");
    typed.byte = data;
    typed.n = size < LONGEST ? size : LONGEST;
    typed.at = size > 0;
    typed.one_by_one = (flags & 4) != 0;
    typed.pasting = false;
    typed.waits = WAITS;
    typed.app = &app;
    resize_term(SIZE[0][0], SIZE[0][1]);
    start_app(&app, &options, make_path(pre, flags & 1 ? "mixed/pre" : "run/pre"),
        make_path(post, flags & 1 ? "mixed/post" : "run/post"));
    run(&app);
    end_app(&app);
    fuzz_check(fchdir(here) == 0 && close(here) == 0, "back to where it was");
    fuzz_remove(work);
    return 0;
}
