/* added_tokens.c - the reader of added tokens, and the search for them in a text. */
#include "token/added_tokens.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* --- reading --- */

static enum qk_code find_id(const char *path, const cJSON *item, const struct qk_bpe *bpe,
    struct qk_added_token *token, struct qk_error *err)
{
    uint64_t id;
    token->id = qk_bpe_find(bpe, token->content, token->n);
    if (token->id >= 0)
        return QK_OK;
    if (!qk_json_u64(qk_json_get(item, "id"), &id) || id >= INT32_MAX)
        return qk_fail(err, QK_INPUT, "%s: added_tokens: %.64s: not a token id (0 ... 2147483646)", path,
            token->content);
    token->id = (int32_t)id;
    const struct qk_vocabulary_entry *other = qk_bpe_token(bpe, token->id);
    if (other != NULL)
        return qk_fail(err, QK_INPUT,
            "%s: added_tokens: %.64s has the id of another token (found %d, that of %.64s)", path,
            token->content, (int)token->id, other->text);
    return QK_OK;
}

static enum qk_code find_spelling(
    const struct qk_steps *normalizer, struct qk_added_token *token, struct qk_error *err)
{
    if (!token->normalized) {
        token->n_spelling = token->n;
        return qk_strndup_to(&token->spelling, token->content, token->n, err);
    }
    struct qk_pieces pieces = {.limit = 64 * QK_ADDED_BYTES};
    enum qk_code code = qk_pieces_put(&pieces, token->content, token->n, QK_NO_TOKEN, 0, err);
    if (code == QK_OK)
        code = qk_steps_run(normalizer, false, &pieces, err);
    if (code == QK_OK) /* normalizers do not cut: there is at most one piece */
        code = qk_strndup_to(&token->spelling, pieces.n > 0 ? pieces.bytes + pieces.piece[0].at : "",
            token->n_spelling = pieces.n > 0 ? pieces.piece[0].n : 0, err);
    qk_pieces_free(&pieces);
    return code;
}

static enum qk_code read_token(const char *path, const cJSON *item, const struct qk_bpe *bpe,
    const struct qk_steps *normalizer, struct qk_added *added, struct qk_error *err)
{
    const char *content = qk_json_string(item, "content", NULL);
    if (content == NULL)
        return qk_fail(err, QK_INPUT, "%s: added_tokens: an entry has no content", path);
    if (content[0] == '\0')
        return QK_OK;
    struct qk_added_token *token = &added->token[added->n++];
    token->n = strlen(content);
    if (token->n > QK_ADDED_BYTES)
        return qk_fail(err, QK_INPUT, "%s: added_tokens: %.64s... is too long (found %zu bytes, at most %d)",
            path, content, token->n, QK_ADDED_BYTES);
    QK_TRY(qk_strdup_to(&token->content, content, err));
    token->special = qk_json_bool(item, "special", false);
    token->normalized = qk_json_bool(item, "normalized", !token->special);
    token->single_word = qk_json_bool(item, "single_word", false);
    token->lstrip = qk_json_bool(item, "lstrip", false);
    token->rstrip = qk_json_bool(item, "rstrip", false);
    QK_TRY(find_id(path, item, bpe, token, err));
    return find_spelling(normalizer, token, err);
}

