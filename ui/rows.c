/* rows.c - order, filter, marks and search of the layer list. */
#include "ui/rows.h"

#include "base/mem.h"
#include "blend/spec.h"
#include "session/choices.h"
#include "session/layers.h"
#include "session/ranges.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum qk_code rows_init(struct rows *rows, int n_layers, struct qk_error *err)
{
    *rows = (struct rows){.anchor = -1};
    QK_TRY(qk_alloc(&rows->layer, (size_t)n_layers, sizeof *rows->layer, err));
    QK_TRY(qk_alloc(&rows->found, (size_t)n_layers, sizeof *rows->found, err));
    return qk_alloc(&rows->marked, (size_t)n_layers, sizeof *rows->marked, err);
}

void rows_free(struct rows *rows)
{
    free(rows->layer);
    free(rows->found);
    free(rows->marked);
}

/* --- matching --- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool contains(const char *text, const char *word)
{
    for (; *text != '\0'; text++) {
        size_t i = 0;
        while (word[i] != '\0' && lower(text[i]) == lower(word[i]))
            i++;
        if (word[i] == '\0')
            return true;
    }
    return word[0] == '\0';
}

/* What a layer can be found by: number, kind, the family's word, its choices, its problem, its tensors. */
static bool layer_contains(const struct qk_session *session, int index, const char *word)
{
    const struct qk_pair_layer *layer = &qk_session_pair(session)->layer[index];
    const struct qk_layer *post = layer->side[QK_POST];
    const struct qk_layer_choice *choice = &qk_session_selection(session)->choice[index];
    char number[16], q[QK_ROLE_CHOICE_TEXT], k[QK_ROLE_CHOICE_TEXT];
    snprintf(number, sizeof number, "%d", index);
    if (contains(number, word) || contains(qk_kind_name(layer->kind), word) ||
        (post->mixer != NULL && contains(post->mixer, word)) ||
        (layer->problem != NULL && contains(layer->problem, word)))
        return true;
    if (layer->has_qk && (contains(qk_layer_choice_text(q, choice, QK_Q), word) ||
                             contains(qk_layer_choice_text(k, choice, QK_K), word)))
        return true;
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        if (post->role[r].weight != NULL && contains(post->role[r].weight->name, word))
            return true;
    return false;
}

static bool find_by_selector(const struct qk_session *session, const char *text, int *found, int *n)
{
    return qk_session_find(session, text, found, n, NULL) == QK_OK;
}

static bool among(const int *found, int n, int layer)
{
    for (int i = 0; i < n; i++)
        if (found[i] == layer)
            return true;
    return false;
}

/* --- order --- */

/* Numbers that are not known yet stay at the end, whichever way the order goes; equals stay by number. */
static bool comes_before(const struct rows *rows, const double *value, int a, int b)
{
    if (isnan(value[a]) || isnan(value[b]))
        return isnan(value[a]) == isnan(value[b]) ? a < b : !isnan(value[a]);
    if (value[a] == value[b])
        return a < b;
    return (value[a] < value[b]) != rows->reverse;
}

static void sort_rows(struct rows *rows, const struct qk_session *session)
{
    int n_layers = qk_session_pair(session)->n_layers;
    const struct column *column = column_of(rows->sort);
    double *value;
    if (qk_alloc(&value, (size_t)n_layers, sizeof *value, NULL) != QK_OK)
        return; /* unsorted is better than nothing */
    for (int i = 0; i < n_layers; i++)
        value[i] = (column->ascending ? 1 : -1) * column->value(column, session, i);
    for (int i = 1; i < rows->n; i++) { /* by insertion: a few hundred rows, mostly in order already */
        int layer = rows->layer[i], k = i;
        for (; k > 0 && comes_before(rows, value, layer, rows->layer[k - 1]); k--)
            rows->layer[k] = rows->layer[k - 1];
        rows->layer[k] = layer;
    }
    free(value);
}

