/* exam.c - groups of cases that pass through greedy generation. */
#include "eval/exam.h"

#include "base/mem.h"
#include "base/text.h"
#include "forward/forward.h"
#include "forward/generate.h"

#include <stdlib.h>
#include <string.h>

/* The size of a group: enough tokens for every processor to have work, and few enough to keep their states below so
 * many bytes. */
enum { GROUP_TOKENS = 1 << 14, GROUP_CASES = 64, GROUP_BYTES = 1 << 30 };

/* --- what is asked --- */

/* Digest of everything on which the answer depends, except the weights. */
static void digest_case(const struct qk_exam *exam, size_t i, char out[QK_DIGEST_TEXT])
{
    const struct qk_case_tokens *t = &exam->tokens[i];
    struct qk_digest digest;
    char text[QK_DIGEST_TEXT];
    qk_case_digest(&exam->cases->item[i], text);
    qk_digest_init(&digest);
    qk_digest_add(&digest, text, sizeof text);
    qk_digest_add(&digest, &t->n_prompt, sizeof t->n_prompt);
    qk_digest_add(&digest, t->prompt, t->n_prompt * sizeof *t->prompt);
    qk_digest_add(&digest, t->answer, t->n_answer * sizeof *t->answer);
    qk_digest_add(&digest, &t->limit, sizeof t->limit);
    qk_digest_add(&digest, exam->ends.id, exam->ends.n * sizeof *exam->ends.id);
    qk_digest_hex(&digest, out);
}

/* Notes whether the case has tokens that the model does not know. */
static enum qk_code check_ids(
    struct qk_exam *exam, size_t i, size_t vocabulary, const char *model, struct qk_error *err)
{
    const struct qk_case_tokens *t = &exam->tokens[i];
    const struct qk_case *item = &exam->cases->item[i];
    struct qk_text text = {0};
    size_t at, behind;
    size_t in_prompt = qk_unknown_ids(t->prompt, t->n_prompt, vocabulary, &at);
    size_t in_answer = qk_unknown_ids(t->answer, t->n_answer, vocabulary, &behind);
    exam->foreign[i] = in_prompt > 0 || in_answer > 0;
    if (!exam->foreign[i] || exam->n_foreign++ > 0)
        return QK_OK;
    qk_text_add(&text,
        "%s: the tokenizer does not fit the model: a token of %s:%zu "
        "is outside the vocabulary (found %d, expected 0 to %zu)",
        model, exam->cases->file[item->file], item->line,
        (int)(in_prompt > 0 ? t->prompt[at] : t->answer[behind]), vocabulary - 1);
    return qk_text_take(&text, &exam->why, err);
}

static enum qk_code encode_all(const struct qk_model *model, struct qk_exam *exam, struct qk_error *err)
{
    const struct qk_cases *cases = exam->cases;
    size_t vocabulary;
    QK_TRY(qk_forward_vocabulary(model, &vocabulary, err));
    QK_TRY(qk_alloc(&exam->tokens, cases->n, sizeof *exam->tokens, err));
    QK_TRY(qk_alloc(&exam->digest, cases->n, sizeof *exam->digest, err));
    QK_TRY(qk_alloc(&exam->foreign, cases->n, sizeof *exam->foreign, err));
    for (size_t i = 0; i < cases->n; i++) {
        QK_TRY(qk_case_encode(cases, i, exam->tokenizer, exam->chat, &exam->tokens[i], err));
        QK_TRY(check_ids(exam, i, vocabulary, model->checkpoint->path, err));
        digest_case(exam, i, exam->digest[i]);
    }
    return QK_OK;
}

static bool has_chats(const struct qk_cases *cases)
{
    for (size_t i = 0; i < cases->n; i++)
        if (cases->item[i].messages != NULL)
            return true;
    return false;
}

enum qk_code qk_exam_open(
    const struct qk_model *model, const struct qk_cases *cases, struct qk_exam *out, struct qk_error *err)
{
    *out = (struct qk_exam){.cases = cases};
    QK_TRY(qk_forward_check(model, err));
    enum qk_code code = qk_tokenizer_open(model->checkpoint->folder, &out->tokenizer, err);
    if (code == QK_OK)
        code = qk_ends_read(model->checkpoint->folder, &out->ends, err);
    if (code == QK_OK && has_chats(cases))
        code = qk_chat_open(model->checkpoint->folder, &out->chat, err);
    if (code == QK_OK)
        code = encode_all(model, out, err);
    if (code != QK_OK)
        qk_exam_close(out);
    return code;
}

void qk_exam_close(struct qk_exam *exam)
{
    for (size_t i = 0; exam->tokens != NULL && i < exam->cases->n; i++)
        qk_case_tokens_free(&exam->tokens[i]);
    free(exam->tokens);
    free(exam->digest);
    free(exam->foreign);
    free(exam->why);
    qk_ends_free(&exam->ends);
    qk_chat_free(exam->chat);
    qk_tokenizer_free(exam->tokenizer);
    *exam = (struct qk_exam){0};
}

