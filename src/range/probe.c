/* probe.c - the path from a probe's options to the ranges of every layer of a pair. */
#include "range/probe.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "base/text.h"
#include "forward/forward.h"
#include "range/needle.h"
#include "range/profile.h"
#include "token/tokenizer.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

bool qk_probe_has(const struct qk_pair *pair, int layer)
{
    const struct qk_pair_layer *both = &pair->layer[layer];
    return both->has_qk && qk_states_wanted(both->side[QK_PRE]) && qk_states_wanted(both->side[QK_POST]);
}

bool qk_probe_has_profile(const struct qk_pair *pair, int layer)
{
    const struct qk_layer *const *side = pair->layer[layer].side;
    return qk_probe_has(pair, layer) && qk_profile_missing(side[QK_PRE]) == NULL &&
           qk_profile_missing(side[QK_POST]) == NULL;
}

enum qk_code qk_probe_pass_missing(const struct qk_pair *pair, const char **why, struct qk_error *err)
{
    QK_TRY(qk_forward_missing(pair->model[QK_PRE], why, err));
    return *why != NULL ? QK_OK : qk_forward_missing(pair->model[QK_POST], why, err);
}

enum qk_code qk_probe_way_out(const struct qk_pair *pair, const char **what, struct qk_error *err)
{
    bool any = false;
    *what = "give the layers' inputs (--states FILE)";
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const char *why;
        QK_TRY(qk_forward_attention_missing(pair->model[s], &why, err));
        any = any || why != NULL;
    }
    if (!any)
        return QK_OK;
    *what = "qkscope diff compares, and qkscope export restores all the same";
    for (int i = 0; i < pair->n_layers; i++)
        if (qk_probe_has_profile(pair, i))
            *what = "qkscope range --estimate shows from the weights alone how far its heads would look";
    return QK_OK;
}

int qk_probe_profile_points(const struct qk_probe_options *options)
{
    return qk_range_bins(options->length > 0 ? options->length : QK_PROBE_LENGTH);
}

/* --- tokens --- */

/* Ids of the built-in document. Its length is found by trying until it has the wanted number of tokens. */
static enum qk_code document_ids(
    const struct qk_tokenizer *tokenizer, size_t length, int32_t **ids, size_t *n, struct qk_error *err)
{
    enum { TRIES = 4, LETTERS = 5 };
    size_t bytes = length;
    for (int i = 0; i < TRIES; i++) {
        char *text;
        free(*ids);
        *ids = NULL;
        QK_TRY(qk_probe_document(bytes, &text, err));
        enum qk_code code = qk_tokenizer_encode(tokenizer, text, strlen(text), true, ids, n, err);
        free(text);
        QK_TRY(code);
        if (*n <= length && *n + *n / 16 + LETTERS * LETTERS >= length)
            break;
        size_t over = *n > length ? *n - length : 0;
        bytes = *n == 0                       ? bytes
                : over > 0 && over <= LETTERS ? bytes - (bytes > over ? over : 0)
                                              : (size_t)((double)bytes * (double)length / (double)*n);
    }
    return QK_OK;
}

static enum qk_code file_ids(
    const struct qk_tokenizer *tokenizer, const char *path, int32_t **ids, size_t *n, struct qk_error *err)
{
    char *text;
    size_t bytes;
    QK_TRY(qk_probe_read_text(path, &text, &bytes, err));
    enum qk_code code = qk_tokenizer_encode(tokenizer, text, bytes, true, ids, n, err);
    free(text);
    return code;
}

static enum qk_code text_ids(
    struct qk_probe *probe, const struct qk_probe_options *options, struct qk_error *err)
{
    const char *folder = probe->pair->model[QK_POST]->checkpoint->folder;
    struct qk_error why = {0};
    enum qk_code code = qk_tokenizer_open(folder, &probe->tokenizer, &why);
    if (code != QK_OK)
        return qk_fail(err, code, code == QK_INPUT ? "%s (--ids FILE)" : "%s", why.text);
    if (options->text_path != NULL)
        return file_ids(probe->tokenizer, options->text_path, &probe->ids, &probe->T, err);
    return document_ids(probe->tokenizer, options->length > 0 ? options->length : QK_PROBE_LENGTH,
        &probe->ids, &probe->T, err);
}