static int order_id(const void *a, const void *b)
{
    const struct qk_added_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int order_spelling(const void *a, const void *b)
{
    const struct qk_added_token *x = *(const struct qk_added_token *const *)a;
    const struct qk_added_token *y = *(const struct qk_added_token *const *)b;
    int order =
        memcmp(x->spelling, y->spelling, x->n_spelling < y->n_spelling ? x->n_spelling : y->n_spelling);
    return order != 0 ? order : (x->n_spelling > y->n_spelling) - (x->n_spelling < y->n_spelling);
}

static void drop(struct qk_added_token *token)
{
    free(token->content);
    free(token->spelling);
}

/* Sorts by id. The same token twice counts once; two tokens with one id are a mistake. */
static enum qk_code sort_tokens(const char *path, struct qk_added *added, struct qk_error *err)
{
    size_t kept = 0;
    enum qk_code code = QK_OK;
    qsort(added->token, added->n, sizeof *added->token, order_id);
    for (size_t i = 0; i < added->n; i++) {
        struct qk_added_token *token = &added->token[i], *last = &added->token[kept - (kept > 0)];
        if (kept == 0 || last->id != token->id) {
            added->token[kept++] = *token;
            continue;
        }
        if (code == QK_OK && strcmp(last->content, token->content) != 0)
            code = qk_fail(err, QK_INPUT, "%s: added_tokens: %.64s and %.64s have the same id (found %d)",
                path, last->content, token->content, (int)token->id);
        drop(token);
    }
    added->n = kept;
    return code;
}

static enum qk_code build_index(
    const struct qk_added *added, bool normalized, struct qk_added_index *index, struct qk_error *err)
{
    QK_TRY(qk_alloc(&index->token, added->n, sizeof *index->token, err));
    for (size_t i = 0; i < added->n; i++) {
        const struct qk_added_token *token = &added->token[i];
        if (token->normalized != normalized || token->n_spelling == 0)
            continue;
        index->token[index->n++] = token;
        index->begins[(unsigned char)token->spelling[0]] = true;
    }
    qsort(index->token, index->n, sizeof *index->token, order_spelling);
    return QK_OK;
}

static int order_content(const void *a, const void *b)
{
    return strcmp((*(const struct qk_added_token *const *)a)->content,
        (*(const struct qk_added_token *const *)b)->content);
}

/* With two ids for one content, chance would decide which is used. */
static enum qk_code check_contents(const char *path, const struct qk_added *added, struct qk_error *err)
{
    const struct qk_added_token **sorted;
    enum qk_code code = QK_OK;
    QK_TRY(qk_alloc(&sorted, added->n, sizeof *sorted, err));
    for (size_t i = 0; i < added->n; i++)
        sorted[i] = &added->token[i];
    qsort(sorted, added->n, sizeof *sorted, order_content);
    for (size_t i = 1; i < added->n && code == QK_OK; i++)
        if (strcmp(sorted[i - 1]->content, sorted[i]->content) == 0)
            code = qk_fail(err, QK_INPUT, "%s: added_tokens: %.64s has two ids (found %d and %d)", path,
                sorted[i]->content, (int)sorted[i - 1]->id, (int)sorted[i]->id);
    free(sorted);
    return code;
}

enum qk_code qk_added_read(const char *path, const cJSON *list, const struct qk_bpe *bpe,
    const struct qk_steps *normalizer, struct qk_added *added, struct qk_error *err)
{
    *added = (struct qk_added){0};
    if (list == NULL || cJSON_IsNull(list))
        return QK_OK;
    if (!cJSON_IsArray(list))
        return qk_fail(err, QK_INPUT, "%s: added_tokens: not a list", path);
    size_t n = 0;
    for (const cJSON *item = list->child; item != NULL; item = item->next)
        n++;
    QK_TRY(qk_alloc(&added->token, n, sizeof *added->token, err));
    for (const cJSON *item = list->child; item != NULL; item = item->next)
        QK_TRY(read_token(path, item, bpe, normalizer, added, err));
    QK_TRY(sort_tokens(path, added, err));
    QK_TRY(check_contents(path, added, err));
    QK_TRY(build_index(added, false, &added->plain, err));
    return build_index(added, true, &added->normalized, err);
}

void qk_added_free(struct qk_added *added)
{
    for (size_t i = 0; i < added->n; i++)
        drop(&added->token[i]);
    free(added->token);
    free(added->plain.token);
    free(added->normalized.token);
    *added = (struct qk_added){0};
}

const struct qk_added_token *qk_added_by_id(const struct qk_added *added, int32_t id)
{
    const struct qk_added_token key = {.id = id};
    return added->n == 0 ? NULL : bsearch(&key, added->token, added->n, sizeof key, order_id);
}

const struct qk_added_token *qk_added_by_content(const struct qk_added *added, const char *content)
{
    for (size_t i = 0; i < added->n; i++)
        if (strcmp(added->token[i].content, content) == 0)
            return &added->token[i];
    return NULL;
}

/* --- finding --- */

static bool is_word(int32_t code)
{
    if (code < 0)
        return false;
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return code == 0x200c || code == 0x200d;
    }
}

