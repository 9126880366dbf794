/* answer.c - the comparison of a growing continuation with the answer. */
#include "eval/answer.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/config.h"
#include "tensor/source.h"

#include <stdlib.h>
#include <string.h>

/* --- ids that end a text --- */

enum { MAX_CONFIG_BYTES = 8 << 20, MOST_ENDS = 1024 };

static enum qk_code add_end(const char *path, const cJSON *item, struct qk_ends *out, struct qk_error *err)
{
    uint64_t id;
    if (!qk_json_u64(item, &id) || id > INT32_MAX || out->n == MOST_ENDS)
        return qk_fail(err, QK_INPUT, "%s: eos_token_id is neither a token id nor a list of them", path);
    QK_TRY(qk_grow(&out->id, &out->capacity, out->n + 1, sizeof *out->id, err));
    out->id[out->n++] = (int32_t)id;
    return QK_OK;
}

static enum qk_code add_ends(const char *path, const cJSON *object, struct qk_ends *out, struct qk_error *err)
{
    const cJSON *item = qk_json_get(object, "eos_token_id");
    if (item == NULL || cJSON_IsNull(item))
        return QK_OK;
    if (!cJSON_IsArray(item))
        return add_end(path, item, out, err);
    for (const cJSON *id = item->child; id != NULL; id = id->next)
        QK_TRY(add_end(path, id, out, err));
    return QK_OK;
}

static enum qk_code read_generation_config(const char *folder, struct qk_ends *out, struct qk_error *err)
{
    char *path;
    bool found;
    cJSON *root = NULL;
    QK_TRY(qk_path_join(folder, "generation_config.json", &path, err));
    enum qk_code code = qk_source_exists(path, &found, err);
    if (code == QK_OK && found)
        code = qk_source_json(path, MAX_CONFIG_BYTES, &root, err);
    if (code == QK_OK)
        code = add_ends(path, root, out, err);
    cJSON_Delete(root);
    free(path);
    return code;
}

enum qk_code qk_ends_read(const char *folder, struct qk_ends *out, struct qk_error *err)
{
    struct qk_config config;
    QK_TRY(read_generation_config(folder, out, err));
    if (out->n > 0)
        return QK_OK;
    QK_TRY(qk_config_open(folder, &config, err));
    enum qk_code code = add_ends(config.path, config.text, out, err);
    if (code == QK_OK && out->n == 0 && config.text != config.root)
        code = add_ends(config.path, config.root, out, err);
    qk_config_close(&config);
    return code;
}

void qk_ends_free(struct qk_ends *ends)
{
    free(ends->id);
    *ends = (struct qk_ends){0};
}

static bool is_end(const struct qk_ends *ends, int32_t id)
{
    for (size_t i = 0; i < ends->n; i++)
        if (ends->id[i] == id)
            return true;
    return false;
}

/* --- the comparison --- */

void qk_answer_start(struct qk_answer *answer, const struct qk_case *item,
    const struct qk_case_tokens *tokens, const struct qk_tokenizer *tokenizer, const struct qk_ends *ends)
{
    *answer = (struct qk_answer){.item = item,
        .tokens = tokens,
        .tokenizer = tokenizer,
        .ends = ends,
        .started = item->after == NULL,
        .verdict = QK_GO_ON};
}

void qk_answer_free(struct qk_answer *answer)
{
    qk_text_free(&answer->text);
}

static enum qk_verdict compare_ids(const struct qk_answer *answer, int32_t id)
{
    if (id != answer->tokens->answer[answer->taken - 1])
        return QK_WRONG;
    return answer->taken == answer->tokens->n_answer ? QK_RIGHT : QK_GO_ON;
}

static enum qk_code add_piece(struct qk_answer *answer, int32_t id, struct qk_error *err)
{
    static const char unknown[] = "\xef\xbf\xbd"; /* U+FFFD */
    char *piece;
    size_t n;
    struct qk_error unheard = {0};
    enum qk_code code = qk_tokenizer_piece(answer->tokenizer, id, &piece, &n, &unheard);
    if (code != QK_OK && code != QK_INPUT) {
        *err = unheard;
        return code;
    }
    if (code == QK_OK) {
        qk_text_add_bytes(&answer->text, piece, n);
        free(piece);
    } else {
        qk_text_add_bytes(&answer->text, unknown, sizeof unknown - 1);
    }
    return answer->text.failed ? qk_fail_memory(err, answer->text.length) : QK_OK;
}

static void look_for_start(struct qk_answer *answer)
{
    size_t n = strlen(answer->item->after);
    const struct qk_text *text = &answer->text;
    const char *found =
        memmem(text->s + answer->searched, text->length - answer->searched, answer->item->after, n);
    if (found != NULL) {
        answer->started = true;
        answer->start = (size_t)(found - text->s) + n;
    } else if (text->length >= n) {
        answer->searched = text->length - n + 1; /* it may begin with the last n - 1 bytes */
    }
}

/* *n_matched = the length of the beginning of `wanted` at text[at, n); false where the text differs. */
static bool matches(const char *text, size_t n, const char *wanted, size_t *n_matched)
{
    size_t length = strlen(wanted);
    *n_matched = n < length ? n : length;
    return memcmp(text, wanted, *n_matched) == 0;
}

/* The text behind answer_after must be answer + until. The reader of the cases ensures that answer_until does not
 * come earlier. At the `end` answer_until may be missing, but not begun. */
static enum qk_verdict compare_text(const struct qk_answer *answer, bool end)
{
    const char *rest = answer->text.s + answer->start;
    size_t n = answer->text.length - answer->start, matched;
    if (!matches(rest, n, answer->item->answer, &matched))
        return QK_WRONG;
    if (matched < strlen(answer->item->answer))
        return QK_GO_ON;
    if (answer->item->until == NULL || (end && n == matched))
        return QK_RIGHT;
    rest += matched;
    if (!matches(rest, n - matched, answer->item->until, &matched))
        return QK_WRONG;
    return matched == strlen(answer->item->until) ? QK_RIGHT : QK_GO_ON;
}

enum qk_code qk_answer_take(struct qk_answer *answer, int32_t id, struct qk_error *err)
{
    if (answer->verdict != QK_GO_ON)
        return QK_OK;
    bool by_ids = answer->tokens->n_answer > 0, end = !by_ids && is_end(answer->ends, id);
    answer->taken++;
    if (!by_ids && !end)
        QK_TRY(add_piece(answer, id, err));
    if (!answer->started && !end)
        look_for_start(answer);
    if (by_ids)
        answer->verdict = compare_ids(answer, id);
    else if (answer->started && answer->text.s != NULL)
        answer->verdict = compare_text(answer, end);
    bool over = end || answer->taken >= answer->tokens->limit;
    if (over && answer->verdict == QK_GO_ON)
        answer->verdict = QK_WRONG;
    return QK_OK;
}
