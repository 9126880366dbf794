/* built_in.c - the engine that is this program: its tokenizer, its forward pass, and post's activations kept. */
#include "eval/engine/engine.h"

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "blend/patch.h"
#include "eval/exam.h"
#include "eval/reuse.h"
#include "linalg/gemm.h"
#include "model/identity.h"

#include <stdlib.h>
#include <string.h>

struct subject_side {
    const struct qk_model *model;
    struct qk_exam exam;
    struct qk_network *network; /* NULL until it is first asked */
    bool opened;                /* exam is valid */
};

struct built_in {
    const struct qk_pair *pair; /* NULL: one checkpoint, as post */
    const struct qk_cases *cases;
    size_t memory;
    struct subject_side side[QK_SIDE_COUNT];
    struct qk_reuse *reuse; /* of post's activations; NULL: none */
};

/* --- opening --- */

static enum qk_code prepare(void *state, enum qk_side side, struct qk_error *err)
{
    struct built_in *b = state;
    struct subject_side *s = &b->side[side];
    if (s->opened)
        return QK_OK;
    QK_TRY(qk_exam_open(s->model, b->cases, &s->exam, err));
    s->opened = true;
    return QK_OK;
}

/* Half of what the process may still take, or 2 GiB where the system does not say. */
static size_t half_of_memory(void)
{
    size_t spare = qk_spare_memory();
    return spare < SIZE_MAX ? spare / 2 : (size_t)1 << 31;
}

/* Half of the memory that the weights leave keeps activations. */
static enum qk_code open_reuse(struct built_in *b, struct qk_error *err)
{
    uint64_t weights = 0;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        for (size_t i = 0; i < b->pair->model[s]->checkpoint->n_tensors; i++)
            weights += qk_tensor_values(b->pair->model[s]->checkpoint->by_name[i]) * sizeof(float);
    if (weights >= b->memory)
        return QK_OK;
    return qk_reuse_open(b->pair, &b->side[QK_POST].exam, (b->memory - (size_t)weights) / 2, &b->reuse, err);
}

static void close_built_in(void *state)
{
    struct built_in *b = state;
    if (b == NULL)
        return;
    qk_reuse_close(b->reuse);
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        qk_network_close(b->side[s].network);
        if (b->side[s].opened)
            qk_exam_close(&b->side[s].exam);
    }
    free(b);
}

static enum qk_code open_built_in(const struct qk_engine_setting *setting, void **state, struct qk_error *err)
{
    struct built_in *b;
    QK_TRY(qk_alloc(&b, 1, sizeof *b, err));
    b->pair = setting->pair;
    b->cases = setting->cases;
    b->memory = setting->options.memory > 0 ? setting->options.memory : half_of_memory();
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        b->side[s].model = setting->model[s];
    enum qk_code code = prepare(b, QK_POST, err);
    const struct qk_exam *exam = &b->side[QK_POST].exam;
    if (code == QK_OK && b->cases->n > 0 && exam->n_foreign == b->cases->n)
        code = qk_fail(err, QK_INPUT, "%s", exam->why);
    if (code == QK_OK && b->pair != NULL && setting->options.reuse)
        code = open_reuse(b, err);
    if (code == QK_OK)
        *state = b;
    else
        close_built_in(b);
    return code;
}

static enum qk_code open_network(struct built_in *b, enum qk_side side, struct qk_error *err)
{
    struct subject_side *s = &b->side[side];
    if (s->network != NULL)
        return QK_OK;
    size_t share = b->pair != NULL ? QK_SIDE_COUNT : 1;
    return qk_network_open(s->model, NULL, qk_exam_longest(&s->exam), b->memory / share, &s->network, err);
}

/* --- keys --- */

static const char *digest(const void *state, enum qk_side side, size_t i)
{
    return ((const struct built_in *)state)->side[side].exam.digest[i];
}

static size_t cost(const void *state, size_t i)
{
    return qk_exam_cost(&((const struct built_in *)state)->side[QK_POST].exam, i);
}

static bool has_key(const cJSON *item, const char *key)
{
    if (qk_json_get(item, key) != NULL)
        return true;
    for (const cJSON *child = item != NULL ? item->child : NULL; child != NULL; child = child->next)
        if (has_key(child, key))
            return true;
    return false;
}

/* Adds the precision, how tokens are spelled, and the longest case where rotary frequencies depend on it
 * (forward/network.h). */
