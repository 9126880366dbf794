/* needle_work.c - prompts of a file or made ones, and a pair's passes over them. */
#include "cli/needle_work.h"

#include "cli/meter.h"
#include "cli/print.h"

#include <stdlib.h>

enum { MOST_SKIPPED = 5, SHORTEST = 64 };

void qk_needle_work_free(struct qk_needle_work *work)
{
    qk_needle_pair_free(&work->measured);
    qk_needle_prompts_free(&work->prompts);
    qk_tokenizer_free(work->tokenizer);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        free((void *)work->states[s].path);
    *work = (struct qk_needle_work){0};
}

enum qk_code qk_needle_work_options(
    const struct qk_arguments *arguments, struct qk_needle_work *work, struct qk_error *err)
{
    QK_TRY(qk_arguments_exclude(arguments, "needles", "length", err));
    QK_TRY(qk_arguments_exclude(arguments, "needles", "prompts", err));
    QK_TRY(qk_arguments_number(arguments, "length", SHORTEST, 1 << 20, QK_NEEDLE_LENGTH, &work->length, err));
    QK_TRY(qk_arguments_number(arguments, "prompts", 1, 1 << 16, QK_NEEDLE_PROMPTS, &work->n_prompts, err));
    work->file = qk_arguments_text(arguments, "needles");
    return QK_OK;
}

enum qk_code qk_needle_work_states(
    const struct qk_arguments *arguments, struct qk_needle_work *work, struct qk_error *err)
{
    static const char *const NAME[QK_SIDE_COUNT] = {[QK_PRE] = "states-pre", [QK_POST] = "states"};
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(qk_arguments_all(arguments, NAME[s], &work->states[s].path, &work->states[s].n, err));
    if (work->states[QK_PRE].n > 0 && work->states[QK_POST].n == 0)
        return qk_fail(err, QK_USAGE, "--states-pre needs --states, which gives post's");
    if (work->states[QK_POST].n > 0 && work->file == NULL)
        return qk_fail(err, QK_USAGE, "--states needs --needles, the file of their prompts");
    return QK_OK;
}

static enum qk_code read_needles(struct qk_needle_work *work, struct qk_error *err)
{
    struct qk_needle_prompts *prompts = &work->prompts;
    QK_TRY(qk_needle_prompts_open(work->file, work->tokenizer, prompts, err));
    for (size_t i = 0; i < prompts->skipped.n && i < MOST_SKIPPED; i++)
        qk_print_note("%s", prompts->skipped.line[i]);
    if (prompts->n_skipped > MOST_SKIPPED)
        qk_print_note("%zu more cases are no needles", prompts->n_skipped - MOST_SKIPPED);
    return QK_OK;
}

enum qk_code qk_needle_work_prompts(
    const struct qk_pair *pair, struct qk_needle_work *work, struct qk_error *err)
{
    QK_TRY(qk_tokenizer_open(pair->model[QK_POST]->checkpoint->folder, &work->tokenizer, err));
    if (work->file != NULL)
        return read_needles(work, err);
    return qk_needle_prompts_make(
        (size_t)work->n_prompts, (size_t)work->length, work->tokenizer, &work->prompts, err);
}

enum qk_code qk_needle_work_measure(const struct qk_pair *pair, const struct qk_selection *selection,
    bool norms, struct qk_needle_work *work, struct qk_error *err)
{
    struct qk_meter meter;
    qk_meter_start(&meter, "needles", false);
    enum qk_code code = work->states[QK_POST].n > 0
                            ? qk_needle_measure_states(pair, &work->prompts.needles, work->states, selection,
                                  norms, &meter.progress, &work->measured, err)
                            : qk_needle_measure(pair, &work->prompts.needles, selection, norms, 0,
                                  &meter.progress, &work->measured, err);
    qk_meter_stop(&meter);
    return code;
}

const char *qk_needle_work_source(const struct qk_needle_work *work)
{
    return work->file != NULL ? work->file : "made for the tokenizer";
}