static enum qk_code open_ids(
    struct qk_probe *probe, const struct qk_probe_options *options, struct qk_error *err)
{
    if (options->ids_path != NULL)
        QK_TRY(qk_probe_read_ids(options->ids_path, &probe->ids, &probe->T, err));
    else
        QK_TRY(text_ids(probe, options, err));
    if (options->length > 0 && probe->T > options->length)
        probe->T = options->length;
    if (probe->T == 0 || probe->T > QK_PROBE_MOST)
        return qk_fail(err, QK_INPUT, "the probe has %zu tokens (expected 1 to %d)", probe->T, QK_PROBE_MOST);
    return QK_OK;
}

/* Post must know all tokens. Where pre does not, because a fine-tuning added some, this sets pre_cannot. */
static enum qk_code check_tokens(struct qk_probe *probe, struct qk_error *err)
{
    struct qk_text text = {0};
    size_t n, first, known;
    QK_TRY(qk_forward_vocabulary(probe->pair->model[QK_POST], &known, err));
    if (known > 0 && qk_unknown_ids(probe->ids, probe->T, known, &first) > 0)
        return qk_fail(err, QK_INPUT,
            "%s: token %zu of the probe is outside the vocabulary (found %d, expected 0 to %zu)",
            probe->pair->model[QK_POST]->checkpoint->path, first, (int)probe->ids[first], known - 1);
    QK_TRY(qk_forward_vocabulary(probe->pair->model[QK_PRE], &known, err));
    n = known > 0 ? qk_unknown_ids(probe->ids, probe->T, known, &first) : 0;
    if (n == 0)
        return QK_OK;
    qk_text_add(&text,
        "%s: token %zu of the probe is outside the vocabulary (found %d, expected 0 to %zu; %zu of %zu tokens are); "
        "pre's layers are shown on post's inputs",
        probe->pair->model[QK_PRE]->checkpoint->path, first, (int)probe->ids[first], known - 1, n, probe->T);
    return qk_text_take(&text, &probe->pre_cannot, err);
}

/* --- states --- */

static enum qk_code open_states(
    struct qk_probe *probe, const struct qk_probe_options *options, struct qk_error *err)
{
    const char *const *path = options->states_path;
    struct qk_states *pre = &probe->states[QK_PRE], *post = &probe->states[QK_POST];
    probe->origin = QK_ORIGIN_STATES;
    QK_TRY(qk_states_read(path[QK_POST], probe->pair->model[QK_POST], post, err));
    probe->T = post->T;
    QK_TRY(qk_alloc(&probe->ids, probe->T, sizeof *probe->ids, err));
    memcpy(probe->ids, post->ids, probe->T * sizeof *probe->ids);
    if (path[QK_PRE] == NULL)
        return QK_OK;
    QK_TRY(qk_states_read(path[QK_PRE], probe->pair->model[QK_PRE], pre, err));
    if (pre->T != post->T || memcmp(pre->ids, post->ids, post->T * sizeof *post->ids) != 0)
        return qk_fail(err, QK_INPUT,
            "%s: other input_ids than in %s (found %zu tokens, expected the same %zu)", path[QK_PRE],
            path[QK_POST], pre->T, post->T);
    return QK_OK;
}

static enum qk_code check_pass(const struct qk_pair *pair, struct qk_error *err)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const char *why, *what;
        QK_TRY(qk_forward_missing(pair->model[s], &why, err));
        QK_TRY(qk_probe_way_out(pair, &what, err));
        if (why != NULL)
            return qk_fail(err, QK_INPUT, "%s: no forward pass for this family: %s; %s",
                pair->model[s]->checkpoint->path, why, what);
    }
    return QK_OK;
}

