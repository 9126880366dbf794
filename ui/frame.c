/* frame.c - the surroundings of every view: title, state, footer, messages, prompts and questions. */
#include "ui/frame.h"

#include "ui/app.h"
#include "ui/dispatch.h"
#include "ui/key.h"
#include "ui/screen.h"
#include "ui/views/layers_view.h"
#include "ui/views/search_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TITLE_ROWS = 2, BOTTOM_ROWS = 2, PATH_TEXT = 1024, LONGEST_MESSAGE = 4 };

/* --- title --- */

/* The right end of line one: the state of the choices. */
static enum style choice_state(const struct app *app, char out[96])
{
    int n = qk_selection_count(qk_session_selection(app->session));
    bool unsaved = n > 0 && qk_session_unsaved(app->session);
    const char *plural = n == 1 ? "" : "s";
    if (unsaved)
        snprintf(out, 96, "%s %d choice%s, not exported", theme_glyph(&app->theme, GLYPH_BULLET), n, plural);
    else if (n > 0)
        snprintf(out, 96, "%d choice%s, saved", n, plural);
    else
        snprintf(out, 96, "no choices");
    return unsaved ? STYLE_WARNING : STYLE_DIM;
}

static void draw_names(const struct app *app, struct canvas *canvas, int width)
{
    char state[96];
    enum style style = choice_state(app, state);
    int right = text_cells(canvas, state);
    draw_text(canvas, 0, width - right - 1, right, ALIGN_LEFT, style, state);
    int x = 1 + draw_run(canvas, 0, 1, width, STYLE_TITLE, "qkscope");
    if (app->options->readonly)
        x += draw_run(canvas, 0, x, width - x, STYLE_DIM, " read-only");
    x += 2;
    const char *arrow = theme_glyph(&app->theme, GLYPH_ARROW);
    int room = width - right - 3 - x - text_cells(canvas, arrow) - 2, cells[QK_SIDE_COUNT];
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        cells[s] = text_cells(canvas, app->path[s]);
    /* The longer path gets the cells that the shorter one does not need. */
    int half = room / 2;
    int first = cells[0] <= half ? cells[0] : cells[1] < half ? room - cells[1] : half;
    first = first > cells[0] ? cells[0] : first;
    int second = room - first > cells[1] ? cells[1] : room - first;
    draw_text(canvas, 0, x, first, ALIGN_TAIL, STYLE_STRONG, app->path[0]);
    x += first + 1;
    x += draw_run(canvas, 0, x, width - x, STYLE_DIM, arrow) + 1;
    draw_text(canvas, 0, x, second, ALIGN_TAIL, STYLE_STRONG, app->path[1]);
}

static void count_kinds(const struct app *app, struct qk_text *text)
{
    int count[QK_KIND_COUNT] = {0};
    for (int i = 0; i < app->pair->n_layers; i++)
        count[app->pair->layer[i].kind]++;
    const char *separator = ": ";
    for (int k = 0; k < QK_KIND_COUNT; k++) {
        if (count[k] == 0)
            continue;
        qk_text_add(text, "%s%d %s", separator, count[k], qk_kind_name((enum qk_kind)k));
        separator = ", ";
    }
}

/* The running work on the probe text, on needles or on cases. */
static enum style probe_state(const struct app *app, char out[96])
{
    const struct qk_probe_state *probe = qk_session_probe_state(app->session);
    if (probe->stage == QK_PROBE_RUNNING && probe->total > 0)
        snprintf(out, 96, "ranges %" PRIu64 "/%" PRIu64, probe->done, probe->total);
    else if (probe->stage == QK_PROBE_RUNNING)
        snprintf(out, 96, "ranges");
    else if (probe->exact.running)
        snprintf(out, 96, "exact ranges %" PRIu64 "/%" PRIu64, probe->exact.done, probe->exact.total);
    else if (!needles_state(app, out))
        search_state(app, out);
    return STYLE_DIM;
}