/* Unicode's White_Space. */
static bool is_space(int32_t code)
{
    if (code < 0x80)
        return code == ' ' || (code >= '\t' && code <= '\r');
    utf8proc_category_t category = utf8proc_category(code);
    return code == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

static size_t spaces_before(const char *text, size_t floor, size_t at)
{
    while (at > floor && is_space(qk_character_before(text, at)))
        do
            at--;
        while (at > floor && ((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

static size_t spaces_behind(const char *text, size_t at, size_t n)
{
    int32_t code;
    while (at < n) {
        size_t length = qk_character(text + at, n - at, &code);
        if (!is_space(code))
            break;
        at += length;
    }
    return at;
}

/* The first of index->token[low, high) whose byte number `depth` is not less than `byte`, or with `above` greater
 * than it. The tokens agree in the bytes before it. */
static size_t narrow(
    const struct qk_added_index *index, size_t low, size_t high, size_t depth, unsigned char byte, bool above)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct qk_added_token *token = index->token[middle];
        int there = depth < token->n_spelling ? (unsigned char)token->spelling[depth] : -1;
        if (there < (int)byte || (above && there == (int)byte))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that text[0, n) begins with, or NULL. */
static const struct qk_added_token *longest_at(const struct qk_added_index *index, const char *text, size_t n)
{
    const struct qk_added_token *longest = NULL;
    if (!index->begins[(unsigned char)text[0]])
        return NULL;
    size_t low = 0, high = index->n;
    for (size_t depth = 0; depth < n && low < high; depth++) {
        unsigned char byte = (unsigned char)text[depth];
        low = narrow(index, low, high, depth, byte, false);
        high = narrow(index, low, high, depth, byte, true);
        if (low < high && index->token[low]->n_spelling == depth + 1)
            longest = index->token[low];
    }
    return longest;
}

static bool stands_alone(const char *text, size_t n, size_t from, size_t to)
{
    int32_t code = -1;
    if (to < n)
        qk_character(text + to, n - to, &code);
    return !is_word(code) && (from == 0 || !is_word(qk_character_before(text, from)));
}

/* Finds tokens one behind the other without regard to the spaces that rstrip takes. It also finds one that begins
 * among these, as the original does. */
enum qk_code qk_added_cut(const struct qk_added_index *index, const char *text, size_t n, size_t lead,
    struct qk_pieces *out, struct qk_error *err)
{
    size_t done = 0, spaces_end = 0;
    for (size_t at = 0; at < n && index->n > 0;) {
        const struct qk_added_token *token = longest_at(index, text + at, n - at);
        size_t from = at, to = token != NULL ? at + token->n_spelling : at + 1;
        at = to;
        if (token == NULL || (token->single_word && !stands_alone(text, n, from, to)))
            continue;
        if (token->lstrip)
            from = from < done ? done : spaces_before(text, done, from);
        if (token->rstrip)
            to = spaces_end = to < spaces_end ? spaces_end : spaces_behind(text, to, n);
        if (from >= to) /* the token before it took all of it */
            continue;
        if (done < from)
            QK_TRY(
                qk_pieces_put(out, text + done, from - done, QK_NO_TOKEN, qk_lead_behind(lead, done), err));
        QK_TRY(qk_pieces_put(out, token->spelling, token->n_spelling, token->id, 0, err));
        done = to;
    }
    return qk_pieces_put(out, text + done, n - done, QK_NO_TOKEN, qk_lead_behind(lead, done), err);
}