static enum qk_code open_parts(
    struct qk_probe *probe, const struct qk_probe_options *options, struct qk_error *err)
{
    int n = 0;
    for (int i = 0; i < probe->pair->n_layers; i++)
        n += qk_probe_has(probe->pair, i);
    if (n == 0)
        return qk_fail(err, QK_INPUT,
            "%s: no layer has softmax attention or a built-in recurrence whose q and k are known on both sides",
            probe->pair->model[QK_POST]->checkpoint->path);
    QK_TRY(qk_alloc(&probe->layer, (size_t)probe->pair->n_layers, sizeof *probe->layer, err));
    if (options->states_path[QK_POST] == NULL) {
        QK_TRY(check_pass(probe->pair, err));
        QK_TRY(open_ids(probe, options, err));
        return check_tokens(probe, err);
    }
    QK_TRY(open_states(probe, options, err));
    /* Serves only to show the text; the probe works without it. */
    struct qk_error unheard = {0};
    qk_tokenizer_open(probe->pair->model[QK_POST]->checkpoint->folder, &probe->tokenizer, &unheard);
    return QK_OK;
}

enum qk_code qk_probe_open(const struct qk_pair *pair, const struct qk_probe_options *options,
    struct qk_probe **out, struct qk_error *err)
{
    *out = NULL;
    struct qk_probe *probe;
    QK_TRY(qk_alloc(&probe, 1, sizeof *probe, err));
    probe->pair = pair;
    probe->range = options->range;
    probe->memory = options->memory;
    enum qk_code code = open_parts(probe, options, err);
    if (code != QK_OK)
        qk_probe_close(probe);
    else
        *out = probe;
    return code;
}

static void free_ranges(struct qk_layer_ranges *ranges)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_layer_range_free(&ranges->side[s]);
    qk_layer_range_free(&ranges->restored);
}

void qk_probe_close(struct qk_probe *probe)
{
    if (probe == NULL)
        return;
    for (int i = 0; probe->layer != NULL && i < probe->pair->n_layers; i++)
        free_ranges(&probe->layer[i]);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_states_free(&probe->states[s]);
    qk_tokenizer_free(probe->tokenizer);
    free(probe->layer);
    free(probe->ids);
    free(probe->pre_cannot);
    free(probe);
}

/* --- one layer on given inputs --- */

/* How a layer's sources are run on inputs: by themselves, or beside a pass that goes on to run the layer. */
struct runner {
    const struct qk_probe *probe;
    int layer;
    const float *x;
    struct qk_progress *progress;
    struct qk_range_run **beside; /* receives the run, or NULL: by themselves */
};

static enum qk_code run_sources(
    const struct runner *r, const struct qk_range_source *source, size_t n, struct qk_error *err)
{
    const struct qk_probe *probe = r->probe;
    struct qk_range_source own[QK_RANGE_SOURCES];
    memcpy(own, source, n * sizeof *own);
    own[0].given = r->beside != NULL;
    if (r->beside != NULL)
        return qk_range_begin(&probe->range, r->layer, r->x, probe->T, own, n, r->progress, r->beside, err);
    return qk_range_layer(&probe->range, r->layer, r->x, probe->T, own, n, r->progress, err);
}

static enum qk_code run_pre(const struct runner *r, struct qk_probe *probe, struct qk_error *err)
{
    const struct qk_range_source source = {
        .model = probe->pair->model[QK_PRE], .range = &probe->layer[r->layer].side[QK_PRE]};
    return run_sources(r, &source, 1, err);
}