size_t qk_exam_cost(const struct qk_exam *exam, size_t i)
{
    return exam->tokens[i].n_prompt + exam->tokens[i].limit;
}

size_t qk_exam_longest(const struct qk_exam *exam)
{
    size_t longest = 1;
    for (size_t i = 0; i < exam->cases->n; i++)
        longest = qk_exam_cost(exam, i) > longest ? qk_exam_cost(exam, i) : longest;
    return longest;
}

/* Linear layers may have twice as many heads of v as of k. */
void qk_exam_kept_bytes(const struct qk_model *model, size_t *token, size_t *sequence)
{
    struct qk_error ignored = {0}; /* the model has run: its row is right */
    size_t floats;
    *token = *sequence = 0;
    if (qk_forward_state(model, &floats, &ignored) == QK_OK)
        *sequence = floats * sizeof(float);
    for (int i = 0; i < model->n_layers; i++) {
        const struct qk_layer *layer = &model->layer[i];
        size_t hd = (size_t)layer->head_dim, heads = (size_t)layer->role[QK_K].n_heads;
        if (qk_kind_softmax(layer->kind))
            *token += 2 * heads * hd * sizeof(float);
        else if (layer->kind == QK_LINEAR)
            *sequence += 2 * heads * hd * hd * sizeof(float);
    }
}

/* --- the answers --- */

/* One group: the check of each sequence, and the first fault of a check. */
struct group {
    struct qk_answer answer[GROUP_CASES];
    enum qk_code code;
    struct qk_error *err;
};

static bool take_token(void *context, size_t sequence, int32_t id)
{
    struct group *group = context;
    struct qk_answer *answer = &group->answer[sequence];
    if (group->code == QK_OK)
        group->code = qk_answer_take(answer, id, group->err);
    return group->code == QK_OK && answer->verdict == QK_GO_ON;
}

static enum qk_code take_group(const struct qk_exam *exam, struct qk_network *network, size_t n,
    const size_t *list, const struct qk_kept_run *kept, signed char *out, struct qk_progress *progress,
    struct qk_error *err)
{
    struct group *group;
    struct qk_prompt prompt[GROUP_CASES];
    QK_TRY(qk_alloc(&group, 1, sizeof *group, err));
    group->err = err;
    for (size_t i = 0; i < n; i++) {
        const struct qk_case_tokens *tokens = &exam->tokens[list[i]];
        prompt[i] = (struct qk_prompt){tokens->prompt, tokens->n_prompt, tokens->limit, list[i]};
        qk_answer_start(&group->answer[i], &exam->cases->item[list[i]], tokens, exam->tokenizer, &exam->ends);
    }
    enum qk_code code = qk_generate(network, prompt, n, kept, take_token, group, progress, err);
    if (code == QK_OK)
        code = group->code;
    for (size_t i = 0; i < n; i++) {
        out[i] = group->answer[i].verdict == QK_RIGHT;
        qk_answer_free(&group->answer[i]);
    }
    free(group);
    return code;
}

/* Tokens of a case that it does not share with the one before. */
static size_t own_tokens(const struct qk_exam *exam, size_t i, size_t before)
{
    const struct qk_case_tokens *a = &exam->tokens[before], *b = &exam->tokens[i];
    return qk_exam_cost(exam, i) - qk_prompt_shared(a->prompt, a->n_prompt, b->prompt, b->n_prompt);
}

/* Length of the first group of the list, at least one. Common tokens are computed once, but kept for each. */
static size_t group_length(
    const struct qk_exam *exam, size_t token, size_t sequence, size_t n, const size_t *list)
{
    size_t work = 0, tokens = 0, i = 0;
    for (; i < n && i < GROUP_CASES; i++) {
        work += i > 0 ? own_tokens(exam, list[i], list[i - 1]) : qk_exam_cost(exam, list[i]);
        tokens += qk_exam_cost(exam, list[i]);
        if (i > 0 && (work > GROUP_TOKENS || tokens * token + (i + 1) * sequence > GROUP_BYTES))
            break;
    }
    return i;
}

enum qk_code qk_exam_take(const struct qk_exam *exam, struct qk_network *network, size_t n,
    const size_t *list, const struct qk_kept_run *kept, signed char *answer,
    const struct qk_exam_watch *watch, struct qk_progress *progress, struct qk_error *err)
{
    size_t token, sequence;
    qk_exam_kept_bytes(qk_network_model(network), &token, &sequence);
    for (size_t from = 0, length; from < n; from += length) {
        length = group_length(exam, token, sequence, n - from, list + from);
        QK_TRY(take_group(exam, network, length, list + from, kept, answer + from, progress, err));
        if (watch != NULL)
            watch->done(watch->context, length, list + from, answer + from);
    }
    return QK_OK;
}
