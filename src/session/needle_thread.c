/* needle_thread.c - the work of the threads that measure needles: prompts, passes, and what choices ask for. */
#include "session/needle_thread.h"

#include "range/probe.h"

/* --- the first thread: prompts, the passes, exact runs --- */

/* Prompts for which both sides stay within the work, each number of post counted once for each token. */
static size_t affordable(const struct qk_model *model)
{
    double numbers = 1;
    for (size_t i = 0; i < model->checkpoint->n_tensors; i++)
        numbers += (double)qk_tensor_values(model->checkpoint->by_name[i]);
    double prompts = QK_NEEDLE_WORK / numbers / QK_SIDE_COUNT / QK_NEEDLE_LENGTH;
    return prompts >= QK_NEEDLE_PROMPTS ? QK_NEEDLE_PROMPTS
           : prompts <= QK_NEEDLE_LEAST ? QK_NEEDLE_LEAST
                                        : (size_t)prompts;
}

int qk_needle_run_shown(const struct needle_run *run)
{
    return (int)run->states.needles.n > 0 ? (int)(run->states.needles.n / 2) : -1;
}

static enum qk_code make_texts(
    struct needle_run *run, const struct qk_tokenizer *tokenizer, struct qk_error *err)
{
    int shown = qk_needle_run_shown(run);
    if (shown < 0)
        return QK_OK;
    const struct qk_needle *needle = &run->states.needles.item[shown];
    return qk_token_texts_make(tokenizer, needle->ids, needle->T, &run->texts, err);
}

static enum qk_code measure(
    struct needle_run *run, const struct qk_tokenizer *tokenizer, struct qk_error *err)
{
    const struct qk_pair *pair = run->base.session->pair;
    if (run->file != NULL)
        QK_TRY(qk_needle_prompts_open(run->file, tokenizer, &run->prompts, err));
    else
        QK_TRY(qk_needle_prompts_make(
            affordable(pair->model[QK_POST]), QK_NEEDLE_LENGTH, tokenizer, &run->prompts, err));
    QK_TRY(qk_progress_check(&run->base.progress, err));
    QK_TRY(qk_needle_measure_sides(pair, &run->prompts.needles, 0, QK_NEEDLE_KEPT, &run->base.progress,
        &run->measured, &run->states, err));
    QK_TRY(qk_needle_numbers(&run->measured, &run->numbers, err));
    return make_texts(run, tokenizer, err);
}

static enum qk_code run_passes(struct needle_run *run, struct qk_error *err)
{
    const struct qk_pair *pair = run->base.session->pair;
    const struct qk_model *post = pair->model[QK_POST];
    const char *why;
    struct qk_tokenizer *tokenizer;
    QK_TRY(qk_probe_pass_missing(pair, &why, err));
    if (why != NULL)
        return qk_fail(err, QK_INPUT, "%s: the %s family has no forward pass here: %s",
            post->checkpoint->path, post->family, why);
    QK_TRY(qk_tokenizer_open(post->checkpoint->folder, &tokenizer, err));
    enum qk_code code = measure(run, tokenizer, err);
    qk_tokenizer_free(tokenizer);
    return code;
}

void qk_needle_exact(struct run *base, const struct follow_job *job, struct run_event *event)
{
    const struct needle_run *run = (struct needle_run *)base;
    struct needle_event *own = (struct needle_event *)event;
    own->n_exact = base->n_layers;
    qk_needle_measure_current(base->session->pair, &run->prompts.needles, &job->selection, job->norms, 0,
        &base->follow.exact_progress, &own->exact, &event->error);
}

void *qk_needle_passes(void *argument)
{
    struct needle_run *run = argument;
    struct follow *follow = &run->base.follow;
    struct qk_error error = {0}, ended = {0};
    enum qk_code code = run_passes(run, &error);
    pthread_mutex_lock(&follow->mutex);
    run->ready = code == QK_OK;
    pthread_cond_broadcast(&follow->work);
    pthread_mutex_unlock(&follow->mutex);
    qk_run_post_done(&run->base, &error);
    if (code == QK_OK)
        qk_run_follow_exactly(&run->base, &ended);
    qk_run_post_end(&run->base, RUN_PASSES, &ended);
    return NULL;
}

/* --- the second thread: kept inputs, the present choices --- */

bool qk_needle_run_restored(const struct needle_run *run, int layer)
{
    const struct follow *follow = &run->base.follow;
    const struct qk_layer_choice *choice = &follow->selection.choice[layer];
    bool q_alone = run->base.session->pair->layer[layer].no_k != NULL;
    if (follow->norms || run->measured.restored == NULL || run->measured.restored[layer].n_heads == 0)
        return false;
    for (int r = 0; r < (q_alone ? 1 : QK_ROLE_COUNT); r++)
        if (choice->head[r] != NULL || choice->role[r].mode != QK_RESTORE)
            return false;
    return true;
}

bool qk_needle_has_layer(const struct run *base, int layer)
{
    const struct needle_run *run = (const struct needle_run *)base;
    return run->ready && run->states.needles.n > 0 && run->states.x[layer] != NULL &&
           !qk_needle_run_restored(run, layer);
}

void qk_needle_choices(struct run *base, const struct follow_job *job, struct run_event *event)
{
    const struct needle_run *run = (struct needle_run *)base;
    qk_needle_follow(base->session->pair, &run->states, job->layer, &job->selection, job->norms,
        &base->follow.layer_progress, &((struct needle_event *)event)->same, &event->error);
}

enum qk_code qk_needle_side_rows(struct run *base, int layer, enum qk_side side, const struct follow_job *job,
    size_t query, float **out, struct qk_error *err)
{
    const struct needle_run *run = (struct needle_run *)base;
    return qk_needle_rows(base->session->pair, &run->states, (size_t)qk_needle_run_shown(run), layer, side,
        job != NULL ? &job->selection : NULL, job != NULL && job->norms, query, out, err);
}