/* Computes post's range and what is compared with it, and pre's own range where post's states serve both. */
static enum qk_code run_post(
    const struct runner *r, struct qk_probe *probe, const struct qk_patch *restored, struct qk_error *err)
{
    struct qk_layer_ranges *ranges = &probe->layer[r->layer];
    bool serves_both = probe->pre_cannot != NULL ||
                       (probe->origin == QK_ORIGIN_STATES && probe->states[QK_PRE].layer == NULL);
    const struct qk_range_source source[] = {
        {.model = probe->pair->model[QK_POST], .range = &ranges->side[QK_POST]},
        {.model = probe->pair->model[QK_PRE],
            .range = serves_both ? &ranges->side[QK_PRE] : NULL,
            .shift = &ranges->shift},
        {.model = probe->pair->model[QK_POST],
            .patch = restored,
            .range = &ranges->restored,
            .shift = &ranges->restored_shift}};
    enum { ALL = sizeof source / sizeof source[0] };
    struct qk_error refused = {0};
    if (restored != NULL) {
        enum qk_code code = run_sources(r, source, ALL, &refused);
        if (code != QK_INPUT)
            return code == QK_OK ? QK_OK : qk_fail(err, code, "%s", refused.text);
    }
    /* Any other fault of the layer shows again below. */
    ranges->restored_shift = NAN;
    return run_sources(r, source, ALL - 1, err);
}

enum qk_code qk_probe_same(const struct qk_probe *probe, int layer, const struct qk_patch *patch,
    struct qk_progress *progress, struct qk_layer_range *out, double *shift, struct qk_error *err)
{
    const struct qk_range_source source[] = {
        {.model = probe->pair->model[QK_POST], .patch = patch, .range = out},
        {.model = probe->pair->model[QK_PRE], .shift = shift}};
    return qk_range_layer(&probe->range, layer, probe->states[QK_POST].layer[layer], probe->T, source,
        shift != NULL ? 2 : 1, progress, err);
}

enum qk_code qk_probe_shift(const struct qk_probe *probe, int layer, const struct qk_patch *patch,
    struct qk_progress *progress, double *shift, struct qk_error *err)
{
    const struct qk_range_source source[] = {{.model = probe->pair->model[QK_POST], .patch = patch},
        {.model = probe->pair->model[QK_PRE], .shift = shift}};
    return qk_range_layer(
        &probe->range, layer, probe->states[QK_POST].layer[layer], probe->T, source, 2, progress, err);
}

enum qk_code qk_probe_rows(const struct qk_probe *probe, int layer, enum qk_side side,
    const struct qk_patch *patch, size_t query, float **rows, struct qk_error *err)
{
    return qk_needle_attention(
        probe->pair->model[side], patch, layer, probe->states[QK_POST].layer[layer], query, rows, err);
}

/* --- passes --- */

/* What the passes of both sides share. */
struct turns {
    atomic_int seen[QK_SIDE_COUNT]; /* the side's ranges of all layers before this one are filled */
    int announced;                  /* layers that the watcher knows */
    atomic_bool failed;             /* a side has: the other one stops */
};

/* One pass, with its hook for each layer. */
struct pass {
    struct qk_probe *probe;
    enum qk_side side;
    const bool *wanted; /* n_layers */
    int last;           /* the last wanted layer: the pass ends with its input */
    const struct qk_probe_watch *watch;
    struct turns *turns;             /* NULL: no other side */
    struct qk_progress *progress;    /* qk_forward counts on it and obeys its cancel flag */
    uint64_t total;                  /* of all passes, unknown to qk_forward */
    const struct qk_patch *restored; /* the layers to compare with post, or NULL */
    const struct qk_patch *patch;
    struct qk_layer_range *exact; /* NULL: the models as they are */
    struct qk_range_run *beside;  /* the run of the layer that the pass runs now, or NULL */
    int beside_layer;
};

/* Reports the layers that have the ranges of both sides. */
static void announce(const struct pass *pass)
{
    struct turns *turns = pass->turns;
    int pre = atomic_load(&turns->seen[QK_PRE]), post = atomic_load(&turns->seen[QK_POST]);
    for (int end = pre < post ? pre : post; turns->announced < end; turns->announced++)
        if (pass->watch != NULL && pass->watch->ready != NULL && pass->wanted[turns->announced])
            pass->watch->ready(pass->watch->context, turns->announced);
}

/* The side's ranges are filled before this layer. Post's turn alone reports them, so that calls come in order. */
static void seen_before(const struct pass *pass, int layer)
{
    if (pass->turns == NULL)
        return;
    atomic_store(&pass->turns->seen[pass->side], layer);
    if (pass->side == QK_POST)
        announce(pass);
}