/* The right end of line two: the running work. */
static enum style work_state(const struct app *app, char out[96])
{
    int done, total;
    const struct qk_task *task = qk_session_task(app->session);
    qk_session_done(app->session, &done, &total);
    out[0] = '\0';
    if (task->running)
        snprintf(out, 96, "%s %d %%", task->kind == QK_TASK_EXPORT ? "exporting" : "verifying",
            task->total > 0 ? (int)(100.0 * (double)task->done / (double)task->total) : 0);
    else if (done < total)
        snprintf(out, 96, "computing %d/%d", done, total);
    else
        return probe_state(app, out);
    return STYLE_WARNING;
}

static void draw_state(const struct app *app, struct canvas *canvas, int width)
{
    char work[96];
    const char *dot = theme_glyph(&app->theme, GLYPH_DOT);
    struct qk_text text = {0};
    enum style style = work_state(app, work);
    int right = text_cells(canvas, work);
    const struct qk_model *model = app->pair->model[QK_POST];
    qk_text_add(&text, "%s%s %s %d layer%s", model->family, model->guessed ? " (guessed)" : "", dot,
        app->pair->n_layers, app->pair->n_layers == 1 ? "" : "s");
    count_kinds(app, &text);
    describe_list(app, &text);
    describe_model(app, canvas, width - right - 3, &text);
    if (text.s != NULL)
        draw_text(canvas, 1, 1, width - right - 3, ALIGN_LEFT, STYLE_DIM, text.s);
    qk_text_free(&text);
    draw_text(canvas, 1, width - right - 1, right, ALIGN_LEFT, style, work);
}

/* --- footer --- */

/* True when the action's first key means another one here and now. */
static bool is_shadowed(const struct app *app, enum action action)
{
    int key = key_of_name(qk_action_info((int)action)->keys, (size_t)action_first_key(action));
    return action_for_key(app, key) != action;
}

/* The footer's actions by rank, without those that cannot run now. */
static int footer_actions(const struct app *app, enum action out[FOOTER_HITS])
{
    int n = 0;
    for (int i = 0; i < ACTION_COUNT && n < FOOTER_HITS; i++) {
        enum action action = (enum action)i;
        const struct action_traits *traits = action_traits(action);
        if (traits->rank == 0 || (traits->where & here(app)) == 0 || action_blocked(app, action) != NULL ||
            is_shadowed(app, action))
            continue;
        int k = n++;
        for (; k > 0 && action_traits(out[k - 1])->rank > traits->rank; k--)
            out[k] = out[k - 1];
        out[k] = action;
    }
    return n;
}

enum { KEY_TEXT = 16 };

/* Stores the key of an action in key; returns its word for the footer. */
static const char *footer_text(const struct app *app, enum action action, char key[KEY_TEXT])
{
    const struct qk_action_info *info = qk_action_info((int)action);
    snprintf(key, KEY_TEXT, "%.*s", action_first_key(action), info->keys);
    return action == ACTION_CLOSE && app->depth > 1 ? "back" : info->hint;
}

static void place_footer(struct app *app, const struct canvas *canvas, int y, int width)
{
    enum action actions[FOOTER_HITS];
    int n = footer_actions(app, actions), x = 1;
    app->footer_row = y;
    for (int i = 0; i < n; i++) {
        char key[KEY_TEXT];
        const char *hint = footer_text(app, actions[i], key);
        int cells = text_cells(canvas, key) + 1 + text_cells(canvas, hint);
        if (x + cells > width - 1)
            continue;
        app->hit[app->n_hits].x = x;
        app->hit[app->n_hits].width = cells;
        app->hit[app->n_hits++].action = actions[i];
        x += cells + 2;
    }
}

static void draw_footer(const struct app *app, struct canvas *canvas)
{
    for (int i = 0; i < app->n_hits; i++) {
        char key[KEY_TEXT];
        const char *hint = footer_text(app, app->hit[i].action, key);
        int x = app->hit[i].x, width = app->hit[i].width;
        int used = draw_run(canvas, app->footer_row, x, width, STYLE_KEY, key);
        draw_run(canvas, app->footer_row, x + used + 1, width - used - 1, STYLE_DIM, hint);
    }
}

/* --- the frame --- */