static void identify(const void *state, enum qk_side side, struct qk_digest *digest)
{
    const struct subject_side *s = &((const struct built_in *)state)->side[side];
    size_t longest = qk_exam_longest(&s->exam);
    qk_precision_add(digest);
    qk_identity_add_beside(digest, s->model, "tokenizer.json");
    if (has_key(s->model->config.root, "long_factor"))
        qk_digest_add(digest, &longest, sizeof longest);
}

/* --- asking --- */

/* Asks post's network, or one that is derived from it with changes in layers (qk_lineage_follow). */
static enum qk_code take_post(struct built_in *b, struct qk_network *network,
    const char (*change)[QK_DIGEST_TEXT], const struct qk_inquiry *q, struct qk_error *err)
{
    struct qk_kept_run run;
    QK_TRY(qk_reuse_begin(b->reuse, change, &run, err));
    return qk_exam_take(&b->side[QK_POST].exam, network, q->n, q->cases, b->reuse != NULL ? &run : NULL,
        q->answer, q->watch, q->progress, err);
}

/* Asks post with a selection. */
static enum qk_code take_changed(
    struct built_in *b, struct qk_subject subject, const struct qk_inquiry *q, struct qk_error *err)
{
    struct subject_side *post = &b->side[QK_POST];
    size_t n_layers = (size_t)post->model->n_layers;
    struct qk_selection_patch patch;
    struct qk_network *network = NULL;
    bool *changed = NULL;
    char(*change)[QK_DIGEST_TEXT] = NULL;
    enum qk_code code = qk_selection_patch_make(b->pair, subject.selection, -1, subject.norms, &patch, err);
    if (code == QK_OK)
        code = qk_alloc(&changed, n_layers, sizeof *changed, err);
    if (code == QK_OK)
        code = qk_alloc(&change, n_layers, sizeof *change, err);
    for (size_t i = 0; code == QK_OK && i < n_layers; i++)
        changed[i] = qk_selection_patch_changes(&patch, (int)i);
    if (code == QK_OK) {
        qk_subject_changes(&subject, changed, change);
        code = qk_network_derive(post->network, &patch.patch, changed, &network, err);
    }
    if (code == QK_OK)
        code = take_post(b, network, (const char(*)[QK_DIGEST_TEXT])change, q, err);
    qk_network_close(network);
    free(change);
    free(changed);
    qk_selection_patch_free(&patch);
    return code;
}

static enum qk_code take(
    void *state, struct qk_subject subject, const struct qk_inquiry *q, struct qk_error *err)
{
    struct built_in *b = state;
    struct subject_side *side = &b->side[subject.side];
    QK_TRY(open_network(b, subject.side, err));
    if (subject.selection != NULL)
        return take_changed(b, subject, q, err);
    if (subject.side == QK_POST)
        return take_post(b, side->network, NULL, q, err);
    return qk_exam_take(
        &side->exam, side->network, q->n, q->cases, NULL, q->answer, q->watch, q->progress, err);
}

/* --- tokens --- */

static bool is_foreign(const void *state, enum qk_side side, size_t i)
{
    return ((const struct built_in *)state)->side[side].exam.foreign[i];
}

static const char *foreign(const void *state, enum qk_side side, size_t *n)
{
    const struct subject_side *s = &((const struct built_in *)state)->side[side];
    *n = s->opened ? s->exam.n_foreign : 0;
    return s->opened ? s->exam.why : NULL;
}

static bool same_ids(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * sizeof *a) == 0);
}

static size_t unlike(const void *state, size_t *first)
{
    const struct built_in *built_in = state;
    const struct qk_exam *pre = &built_in->side[QK_PRE].exam, *post = &built_in->side[QK_POST].exam;
    size_t n = 0;
    if (!built_in->side[QK_PRE].opened || !built_in->side[QK_POST].opened)
        return 0;
    for (size_t i = built_in->cases->n; i-- > 0;) {
        const struct qk_case_tokens *a = &pre->tokens[i], *b = &post->tokens[i];
        if (same_ids(a->prompt, a->n_prompt, b->prompt, b->n_prompt) &&
            same_ids(a->answer, a->n_answer, b->answer, b->n_answer))
            continue;
        *first = i;
        n++;
    }
    return n;
}

const struct qk_engine_ops qk_engine_built_in = {
    .name = "built-in",
    .open = open_built_in,
    .close = close_built_in,
    .prepare = prepare,
    .digest = digest,
    .cost = cost,
    .identify = identify,
    .take = take,
    .is_foreign = is_foreign,
    .foreign = foreign,
    .unlike = unlike,
};