static enum qk_code check_turn(const struct pass *pass, struct qk_error *err)
{
    if (pass->turns != NULL && atomic_load(&pass->turns->failed))
        return QK_CANCELLED;
    return qk_progress_check(pass->progress, err);
}

/* Runs a layer on its inputs x, beside the pass where that goes on to run it. */
static enum qk_code see_layer(struct pass *pass, int layer, const float *x, bool beside, struct qk_error *err)
{
    struct qk_probe *probe = pass->probe;
    const struct runner r = {probe, layer, x, pass->progress, beside ? &pass->beside : NULL};
    pass->beside_layer = layer;
    if (pass->exact != NULL) {
        const struct qk_range_source source = {
            .model = probe->pair->model[QK_POST], .patch = pass->patch, .range = &pass->exact[layer]};
        QK_TRY(run_sources(&r, &source, 1, err));
    } else if (pass->side == QK_PRE) {
        QK_TRY(run_pre(&r, probe, err));
    } else {
        QK_TRY(run_post(&r, probe, pass->restored, err));
    }
    if (!beside)
        seen_before(pass, layer + 1);
    return QK_OK;
}

/* Ends the run beside the layer that the pass has run. */
static enum qk_code end_beside(struct pass *pass, struct qk_error *err)
{
    struct qk_range_run *run = pass->beside;
    pass->beside = NULL;
    if (run == NULL)
        return QK_OK;
    QK_TRY(qk_range_end(run, err));
    seen_before(pass, pass->beside_layer + 1);
    return QK_OK;
}

static void see_attention(void *context, int layer, size_t worker, const struct qk_attention_map *map)
{
    const struct pass *pass = context;
    (void)layer;
    if (pass->beside != NULL)
        qk_range_see(pass->beside, worker, map);
}

/* Keeps post's states for the work after the pass, and pre's for a cache. */
static enum qk_code keep_state(struct pass *pass, int layer, const float *x, size_t d, struct qk_error *err)
{
    struct qk_probe *probe = pass->probe;
    struct qk_states *states = &probe->states[pass->side];
    if (pass->exact != NULL || (pass->side == QK_PRE && !probe->keep_pre))
        return QK_OK;
    if (states->layer == NULL)
        QK_TRY(qk_states_init(states, probe->pair->model[pass->side]->n_layers, probe->ids, probe->T, err));
    return qk_states_keep(states, layer, x, d, err);
}

static enum qk_code see_state(
    void *context, int layer, const float *x, size_t T, size_t d, struct qk_error *err)
{
    struct pass *pass = context;
    (void)T;
    qk_progress_total(pass->progress, pass->total);
    QK_TRY(check_turn(pass, err));
    QK_TRY(end_beside(pass, err));
    if (layer <= pass->last && pass->wanted[layer]) {
        QK_TRY(keep_state(pass, layer, x, d, err)); /* first: the watcher of the layer may use them */
        QK_TRY(see_layer(pass, layer, x, layer < pass->last, err));
    }
    if (layer == pass->last)
        qk_progress_add(pass->progress, 1);
    return QK_OK;
}

static enum qk_code run_pass(struct pass *pass, struct qk_error *err)
{
    const struct qk_forward_hooks hooks = {.context = pass,
        .state = see_state,
        .attention = see_attention,
        .ends = true, /* the layers behind it do not affect the wanted ones */
        .last = pass->last,
        .attention_from = qk_range_first_query(&pass->probe->range, pass->probe->T),
        .attention_most = qk_range_most_blocks(QK_LINEAR),
        .attended = pass->wanted};
    enum qk_code code = qk_forward(pass->probe->pair->model[pass->side], pass->patch, pass->probe->ids,
        pass->probe->T, &hooks, NULL, 0, pass->progress, err);
    qk_range_abandon(pass->beside);
    pass->beside = NULL;
    return code;
}

