/* bpe.c - the merges of a word's characters into tokens, lowest rank first. */
#include "token/bpe.h"

#include "base/mem.h"
#include "token/pieces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum qk_code qk_ids_add(struct qk_ids *ids, int32_t id, struct qk_error *err)
{
    QK_TRY(qk_grow(&ids->id, &ids->capacity, ids->n + 1, sizeof *ids->id, err));
    ids->id[ids->n++] = id;
    return QK_OK;
}

static int compare_bytes(const char *a, size_t n_a, const char *b, size_t n_b)
{
    int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order != 0 ? order : (n_a > n_b) - (n_a < n_b);
}

int32_t qk_bpe_find(const struct qk_bpe *bpe, const char *text, size_t n)
{
    size_t low = 0, high = bpe->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct qk_vocabulary_entry *entry = &bpe->by_text[middle];
        int order = compare_bytes(text, n, entry->text, entry->n);
        if (order == 0)
            return entry->id;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

const struct qk_vocabulary_entry *qk_bpe_token(const struct qk_bpe *bpe, int32_t id)
{
    size_t low = 0, high = bpe->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bpe->by_id[middle].id == id)
            return &bpe->by_id[middle];
        if (id < bpe->by_id[middle].id)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static const struct qk_merge *find_merge(const struct qk_bpe *bpe, int32_t left, int32_t right)
{
    size_t low = 0, high = bpe->n_merges;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct qk_merge *merge = &bpe->merge[middle];
        if (merge->left == left && merge->right == right)
            return merge;
        if (left < merge->left || (left == merge->left && right < merge->right))
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* --- pairs of characters that merges join --- */

static uint64_t joint_key(int32_t left, int32_t right)
{
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

/* The place of the key in the table, or the free one for it. */
static uint64_t *joint_place(const struct qk_bpe *bpe, uint64_t key)
{
    size_t mask = bpe->n_joints - 1, i = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;
    while (bpe->joint[i] != 0 && bpe->joint[i] != key)
        i = (i + 1) & mask;
    return &bpe->joint[i];
}

bool qk_bpe_joins(const struct qk_bpe *bpe, int32_t left, int32_t right)
{
    return left < 0 || right < 0 || *joint_place(bpe, joint_key(left, right)) != 0;
}

/* Notes between which characters the merge joins. The text of a token is that of its parts, so whatever the parts
 * are made of, these two stand there. */
static void add_joint(struct qk_bpe *bpe, const char *const part[2], const size_t length[2])
{
    int32_t left = -1, right = -1;
    if (length[0] == 0 || length[1] == 0)
        return;
    left = qk_character_before(part[0], length[0]);
    qk_character(part[1], length[1], &right);
    if (left < 0 || right < 0)
        return;
    uint64_t key = joint_key(left, right);
    *joint_place(bpe, key) = key;
}

/* --- reading --- */

static int order_text(const void *a, const void *b)
{
    const struct qk_vocabulary_entry *x = a, *y = b;
    return compare_bytes(x->text, x->n, y->text, y->n);
}

static int order_id(const void *a, const void *b)
{
    const struct qk_vocabulary_entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static enum qk_code read_entry(
    const char *path, const cJSON *item, struct qk_vocabulary_entry *entry, struct qk_error *err)
{
    uint64_t id;
    if (!qk_json_u64(item, &id) || id >= INT32_MAX)
        return qk_fail(
            err, QK_INPUT, "%s: model: vocab: %.64s: not a token id (0 ... 2147483646)", path, item->string);
    *entry = (struct qk_vocabulary_entry){item->string, strlen(item->string), (int32_t)id};
    if (entry->n > QK_TOKEN_BYTES)
        return qk_fail(err, QK_INPUT, "%s: model: vocab: a token is too long (found %zu bytes, at most %d)",
            path, entry->n, QK_TOKEN_BYTES);
    return QK_OK;
}

static enum qk_code read_vocabulary(
    const char *path, const cJSON *vocab, struct qk_bpe *bpe, struct qk_error *err)
{
    if (!cJSON_IsObject(vocab))
        return qk_fail(err, QK_INPUT, "%s: model: vocab: not an object", path);
    size_t n = 0;
    for (const cJSON *item = vocab->child; item != NULL; item = item->next)
        n++;
    QK_TRY(qk_alloc(&bpe->by_text, n, sizeof *bpe->by_text, err));
    QK_TRY(qk_alloc(&bpe->by_id, n, sizeof *bpe->by_id, err));
    for (const cJSON *item = vocab->child; item != NULL; item = item->next)
        QK_TRY(read_entry(path, item, &bpe->by_text[bpe->n++], err));
    if (n > 0)
        memcpy(bpe->by_id, bpe->by_text, n * sizeof *bpe->by_id);
    qsort(bpe->by_text, n, sizeof *bpe->by_text, order_text);
    qsort(bpe->by_id, n, sizeof *bpe->by_id, order_id);
    for (size_t i = 1; i < n; i++) {
        if (order_text(&bpe->by_text[i - 1], &bpe->by_text[i]) == 0)
            return qk_fail(
                err, QK_INPUT, "%s: model: vocab: %.64s stands there twice", path, bpe->by_text[i].text);
        if (bpe->by_id[i - 1].id == bpe->by_id[i].id)
            return qk_fail(err, QK_INPUT, "%s: model: vocab: %.64s and %.64s have the same id (found %d)",
                path, bpe->by_id[i - 1].text, bpe->by_id[i].text, (int)bpe->by_id[i].id);
    }
    return QK_OK;
}

/* The two tokens of "a b" or ["a", "b"]; false when it is neither. */
static bool split_merge(const cJSON *item, const char *part[2], size_t length[2])
{
    if (cJSON_IsString(item)) {
        const char *space = strchr(item->valuestring, ' ');
        if (space == NULL || strchr(space + 1, ' ') != NULL)
            return false;
        part[0] = item->valuestring;
        part[1] = space + 1;
        length[0] = (size_t)(space - item->valuestring);
        length[1] = strlen(part[1]);
        return true;
    }
    if (!cJSON_IsArray(item) || item->child == NULL || item->child->next == NULL ||
        item->child->next->next != NULL)
        return false;
    const cJSON *halves[2] = {item->child, item->child->next};
    for (int i = 0; i < 2; i++) {
        if (!cJSON_IsString(halves[i]))
            return false;
        part[i] = halves[i]->valuestring;
        length[i] = strlen(part[i]);
    }
    return true;
}

static enum qk_code read_merge(
    const char *path, const cJSON *item, size_t rank, struct qk_bpe *bpe, struct qk_error *err)
{
    const char *part[2];
    size_t length[2];
    char joined[2 * QK_TOKEN_BYTES];
    if (!split_merge(item, part, length))
        return qk_fail(err, QK_INPUT, "%s: model: merges: entry %zu is not two tokens", path, rank);
    int32_t id[3];
    for (int i = 0; i < 2; i++) {
        id[i] = qk_bpe_find(bpe, part[i], length[i]);
        if (id[i] < 0)
            return qk_fail(err, QK_INPUT, "%s: model: merges: entry %zu: %.*s is not in the vocabulary", path,
                rank, length[i] < 64 ? (int)length[i] : 64, part[i]);
        memcpy(joined + (i == 0 ? 0 : length[0]), part[i], length[i]);
    }
    id[2] = qk_bpe_find(bpe, joined, length[0] + length[1]);
    if (id[2] < 0)
        return qk_fail(err, QK_INPUT, "%s: model: merges: entry %zu: %.*s%.*s is not in the vocabulary", path,
            rank, length[0] < 64 ? (int)length[0] : 64, part[0], length[1] < 64 ? (int)length[1] : 64,
            part[1]);
    bpe->merge[bpe->n_merges++] = (struct qk_merge){id[0], id[1], (int32_t)rank, id[2]};
    add_joint(bpe, part, length);
    return QK_OK;
}

static int order_merge(const void *a, const void *b)
{
    const struct qk_merge *x = a, *y = b;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    if (x->right != y->right)
        return x->right < y->right ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static enum qk_code read_merges(
    const char *path, const cJSON *merges, struct qk_bpe *bpe, struct qk_error *err)
{
    if (!cJSON_IsArray(merges))
        return qk_fail(err, QK_INPUT, "%s: model: merges: not a list", path);
    size_t n = 0, rank = 0, kept = 0;
    for (const cJSON *item = merges->child; item != NULL; item = item->next)
        n++;
    QK_TRY(qk_alloc(&bpe->merge, n, sizeof *bpe->merge, err));
    for (bpe->n_joints = 16; bpe->n_joints < 2 * n;)
        bpe->n_joints *= 2;
    QK_TRY(qk_alloc(&bpe->joint, bpe->n_joints, sizeof *bpe->joint, err));
    for (const cJSON *item = merges->child; item != NULL; item = item->next) {
        if (cJSON_IsString(item) && strncmp(item->valuestring, "#version", 8) == 0)
            continue;
        QK_TRY(read_merge(path, item, rank++, bpe, err));
    }
    qsort(bpe->merge, bpe->n_merges, sizeof *bpe->merge, order_merge);
    /* the last of equal pairs counts, as in the original's map */
    for (size_t i = 0; i < bpe->n_merges; i++) {
        const struct qk_merge *merge = &bpe->merge[i];
        if (i + 1 < bpe->n_merges && merge[1].left == merge->left && merge[1].right == merge->right)
            continue;
        bpe->merge[kept++] = *merge;
    }
    bpe->n_merges = kept;
    return QK_OK;
}

/* Refuses options that change tokens in a way that is not built in. */
static enum qk_code refuse_options(const char *path, const cJSON *model, struct qk_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const cJSON *item = qk_json_get(model, affixes[i]);
        if (item != NULL && !cJSON_IsNull(item) && !(cJSON_IsString(item) && item->valuestring[0] == '\0'))
            return qk_fail(
                err, QK_INPUT, "%s: model: %s is not supported; give token ids instead", path, affixes[i]);
    }
    const cJSON *dropout = qk_json_get(model, "dropout");
    if (dropout != NULL && !cJSON_IsNull(dropout) && !(cJSON_IsNumber(dropout) && dropout->valuedouble == 0))
        return qk_fail(err, QK_INPUT, "%s: model: dropout is not supported; give token ids instead", path);
    return QK_OK;
}

enum qk_code qk_bpe_read(const char *path, const cJSON *model, struct qk_bpe *bpe, struct qk_error *err)
{
    *bpe = (struct qk_bpe){.unknown = -1};
    if (!cJSON_IsObject(model))
        return qk_fail(err, QK_INPUT, "%s: model: not an object", path);
    /* GPT-2's own file is older than the type */
    const char *type = qk_json_string(model, "type", qk_json_get(model, "merges") != NULL ? "BPE" : "?");
    if (strcmp(type, "BPE") != 0)
        return qk_fail(err, QK_INPUT,
            "%s: model: type is not supported (found %.64s, expected BPE); give token ids instead", path,
            type);
    QK_TRY(refuse_options(path, model, err));
    QK_TRY(read_vocabulary(path, qk_json_get(model, "vocab"), bpe, err));
    QK_TRY(read_merges(path, qk_json_get(model, "merges"), bpe, err));
    const char *unknown = qk_json_string(model, "unk_token", NULL);
    if (unknown != NULL && (bpe->unknown = qk_bpe_find(bpe, unknown, strlen(unknown))) < 0)
        return qk_fail(err, QK_INPUT, "%s: model: unk_token: %.64s is not in the vocabulary", path, unknown);
    bpe->fuse_unknown = qk_json_bool(model, "fuse_unk", false);
    bpe->byte_fallback = qk_json_bool(model, "byte_fallback", false);
    bpe->ignore_merges = qk_json_bool(model, "ignore_merges", false);
    for (int i = 0; i < 256; i++) {
        char name[8];
        bpe->byte[i] = qk_bpe_find(bpe, name, (size_t)snprintf(name, sizeof name, "<0x%02X>", (unsigned)i));
    }
    return QK_OK;
}

void qk_bpe_free(struct qk_bpe *bpe)
{
    free(bpe->by_text);
    free(bpe->by_id);
    free(bpe->merge);
    free(bpe->joint);
    *bpe = (struct qk_bpe){0};
}

/* --- one word --- */

/* A part of a word as a linked list of symbols, and a heap of the possible merges with the next one on top. An entry
 * whose symbols have changed since is skipped when it comes up. */
struct symbol {
    int32_t id; /* -1: merged into the one before it */
    size_t previous, next;
};
struct candidate {
    int32_t rank, left, right, result;
    size_t at;
};
struct word {
    struct symbol *symbol;
    size_t n, capacity;
    struct candidate *heap;
    size_t n_heap, heap_capacity;
    int32_t last; /* the code of the last symbol's last character */
    struct qk_ids *ids;
};
#define NOWHERE SIZE_MAX

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static enum qk_code push(struct word *word, struct candidate entry, struct qk_error *err)
{
    QK_TRY(qk_grow(&word->heap, &word->heap_capacity, word->n_heap + 1, sizeof *word->heap, err));
    size_t i = word->n_heap++;
    for (; i > 0 && before(&entry, &word->heap[(i - 1) / 2]); i = (i - 1) / 2)
        word->heap[i] = word->heap[(i - 1) / 2];
    word->heap[i] = entry;
    return QK_OK;
}

static struct candidate pop(struct word *word)
{
    struct candidate top = word->heap[0], last = word->heap[--word->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < word->n_heap; child = 2 * i + 1) {
        if (child + 1 < word->n_heap && before(&word->heap[child + 1], &word->heap[child]))
            child++;
        if (!before(&word->heap[child], &last))
            break;
        word->heap[i] = word->heap[child];
        i = child;
    }
    word->heap[i] = last;
    return top;
}

/* Puts the merge of the symbol at `at` with the next one on the heap, if there is such a merge. */
static enum qk_code consider(const struct qk_bpe *bpe, struct word *word, size_t at, struct qk_error *err)
{
    size_t next = at == NOWHERE ? NOWHERE : word->symbol[at].next;
    if (next == NOWHERE)
        return QK_OK;
    const struct qk_merge *merge = find_merge(bpe, word->symbol[at].id, word->symbol[next].id);
    if (merge == NULL)
        return QK_OK;
    return push(word, (struct candidate){merge->rank, merge->left, merge->right, merge->result, at}, err);
}

static enum qk_code merge_all(const struct qk_bpe *bpe, struct word *word, struct qk_error *err)
{
    for (size_t i = 0; i < word->n; i++) {
        word->symbol[i].previous = i == 0 ? NOWHERE : i - 1;
        word->symbol[i].next = i + 1 < word->n ? i + 1 : NOWHERE;
    }
    for (size_t i = 0; i + 1 < word->n; i++)
        QK_TRY(consider(bpe, word, i, err));
    while (word->n_heap > 0) {
        struct candidate top = pop(word);
        struct symbol *left = &word->symbol[top.at];
        if (left->id != top.left || left->next == NOWHERE || word->symbol[left->next].id != top.right)
            continue;
        struct symbol *right = &word->symbol[left->next];
        left->id = top.result;
        right->id = -1;
        left->next = right->next;
        if (left->next != NOWHERE)
            word->symbol[left->next].previous = top.at;
        QK_TRY(consider(bpe, word, left->previous, err));
        QK_TRY(consider(bpe, word, top.at, err));
    }
    return QK_OK;
}

/* Merges the part, appends its tokens, and begins the next part. */
static enum qk_code finish_part(const struct qk_bpe *bpe, struct word *word, struct qk_error *err)
{
    QK_TRY(merge_all(bpe, word, err));
    for (size_t i = 0; i < word->n; i++)
        if (word->symbol[i].id >= 0)
            QK_TRY(qk_ids_add(word->ids, word->symbol[i].id, err));
    word->n = 0;
    return QK_OK;
}

/* `first` and `last` are the first and last character of the symbol's text. */
static enum qk_code add_symbol(const struct qk_bpe *bpe, struct word *word, int32_t id, int32_t first,
    int32_t last, struct qk_error *err)
{
    if (word->n > 0 && !qk_bpe_joins(bpe, word->last, first))
        QK_TRY(finish_part(bpe, word, err));
    QK_TRY(qk_grow(&word->symbol, &word->capacity, word->n + 1, sizeof *word->symbol, err));
    word->symbol[word->n++].id = id;
    word->last = last;
    return QK_OK;
}

static bool has_bytes(const struct qk_bpe *bpe, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bpe->byte[(unsigned char)text[i]] < 0)
            return false;
    return bpe->byte_fallback;
}

static enum qk_code add_unknown(const struct qk_bpe *bpe, struct word *word, struct qk_error *err)
{
    const struct qk_vocabulary_entry *entry = qk_bpe_token(bpe, bpe->unknown);
    int32_t first = -1;
    if (entry->n > 0)
        qk_character(entry->text, entry->n, &first);
    return add_symbol(
        bpe, word, bpe->unknown, first, entry->n > 0 ? qk_character_before(entry->text, entry->n) : -1, err);
}

/* Makes symbols of the word's characters: tokens, else bytes, else unknown. */
static enum qk_code add_characters(
    const struct qk_bpe *bpe, const char *text, size_t n, struct word *word, struct qk_error *err)
{
    bool unknown = false; /* the last symbol */
    for (size_t at = 0, length; at < n; at += length) {
        int32_t code;
        length = qk_character(text + at, n - at, &code);
        int32_t id = qk_bpe_find(bpe, text + at, length);
        bool fused = false;
        if (id >= 0) {
            QK_TRY(add_symbol(bpe, word, id, code, code, err));
        } else if (has_bytes(bpe, text + at, length)) {
            for (size_t i = 0; i < length; i++) /* their texts are <0x00> and so on */
                QK_TRY(add_symbol(bpe, word, bpe->byte[(unsigned char)text[at + i]], '<', '>', err));
        } else if (bpe->unknown >= 0) {
            if (!(unknown && bpe->fuse_unknown))
                QK_TRY(add_unknown(bpe, word, err));
            fused = true;
        } else {
            fused = unknown; /* the character has no token and vanishes */
        }
        unknown = fused;
    }
    return finish_part(bpe, word, err);
}

enum qk_code qk_bpe_encode(
    const struct qk_bpe *bpe, const char *word, size_t n, struct qk_ids *ids, struct qk_error *err)
{
    int32_t whole = bpe->ignore_merges ? qk_bpe_find(bpe, word, n) : -1;
    if (whole >= 0)
        return qk_ids_add(ids, whole, err);
    struct word parts = {.ids = ids};
    enum qk_code code = add_characters(bpe, word, n, &parts, err);
    free(parts.symbol);
    free(parts.heap);
    return code;
}