/* Draws text whose last line is in row y; a longer text covers the rows above. */
static void draw_up_from(struct canvas *canvas, int y, int width, enum style style, const char *text)
{
    int lines = 0;
    for (const char *p = text; *p != '\0' && lines < LONGEST_MESSAGE; lines++) {
        p += text_fitting(canvas, p, width - 2);
        p += strspn(p, " ");
    }
    lines = lines == 0 ? 1 : lines;
    for (int i = 0; i < lines; i++)
        draw_text(canvas, y - i, 0, width, ALIGN_LEFT, style, "");
    draw_wrapped(canvas, (struct area){y - lines + 1, 1, lines, width - 2}, style, text);
}

static void draw_question(const struct app *app, struct canvas *canvas, int y, int width)
{
    int used = draw_run(canvas, y, 1, width - 12, STYLE_WARNING, app->question);
    used += draw_run(canvas, y, 1 + used, width - used - 1, STYLE_STRONG, " y/n [n] ");
    canvas->cursor_y = y;
    canvas->cursor_x = 1 + used;
}

static void draw_bottom(const struct app *app, struct canvas *canvas, int rows, int width)
{
    if (app->question[0] != '\0') {
        draw_up_from(canvas, rows - 2, width, app->message_style, app->message); /* its subject */
        draw_question(app, canvas, rows - 1, width);
    } else if (app->prompt.open) {
        draw_up_from(canvas, rows - 2, width, app->prompt.wrong ? STYLE_ERROR : STYLE_DIM, app->prompt.note);
        canvas->cursor_y = rows - 1;
        canvas->cursor_x = prompt_draw(&app->prompt, canvas, rows - 1, 1, width - 1);
    } else {
        if (app->menu.open)
            draw_text(canvas, rows - 2, 1, width - 2, ALIGN_LEFT, STYLE_DIM,
                "its key takes an entry, Enter the selected one; Esc leaves all as it is");
        draw_footer(app, canvas);
        draw_up_from(canvas, rows - 1, width, app->message_style, app->message);
    }
}

static void draw_too_small(struct canvas *canvas, int rows, int columns)
{
    draw_format(canvas, rows / 2, 0, columns, STYLE_WARNING, "%dx%d is too small, %dx%d is needed", columns,
        rows, MIN_COLUMNS, MIN_ROWS);
    draw_text(canvas, rows / 2 + 1, 0, columns, ALIGN_LEFT, STYLE_DIM, "q quits");
}

static struct area view_area(int rows, int columns)
{
    return (struct area){TITLE_ROWS, 0, rows - TITLE_ROWS - BOTTOM_ROWS, columns};
}

static bool fits(int rows, int columns)
{
    return rows >= MIN_ROWS && columns >= MIN_COLUMNS;
}

/* The selected layer's row of the screen in the list; -1 in other views. */
static int selected_row(const struct app *app)
{
    const struct layers_view *view = app->state[SCREEN_LIST];
    return top_screen(app) == SCREEN_LIST ? view->list_area.y + 1 + rows_at(&app->rows) - app->rows.top : -1;
}

void place_frame(struct app *app)
{
    int rows, columns;
    const struct canvas canvas = {.window = stdscr, .theme = &app->theme};
    getmaxyx(stdscr, rows, columns);
    app->n_hits = 0;
    if (!fits(rows, columns))
        return;
    struct area view = view_area(rows, columns);
    place_rows(app, view); /* in every view: line two shows the row, and keys of other views move it */
    top_ops(app)->place(app, &canvas, view);
    if (app->menu.open)
        menu_place(app, &canvas, view, selected_row(app));
    else if (app->question[0] == '\0' && !app->prompt.open)
        place_footer(app, &canvas, rows - 2, columns);
}

void draw_frame(const struct app *app)
{
    int rows, columns;
    getmaxyx(stdscr, rows, columns);
    struct canvas canvas = {.window = stdscr, .theme = &app->theme, .cursor_y = rows - 1};
    werase(stdscr);
    if (fits(rows, columns)) {
        draw_names(app, &canvas, columns);
        draw_state(app, &canvas, columns);
        top_ops(app)->draw(app, &canvas, view_area(rows, columns));
        if (app->menu.open)
            menu_draw(&app->menu, &canvas);
        draw_bottom(app, &canvas, rows, columns);
    } else {
        draw_too_small(&canvas, rows, columns);
    }
    wmove(stdscr, canvas.cursor_y, canvas.cursor_x < columns ? canvas.cursor_x : columns - 1);
    wnoutrefresh(stdscr);
    doupdate();
}