/* *mask = the wanted layers that can have ranges (the caller frees), and *last = the last of them, or -1. */
static enum qk_code choose_layers(
    const struct qk_probe *probe, const bool *wanted, bool **mask, int *last, struct qk_error *err)
{
    int n = probe->pair->n_layers;
    *last = -1;
    QK_TRY(qk_alloc(mask, (size_t)n, sizeof **mask, err));
    for (int i = 0; i < n; i++) {
        bool known = probe->origin == QK_ORIGIN_PASS || probe->states[QK_POST].layer[i] != NULL;
        (*mask)[i] = (wanted == NULL || wanted[i]) && qk_probe_has(probe->pair, i) && known;
        if ((*mask)[i])
            *last = i;
    }
    return QK_OK;
}

/* True when the side's inputs of all wanted layers are known without a pass, from a file or a cache, or cannot be. */
static bool has_states(const struct pass *pass)
{
    const struct qk_states *states = &pass->probe->states[pass->side];
    if (pass->probe->origin == QK_ORIGIN_STATES || (pass->side == QK_PRE && pass->probe->pre_cannot != NULL))
        return true;
    for (int i = 0; i <= pass->last; i++)
        if (pass->wanted[i] && (states->layer == NULL || states->layer[i] == NULL))
            return false;
    return true;
}

/* Runs the side on states from a file. Pre has its own where the file exists; else post's serve it at post's turn. */
static enum qk_code run_states(struct pass *pass, struct qk_error *err)
{
    const struct qk_states *states = &pass->probe->states[pass->side];
    qk_progress_total(pass->progress, pass->total);
    for (int i = 0; i <= pass->last; i++) {
        QK_TRY(check_turn(pass, err));
        if (pass->wanted[i] && states->layer != NULL && states->layer[i] != NULL)
            QK_TRY(see_layer(pass, i, states->layer[i], false, err));
        qk_progress_add(pass->progress, 1);
    }
    return QK_OK;
}

static enum qk_code run_side(struct pass *pass, struct qk_error *err)
{
    enum qk_code code = has_states(pass) ? run_states(pass, err) : run_pass(pass, err);
    if (code != QK_OK)
        atomic_store(&pass->turns->failed, true);
    else
        seen_before(pass, pass->last + 1);
    return code;
}

struct sides {
    struct pass pass[QK_SIDE_COUNT];
    enum qk_code code[QK_SIDE_COUNT];
    struct qk_error error[QK_SIDE_COUNT];
};

/* Item: a side; post, which has more to do, begins first. */
static void run_item(void *context, size_t item, size_t worker)
{
    struct sides *sides = context;
    size_t side = item == 0 ? QK_POST : QK_PRE;
    (void)worker;
    sides->code[side] = run_side(&sides->pass[side], &sides->error[side]);
}

/* Bytes that one side needs: its pass, the maps that workers make beside it, and the states that it keeps. Each map of
 * a linear layer has a second one behind it, of another value head. */
static enum qk_code side_bytes(
    const struct pass *pass, enum qk_side side, size_t *bytes, struct qk_error *err)
{
    enum { MAPS = 4 };
    const struct qk_probe *probe = pass->probe;
    const struct qk_model *model = probe->pair->model[side];
    size_t T = probe->T, kept = 0;
    *bytes = 0;
    if (has_states(pass))
        return QK_OK;
    QK_TRY(qk_forward_bytes(model, T, bytes, err));
    for (int i = 0; (side == QK_POST || probe->keep_pre) && i <= pass->last; i++)
        kept += pass->wanted[i] ? T * (size_t)model->layer[i].d : 0;
    *bytes += (kept + MAPS * qk_parallel_workers(SIZE_MAX) * qk_attention_map_values(T)) * sizeof(float);
    return QK_OK;
}

/* *both: there are workers that one side leaves idle, which a few are not, and there is memory for both. QK_INPUT when
 * there is too little for one of them. */
