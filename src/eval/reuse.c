/* reuse.c - the kept activations of the cases, and the layers at which selections may begin. */
#include "eval/reuse.h"

#include "base/mem.h"

#include <stdlib.h>

struct qk_reuse {
    size_t n_layers;
    struct qk_kept *kept;
    struct qk_lineage *lineage;
    size_t *number; /* of the model that is asked; this and those below: n_layers + 1 */
    bool *shared, *keep;
    bool *inputs; /* a selection may begin there */
    char (*plain)[QK_DIGEST_TEXT];
};

/* Bytes of what the cases keep, with the inputs of so many layers. */
static double bytes_of(const struct qk_exam *exam, const struct qk_model *model, size_t inputs)
{
    size_t token, sequence;
    double bytes = 0;
    qk_exam_kept_bytes(model, &token, &sequence);
    for (size_t i = 0; i < exam->cases->n; i++)
        bytes += (double)exam->tokens[i].n_prompt *
                     (double)(token + inputs * (size_t)qk_model_width(model) * sizeof(float)) +
                 (double)sequence;
    return bytes;
}

/* A selection may begin at each layer that has q and k. Where the inputs of all of them do not fit for all cases, only
 * those of softmax layers are kept: restoring these is what pays. */
static void choose_inputs(
    struct qk_reuse *reuse, const struct qk_pair *pair, const struct qk_exam *exam, size_t bytes)
{
    size_t inputs = 0, softmax = 0;
    for (size_t l = 1; l < reuse->n_layers; l++) {
        reuse->inputs[l] = pair->layer[l].has_qk && pair->layer[l].problem == NULL;
        inputs += reuse->inputs[l];
        softmax += reuse->inputs[l] && qk_kind_softmax(pair->model[QK_POST]->layer[l].kind);
    }
    bool all = softmax == 0 || bytes_of(exam, pair->model[QK_POST], inputs) <= (double)bytes;
    for (size_t l = 1; l < reuse->n_layers && !all; l++)
        reuse->inputs[l] = reuse->inputs[l] && qk_kind_softmax(pair->model[QK_POST]->layer[l].kind);
}

enum qk_code qk_reuse_open(const struct qk_pair *pair, const struct qk_exam *exam, size_t bytes,
    struct qk_reuse **out, struct qk_error *err)
{
    struct qk_reuse *reuse;
    size_t n = (size_t)pair->n_layers;
    *out = NULL;
    QK_TRY(qk_alloc(&reuse, 1, sizeof *reuse, err));
    reuse->n_layers = n;
    enum qk_code code = qk_kept_open(exam->cases->n, bytes, &reuse->kept, err);
    if (code == QK_OK)
        code = qk_lineage_open(&reuse->lineage, err);
    if (code == QK_OK)
        code = qk_alloc(&reuse->number, n + 1, sizeof *reuse->number, err);
    if (code == QK_OK)
        code = qk_alloc(&reuse->shared, n + 1, sizeof *reuse->shared, err);
    if (code == QK_OK)
        code = qk_alloc(&reuse->keep, n + 1, sizeof *reuse->keep, err);
    if (code == QK_OK)
        code = qk_alloc(&reuse->inputs, n + 1, sizeof *reuse->inputs, err);
    if (code == QK_OK)
        code = qk_alloc(&reuse->plain, n, sizeof *reuse->plain, err);
    if (code != QK_OK) {
        qk_reuse_close(reuse);
        return code;
    }
    choose_inputs(reuse, pair, exam, bytes);
    *out = reuse;
    return QK_OK;
}

void qk_reuse_close(struct qk_reuse *reuse)
{
    if (reuse == NULL)
        return;
    qk_kept_close(reuse->kept);
    qk_lineage_close(reuse->lineage);
    free(reuse->number);
    free(reuse->shared);
    free(reuse->keep);
    free(reuse->inputs);
    free(reuse->plain);
    free(reuse);
}

enum qk_code qk_reuse_begin(struct qk_reuse *reuse, const char (*change)[QK_DIGEST_TEXT],
    struct qk_kept_run *run, struct qk_error *err)
{
    bool wanted = false; /* a selection may begin at this layer or behind it */
    if (reuse == NULL)
        return QK_OK;
    if (change == NULL)
        change = (const char(*)[QK_DIGEST_TEXT])reuse->plain;
    QK_TRY(qk_lineage_follow(reuse->lineage, reuse->n_layers, change, reuse->number, reuse->shared, err));
    for (size_t l = reuse->n_layers + 1; l-- > 0;) {
        wanted = wanted || reuse->inputs[l];
        reuse->keep[l] = wanted && reuse->shared[l];
    }
    *run = (struct qk_kept_run){reuse->kept, reuse->number, reuse->keep, reuse->inputs};
    return QK_OK;
}
