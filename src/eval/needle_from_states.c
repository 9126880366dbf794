/* needle_from_states.c - needle masses of layers whose inputs are in files, one file at a time. */
#include "eval/needle_from_states.h"

#include "base/mem.h"
#include "range/restored.h"
#include "range/states.h"

#include <stdlib.h>
#include <string.h>

struct work {
    const struct qk_pair *pair;
    const struct qk_needles *needles;
    const struct qk_needle_files *files;
    struct qk_selection_patch restored, chosen; /* chosen: where out->current is */
    struct qk_progress *progress;
    struct qk_needle_pair *out;
    bool *seen[QK_SIDE_COUNT]; /* of each needle: a file of the side holds it */
    bool *layers;              /* n_layers: the first file has states of it */
};

/* --- one file --- */

/* *which = the needle whose tokens begin the states' ids. */
static enum qk_code find_needle(const struct work *work, const char *path, const struct qk_states *states,
    bool *seen, size_t *which, struct qk_error *err)
{
    for (size_t i = 0; i < work->needles->n; i++) {
        const struct qk_needle *needle = &work->needles->item[i];
        if (needle->T > states->T || memcmp(needle->ids, states->ids, needle->T * sizeof *needle->ids) != 0)
            continue;
        if (seen[i])
            return qk_fail(err, QK_INPUT, "%s: input_ids: another file has the same prompt", path);
        seen[i] = true;
        *which = i;
        return QK_OK;
    }
    return qk_fail(err, QK_INPUT,
        "%s: input_ids: no needle has these tokens (found %zu; expected a prompt with its answer behind it)",
        path, states->T);
}

static enum qk_code check_layers(const struct work *work, const char *path, const struct qk_states *states,
    bool first, struct qk_error *err)
{
    for (int i = 0; i < work->pair->n_layers; i++) {
        bool there = states->layer[i] != NULL;
        if (first)
            work->layers[i] = there;
        else if (work->layers[i] != there)
            return qk_fail(err, QK_INPUT, "%s: hidden_states.%d is %s, other than in %s", path, i,
                there ? "there" : "missing", work->files[QK_POST].path[0]);
    }
    return QK_OK;
}

/* Runs the layer of a side on the states of one needle; without files of its own, pre on post's, too. */
static enum qk_code run_layer(
    struct work *work, enum qk_side side, int layer, size_t needle, const float *x, struct qk_error *err)
{
    const struct qk_pair *pair = work->pair;
    const struct qk_needles *needles = work->needles;
    struct qk_needle_pair *out = work->out;
    struct qk_progress *progress = work->progress;
    if (side == QK_PRE || work->files[QK_PRE].n == 0)
        QK_TRY(qk_needle_same(pair->model[QK_PRE], NULL, layer, needles, needle, 1, x, progress,
            &out->side[QK_PRE][layer], err));
    if (side == QK_PRE)
        return QK_OK;
    QK_TRY(qk_needle_same(
        pair->model[QK_POST], NULL, layer, needles, needle, 1, x, progress, &out->side[QK_POST][layer], err));
    if (out->current != NULL)
        QK_TRY(qk_needle_same(pair->model[QK_POST], &work->chosen.patch, layer, needles, needle, 1, x,
            progress, &out->current[layer], err));
    return qk_needle_restored(
        pair, &work->restored.patch, layer, needles, needle, 1, x, progress, &out->restored[layer], err);
}

static enum qk_code run_states(
    struct work *work, enum qk_side side, size_t file, const struct qk_states *states, struct qk_error *err)
{
    size_t needle = 0;
    const char *path = work->files[side].path[file];
    QK_TRY(find_needle(work, path, states, work->seen[side], &needle, err));
    QK_TRY(check_layers(work, path, states, side == QK_POST && file == 0, err));
    for (int i = 0; i < work->pair->n_layers; i++)
        if (states->layer[i] != NULL && work->pair->layer[i].has_qk)
            QK_TRY(run_layer(work, side, i, needle, states->layer[i], err));
    qk_progress_add(work->progress, 1);
    return qk_progress_check(work->progress, err);
}

static enum qk_code run_file(struct work *work, enum qk_side side, size_t file, struct qk_error *err)
{
    struct qk_states states;
    QK_TRY(qk_states_read(work->files[side].path[file], work->pair->model[side], &states, err));
    enum qk_code code = run_states(work, side, file, &states, err);
    qk_states_free(&states);
    return code;
}

/* --- all files --- */

/* Post's files come first: their layers are the ones that count. */
static enum qk_code run_files(struct work *work, struct qk_error *err)
{
    for (int s = QK_SIDE_COUNT; s-- > 0;)
        for (size_t i = 0; i < work->files[s].n; i++)
            QK_TRY(run_file(work, (enum qk_side)s, i, err));
    for (size_t i = 0; i < work->needles->n && work->files[QK_PRE].n > 0; i++)
        if (work->seen[QK_PRE][i] != work->seen[QK_POST][i])
            return qk_fail(err, QK_INPUT,
                "--states and --states-pre hold different prompts (prompt %zu of the needles is in one alone)",
                i + 1);
    return QK_OK;
}

static enum qk_code make_results(struct work *work, bool chosen, struct qk_error *err)
{
    size_t n = (size_t)work->pair->n_layers;
    QK_TRY(qk_alloc(&work->layers, n, sizeof *work->layers, err));
    QK_TRY(qk_alloc(&work->out->restored, n, sizeof *work->out->restored, err));
    if (chosen)
        QK_TRY(qk_alloc(&work->out->current, n, sizeof *work->out->current, err));
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        QK_TRY(qk_alloc(&work->out->side[s], n, sizeof *work->out->side[s], err));
        QK_TRY(qk_alloc(&work->seen[s], work->needles->n, sizeof *work->seen[s], err));
    }
    return QK_OK;
}

/* Removes the columns of needles without states. */
static void keep_columns(struct qk_needle_layer *layers, int n_layers, const bool *keep)
{
    for (int i = 0; layers != NULL && i < n_layers; i++)
        qk_needle_layer_keep(&layers[i], keep);
}

static void keep_seen(const struct work *work, struct qk_needles *needles)
{
    struct qk_needle_pair *out = work->out;
    const bool *keep = work->seen[QK_POST];
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        keep_columns(out->side[s], out->n_layers, keep);
    keep_columns(out->restored, out->n_layers, keep);
    keep_columns(out->current, out->n_layers, keep);
    qk_needles_keep(needles, keep);
}

enum qk_code qk_needle_measure_states(const struct qk_pair *pair, struct qk_needles *needles,
    const struct qk_needle_files files[QK_SIDE_COUNT], const struct qk_selection *selection, bool norms,
    struct qk_progress *progress, struct qk_needle_pair *out, struct qk_error *err)
{
    struct work work = {.pair = pair, .needles = needles, .files = files, .progress = progress, .out = out};
    *out = (struct qk_needle_pair){.n_layers = pair->n_layers};
    qk_progress_total(progress, files[QK_PRE].n + files[QK_POST].n);
    enum qk_code code = make_results(&work, selection != NULL, err);
    if (code == QK_OK)
        code = qk_restored_patch_make(pair, &work.restored, err);
    if (code == QK_OK && selection != NULL)
        code = qk_selection_patch_make(pair, selection, -1, norms, &work.chosen, err);
    if (code == QK_OK)
        code = run_files(&work, err);
    if (code == QK_OK)
        keep_seen(&work, needles);
    qk_selection_patch_free(&work.restored);
    qk_selection_patch_free(&work.chosen);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        free(work.seen[s]);
    free(work.layers);
    return code;
}