static enum qk_code check_memory(const struct sides *sides, bool *both, struct qk_error *err)
{
    enum { MANY = 4 };
    const struct qk_probe *probe = sides->pass[QK_PRE].probe;
    size_t bytes[QK_SIDE_COUNT], may = probe->memory > 0 ? probe->memory : qk_spare_memory();
    char needed[QK_BYTES_TEXT], allowed[QK_BYTES_TEXT];
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        QK_TRY(side_bytes(&sides->pass[s], (enum qk_side)s, &bytes[s], err));
        if (bytes[s] > may)
            return qk_fail(err, QK_INPUT,
                "%s: a pass over %zu tokens needs about %s of memory, and may take %s; %s",
                probe->pair->model[s]->checkpoint->path, probe->T, qk_format_bytes(needed, bytes[s]),
                qk_format_bytes(allowed, may), "a shorter probe needs less");
    }
    *both = qk_parallel_workers(SIZE_MAX) >= MANY && bytes[QK_PRE] <= may / 2 && bytes[QK_POST] <= may / 2;
    return QK_OK;
}

/* The failure of a side, not the end that it made the other one come to; pre's before post's. */
static enum qk_code failure_of(const struct sides *sides, struct qk_error *err)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        if (sides->code[s] != QK_OK && sides->code[s] != QK_CANCELLED)
            return qk_fail(err, sides->code[s], "%s", sides->error[s].text);
    return sides->code[QK_PRE] != QK_OK ? sides->code[QK_PRE] : sides->code[QK_POST];
}

static enum qk_code run_sides(const struct pass *both, struct qk_error *err)
{
    struct turns turns = {0};
    struct sides sides = {0};
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        sides.pass[s] = *both;
        sides.pass[s].side = (enum qk_side)s;
        sides.pass[s].turns = &turns;
        sides.code[s] = QK_CANCELLED; /* before its turn */
        sides.pass[s].total = (uint64_t)QK_SIDE_COUNT * (uint64_t)(both->last + 1);
    }
    bool at_once = false;
    QK_TRY(check_memory(&sides, &at_once, err));
    if (at_once)
        qk_parallel_for(QK_SIDE_COUNT, run_item, &sides, both->progress);
    else
        for (int s = 0; s < QK_SIDE_COUNT && !atomic_load(&turns.failed); s++)
            sides.code[s] = run_side(&sides.pass[s], &sides.error[s]);
    announce(&sides.pass[QK_POST]);
    enum qk_code code = failure_of(&sides, err);
    return code == QK_CANCELLED ? qk_progress_check(both->progress, err) : code;
}

enum qk_code qk_probe_run(struct qk_probe *probe, const struct qk_patch *restored, const bool *wanted,
    const struct qk_probe_watch *watch, struct qk_progress *progress, struct qk_error *err)
{
    struct pass pass = {.probe = probe, .restored = restored, .watch = watch, .progress = progress};
    bool *mask;
    QK_TRY(choose_layers(probe, wanted, &mask, &pass.last, err));
    pass.wanted = mask;
    enum qk_code code = pass.last < 0 ? QK_OK : run_sides(&pass, err);
    free(mask);
    return code;
}

enum qk_code qk_probe_exact(const struct qk_probe *probe, const struct qk_patch *patch, const bool *wanted,
    struct qk_progress *progress, struct qk_layer_range *out, struct qk_error *err)
{
    /* With `exact` set, see_layer writes nothing into the probe. */
    struct pass pass = {.probe = (struct qk_probe *)(uintptr_t)probe,
        .side = QK_POST,
        .progress = progress,
        .patch = patch,
        .exact = out};
    bool *mask;
    if (probe->origin != QK_ORIGIN_PASS)
        return qk_fail(err, QK_INPUT, "the whole model cannot be run on states from a file");
    memset(out, 0, (size_t)probe->pair->n_layers * sizeof *out);
    QK_TRY(choose_layers(probe, wanted, &mask, &pass.last, err));
    pass.wanted = mask;
    pass.total = (uint64_t)(pass.last + 1);
    enum qk_code code = pass.last < 0 ? QK_OK : run_pass(&pass, err);
    free(mask);
    for (int i = 0; code != QK_OK && i < probe->pair->n_layers; i++)
        qk_layer_range_free(&out[i]);
    return code;
}
