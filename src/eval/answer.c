/* answer.c - the comparison of a growing continuation with the answer. */
#include "eval/answer.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/config.h"
#include "tensor/source.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

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
    qk_text_free(&answer->lower);
    qk_lines_free(&answer->missing);
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

/* The text behind answer_after must be wanted + until. The reader of the cases ensures that answer_until does not
 * come earlier. At the `end` answer_until may be missing, but not begun. */
static enum qk_verdict compare_with(const struct qk_answer *answer, const char *wanted, bool end)
{
    const char *rest = answer->text.s + answer->start;
    size_t n = answer->text.length - answer->start, matched;
    if (!matches(rest, n, wanted, &matched))
        return QK_WRONG;
    if (matched < strlen(wanted))
        return QK_GO_ON;
    if (answer->item->until == NULL || (end && n == matched))
        return QK_RIGHT;
    rest += matched;
    if (!matches(rest, n - matched, answer->item->until, &matched))
        return QK_WRONG;
    return matched == strlen(answer->item->until) ? QK_RIGHT : QK_GO_ON;
}

/* The best that any of the answers allows. */
static enum qk_verdict compare_text(const struct qk_answer *answer, bool end)
{
    enum qk_verdict best = QK_WRONG;
    const char *wanted;
    for (size_t i = 0; best != QK_RIGHT && (wanted = qk_case_answer(answer->item, i)) != NULL; i++) {
        enum qk_verdict verdict = compare_with(answer, wanted, end);
        best = verdict == QK_WRONG ? best : verdict;
    }
    return best;
}

/* --- answers anywhere in the text --- */

/* Adds bytes in lower case, letter by letter; bytes that are no UTF-8 as they are. */
static void add_lower(struct qk_text *to, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t letter;
        utf8proc_uint8_t lower[4];
        utf8proc_ssize_t length =
            utf8proc_iterate((const utf8proc_uint8_t *)bytes + i, (utf8proc_ssize_t)(n - i), &letter);
        if (length <= 0) {
            qk_text_add_bytes(to, bytes + i, 1);
            i++;
            continue;
        }
        utf8proc_ssize_t written = utf8proc_encode_char(utf8proc_tolower(letter), lower);
        qk_text_add_bytes(to, (const char *)lower, (size_t)written);
        i += (size_t)length;
    }
}

/* Lists the answers in lower case, once. */
static enum qk_code list_missing(struct qk_answer *answer, struct qk_error *err)
{
    const char *wanted;
    for (size_t i = 0; (wanted = qk_case_answer(answer->item, i)) != NULL; i++) {
        struct qk_text lower = {0};
        add_lower(&lower, wanted, strlen(wanted));
        enum qk_code code = lower.failed ? qk_fail_memory(err, strlen(wanted))
                                         : qk_lines_add(&answer->missing, err, "%s", lower.s);
        qk_text_free(&lower);
        QK_TRY(code);
    }
    return QK_OK;
}

/* The place of the first text that ends the answer, or the end of the text. */
static size_t find_stop(const struct qk_answer *answer, bool *found)
{
    const struct qk_case *item = answer->item;
    const char *text = answer->text.s + answer->start, *first = NULL;
    for (size_t i = 0; i <= item->n_stop; i++) {
        const char *stop = i < item->n_stop ? item->stop[i] : item->until;
        const char *place =
            stop != NULL ? memmem(text, answer->text.length - answer->start, stop, strlen(stop)) : NULL;
        first = place != NULL && (first == NULL || place < first) ? place : first;
    }
    *found = first != NULL;
    return first != NULL ? (size_t)(first - answer->text.s) : answer->text.length;
}

/* The length of the text without a character at its end whose bytes have not all come. */
static size_t whole_characters(const char *text, size_t n)
{
    size_t tail = 0;
    while (tail < 3 && tail < n && ((unsigned char)text[n - 1 - tail] & 0xc0) == 0x80)
        tail++;
    if (tail == n)
        return n;
    unsigned char lead = (unsigned char)text[n - 1 - tail];
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return length > tail + 1 ? n - 1 - tail : n;
}

/* Looks for the answers that are still missing in what has come since the last time. Letters count as equal in either
 * case, as in RULER. */
static enum qk_code look_for_answers(struct qk_answer *answer, bool end, struct qk_error *err)
{
    bool stopped;
    if (answer->missing.n == 0)
        QK_TRY(list_missing(answer, err));
    size_t before = answer->lower.length, to = find_stop(answer, &stopped), n = answer->missing.n;
    answer->lowered = answer->lowered < answer->start ? answer->start : answer->lowered;
    if (!stopped && !end)
        to = whole_characters(answer->text.s, to);
    if (to > answer->lowered)
        add_lower(&answer->lower, answer->text.s + answer->lowered, to - answer->lowered);
    answer->lowered = to > answer->lowered ? to : answer->lowered;
    if (answer->lower.failed)
        return qk_fail_memory(err, answer->lower.length);
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        char *wanted = answer->missing.line[i];
        size_t length = strlen(wanted), from = before >= length ? before - length + 1 : 0;
        if (length > 0 && answer->lower.length > from &&
            memmem(answer->lower.s + from, answer->lower.length - from, wanted, length) != NULL)
            wanted[0] = '\0'; /* found */
        found += wanted[0] == '\0';
    }
    if (found == n || (found > 0 && !answer->item->all))
        answer->verdict = QK_RIGHT;
    else if (stopped || end)
        answer->verdict = QK_WRONG;
    return QK_OK;
}

/* --- tokens --- */

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
    else if (answer->started && answer->text.s != NULL && answer->item->contains)
        QK_TRY(look_for_answers(answer, end, err));
    else if (answer->started && answer->text.s != NULL)
        answer->verdict = compare_text(answer, end);
    bool over = end || answer->taken >= answer->tokens->limit;
    if (over && answer->verdict == QK_GO_ON)
        answer->verdict = QK_WRONG;
    return QK_OK;
}

/* --- whole texts --- */

enum qk_code qk_answer_judge(
    const struct qk_case *item, const char *text, size_t n, bool ended, bool *right, struct qk_error *err)
{
    struct qk_case_tokens none = {0};
    struct qk_answer answer;
    qk_answer_start(&answer, item, &none, NULL, NULL);
    qk_text_add_bytes(&answer.text, text, n);
    enum qk_code code = answer.text.failed ? qk_fail_memory(err, n) : QK_OK;
    if (code == QK_OK && !answer.started)
        look_for_start(&answer);
    if (code == QK_OK && answer.started && item->contains)
        code = look_for_answers(&answer, true, err);
    else if (code == QK_OK && answer.started)
        answer.verdict = compare_text(&answer, ended);
    *right = answer.verdict == QK_RIGHT;
    qk_answer_free(&answer);
    return code;
}