/* Takes the selected layer out of the rows; the one below it, or else above, takes its place. */
static void leave_out_selected(struct rows *rows)
{
    int at = rows_at(rows);
    rows->lost = rows->selected;
    rows->n--;
    memmove(rows->layer + at, rows->layer + at + 1, (size_t)(rows->n - at) * sizeof *rows->layer);
    rows_select(rows, at);
}

void rows_update(struct rows *rows, const struct qk_session *session)
{
    int n_layers = qk_session_pair(session)->n_layers, n_found = 0;
    bool all = rows->filter[0] == '\0', gone = false;
    bool by_selector = !all && find_by_selector(session, rows->filter, rows->found, &n_found);
    if (rows->selected < 0)
        rows->selected = rows->lost;
    rows->n = 0;
    for (int i = 0; i < n_layers; i++) {
        bool in =
            all || (by_selector ? among(rows->found, n_found, i) : layer_contains(session, i, rows->filter));
        bool selected = i == rows->selected; /* stays until it is known which row takes its place */
        if (in || selected)
            rows->layer[rows->n++] = i;
        gone = gone || (selected && !in);
    }
    if (rows->sort != COLUMN_INDEX || rows->reverse)
        sort_rows(rows, session);
    if (gone)
        leave_out_selected(rows);
    else if (rows->n == 0)
        rows->selected = -1;
    if (rows->anchor >= 0 && !among(rows->layer, rows->n, rows->anchor))
        rows->anchor = -1;
}

/* --- selection --- */

int rows_at(const struct rows *rows)
{
    for (int i = 0; i < rows->n; i++)
        if (rows->layer[i] == rows->selected)
            return i;
    return -1;
}

void rows_select(struct rows *rows, int at)
{
    at = at >= rows->n ? rows->n - 1 : at;
    at = at < 0 ? 0 : at;
    rows->selected = rows->n > 0 ? rows->layer[at] : -1;
}

void rows_scroll(struct rows *rows, int height)
{
    int at = rows_at(rows);
    rows->height = height;
    if (at >= 0 && at < rows->top)
        rows->top = at;
    if (at >= rows->top + height)
        rows->top = at - height + 1;
    if (rows->top > rows->n - height)
        rows->top = rows->n - height;
    if (rows->top < 0)
        rows->top = 0;
}

bool rows_in_range(const struct rows *rows, int i)
{
    if (rows->anchor < 0)
        return false;
    int at = rows_at(rows), from = at;
    for (int k = 0; k < rows->n; k++)
        if (rows->layer[k] == rows->anchor)
            from = k;
    return (i >= at && i <= from) || (i >= from && i <= at);
}

int rows_marked(const struct rows *rows)
{
    int n = 0;
    for (int i = 0; i < rows->n; i++)
        n += rows->marked[rows->layer[i]];
    return n;
}

static int compare_int(const void *a, const void *b)
{
    const int *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int rows_targets(const struct rows *rows, int *out)
{
    int n = 0;
    for (int i = 0; i < rows->n; i++)
        if (rows->marked[rows->layer[i]] || rows_in_range(rows, i))
            out[n++] = rows->layer[i];
    if (n == 0 && rows->selected >= 0)
        out[n++] = rows->selected;
    if (n > 1)
        qsort(out, (size_t)n, sizeof *out, compare_int);
    return n;
}

const char *selector_doubt(const char *selector)
{
    struct qk_spec spec;
    if (qk_spec_parse_selector(selector, &spec, NULL) != QK_OK)
        return NULL;
    const char *doubt = qk_spec_doubt(&spec);
    qk_spec_free(&spec);
    return doubt;
}

bool rows_find(struct rows *rows, const struct qk_session *session, int from, bool backwards)
{
    int n_found = 0;
    bool by_selector = find_by_selector(session, rows->search, rows->found, &n_found);
    for (int i = 0; i < rows->n; i++) {
        int at = ((backwards ? from - i : from + i) % rows->n + rows->n) % rows->n, layer = rows->layer[at];
        if (by_selector ? among(rows->found, n_found, layer) : layer_contains(session, layer, rows->search)) {
            rows_select(rows, at);
            return true;
        }
    }
    return false;
}
