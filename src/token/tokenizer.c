/* tokenizer.c - a tokenizer.json, opened, and the path from text to ids and back. */
#include "token/tokenizer.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/source.h"
#include "token/added_tokens.h"
#include "token/bpe.h"
#include "token/steps.h"
#include "token/template.h"

#include <stdlib.h>
#include <string.h>

/* Gemma's has 33 MB. */
enum { MAX_FILE_BYTES = 256 << 20 };
/* How far a text may grow on that path. */
enum { GROWTH = 32, FREE_GROWTH = 1 << 20 };

struct qk_tokenizer {
    cJSON *vocabulary; /* bpe borrows its texts from it */
    struct qk_bpe bpe;
    struct qk_steps normalizer, pre_tokenizer, decoder;
    bool joins_with_spaces; /* no decoder: it puts spaces between tokens */
    struct qk_added added;
    struct qk_template template;
};

/* --- opening --- */

static enum qk_code read_parts(
    const char *path, const char *folder, cJSON *root, struct qk_tokenizer *tokenizer, struct qk_error *err)
{
    if (!cJSON_IsObject(root))
        return qk_fail(err, QK_INPUT, "%s: not a JSON object", path);
    QK_TRY(qk_json_keep_last(root, err));
    cJSON *model = cJSON_GetObjectItemCaseSensitive(root, "model");
    if (cJSON_IsObject(model))
        QK_TRY(qk_json_keep_last(model, err));
    const cJSON *decoder = qk_json_get(root, "decoder");
    QK_TRY(qk_bpe_read(path, model, &tokenizer->bpe, err));
    QK_TRY(qk_steps_read_normalizer(path, qk_json_get(root, "normalizer"), &tokenizer->normalizer, err));
    QK_TRY(qk_steps_read_pre_tokenizer(
        path, qk_json_get(root, "pre_tokenizer"), &tokenizer->pre_tokenizer, err));
    QK_TRY(qk_steps_read_decoder(path, decoder, &tokenizer->decoder, err));
    tokenizer->joins_with_spaces = decoder == NULL || cJSON_IsNull(decoder);
    QK_TRY(qk_added_read(path, qk_json_get(root, "added_tokens"), &tokenizer->bpe, &tokenizer->normalizer,
        &tokenizer->added, err));
    QK_TRY(qk_template_read(path, folder, qk_json_get(root, "post_processor"), &tokenizer->bpe,
        &tokenizer->added, &tokenizer->template, err));
    /* the merges are the largest part of the tree; only the vocabulary's texts are borrowed from it */
    tokenizer->vocabulary = cJSON_DetachItemFromObjectCaseSensitive(model, "vocab");
    return QK_OK;
}

static enum qk_code open_file(
    const char *path, const char *folder, struct qk_tokenizer *tokenizer, struct qk_error *err)
{
    bool found;
    cJSON *root;
    QK_TRY(qk_source_exists(path, &found, err));
    if (!found)
        return qk_fail(err, QK_INPUT, "%s: no such file: text needs it; give token ids instead", path);
    QK_TRY(qk_json_read(path, MAX_FILE_BYTES, &root, err));
    enum qk_code code = read_parts(path, folder, root, tokenizer, err);
    cJSON_Delete(root);
    return code;
}

enum qk_code qk_tokenizer_open(const char *folder, struct qk_tokenizer **out, struct qk_error *err)
{
    char *path;
    *out = NULL;
    QK_TRY(qk_path_join(folder, "tokenizer.json", &path, err));
    struct qk_tokenizer *tokenizer;
    enum qk_code code = qk_alloc(&tokenizer, 1, sizeof *tokenizer, err);
    if (code == QK_OK)
        code = open_file(path, folder, tokenizer, err);
    free(path);
    if (code == QK_OK)
        *out = tokenizer;
    else
        qk_tokenizer_free(tokenizer);
    return code;
}

void qk_tokenizer_free(struct qk_tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    qk_bpe_free(&tokenizer->bpe);
    qk_steps_free(&tokenizer->normalizer);
    qk_steps_free(&tokenizer->pre_tokenizer);
    qk_steps_free(&tokenizer->decoder);
    qk_added_free(&tokenizer->added);
    qk_template_free(&tokenizer->template);
    cJSON_Delete(tokenizer->vocabulary);
    free(tokenizer);
}

size_t qk_tokenizer_size(const struct qk_tokenizer *tokenizer)
{
    const struct qk_bpe *bpe = &tokenizer->bpe;
    const struct qk_added *added = &tokenizer->added;
    int32_t last = bpe->n > 0 ? bpe->by_id[bpe->n - 1].id : -1;
    int32_t last_added = added->n > 0 ? added->token[added->n - 1].id : -1;
    return (size_t)(last > last_added ? last : last_added) + 1;
}

/* --- encoding --- */

static enum qk_code add_all(const struct qk_ids *from, struct qk_ids *ids, struct qk_error *err)
{
    for (size_t i = 0; i < from->n; i++)
        QK_TRY(qk_ids_add(ids, from->id[i], err));
    return QK_OK;
}

/* Cuts every piece of text at the tokens of the index. */
static enum qk_code cut_pieces(
    const struct qk_added_index *index, struct qk_pieces *pieces, struct qk_error *err)
{
    struct qk_pieces out = {.limit = pieces->limit};
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < pieces->n && code == QK_OK; i++) {
        const struct qk_piece *piece = &pieces->piece[i];
        const char *text = pieces->bytes + piece->at;
        code = piece->token == QK_NO_TOKEN
                   ? qk_added_cut(index, text, piece->n, piece->lead, &out, err)
                   : qk_pieces_put(&out, text, piece->n, piece->token, piece->lead, err);
    }
    qk_pieces_free(pieces);
    *pieces = out;
    return code;
}

static enum qk_code encode_pieces(const struct qk_tokenizer *tokenizer, const char *text, size_t n,
    struct qk_pieces *pieces, struct qk_ids *ids, struct qk_error *err)
{
    int32_t code;
    size_t lead = n > 0 ? qk_character(text, n, &code) : 0;
    QK_TRY(qk_added_cut(&tokenizer->added.plain, text, n, lead, pieces, err));
    QK_TRY(qk_steps_run(&tokenizer->normalizer, false, pieces, err));
    QK_TRY(cut_pieces(&tokenizer->added.normalized, pieces, err));
    QK_TRY(qk_steps_run(&tokenizer->pre_tokenizer, false, pieces, err));
    for (size_t i = 0; i < pieces->n; i++) {
        const struct qk_piece *piece = &pieces->piece[i];
        QK_TRY(piece->token == QK_NO_TOKEN
                   ? qk_bpe_encode(&tokenizer->bpe, pieces->bytes + piece->at, piece->n, ids, err)
                   : qk_ids_add(ids, piece->token, err));
    }
    return QK_OK;
}

/* The largest length that a text of n bytes may reach. */
static size_t growth_limit(size_t n)
{
    return n > (SIZE_MAX - FREE_GROWTH) / GROWTH ? SIZE_MAX : n * GROWTH + FREE_GROWTH;
}

enum qk_code qk_tokenizer_encode(const struct qk_tokenizer *tokenizer, const char *text, size_t n,
    bool special, int32_t **ids, size_t *n_ids, struct qk_error *err)
{
    struct qk_ids found = {0};
    struct qk_pieces pieces = {.limit = growth_limit(n)};
    *ids = NULL;
    *n_ids = 0;
    enum qk_code code = qk_grow(&found.id, &found.capacity, 1, sizeof *found.id, err);
    if (code == QK_OK && special)
        code = add_all(&tokenizer->template.before, &found, err);
    if (code == QK_OK)
        code = encode_pieces(tokenizer, text, n, &pieces, &found, err);
    if (code == QK_OK && special)
        code = add_all(&tokenizer->template.after, &found, err);
    qk_pieces_free(&pieces);
    if (code != QK_OK) {
        free(found.id);
        return code;
    }
    *ids = found.id;
    *n_ids = found.n;
    return QK_OK;
}

size_t qk_tokenizer_trailing(const struct qk_tokenizer *tokenizer)
{
    return tokenizer->template.after.n;
}

/* --- decoding --- */

static enum qk_code put_token(const struct qk_tokenizer *tokenizer, int32_t id, bool skip_special,
    struct qk_pieces *pieces, struct qk_error *err)
{
    const struct qk_added_token *added = qk_added_by_id(&tokenizer->added, id);
    if (added != NULL && added->special && skip_special)
        return QK_OK;
    const struct qk_vocabulary_entry *entry = added == NULL ? qk_bpe_token(&tokenizer->bpe, id) : NULL;
    if (added == NULL && entry == NULL)
        return qk_fail(err, QK_INPUT, "token id %d is not in the tokenizer (at most %zu)", (int)id,
            qk_tokenizer_size(tokenizer) - 1);
    if (tokenizer->joins_with_spaces && pieces->n > 0)
        QK_TRY(qk_pieces_put(pieces, " ", 1, QK_NO_TOKEN, 0, err));
    return qk_pieces_put(pieces, added != NULL ? added->content : entry->text,
        added != NULL ? added->n : entry->n, QK_NO_TOKEN, 0, err);
}

static enum qk_code decode(const struct qk_tokenizer *tokenizer, const int32_t *ids, size_t n,
    bool skip_special, bool inside, char **text, size_t *length, struct qk_error *err)
{
    struct qk_pieces pieces = {.limit = SIZE_MAX};
    enum qk_code code = QK_OK;
    *text = NULL;
    *length = 0;
    for (size_t i = 0; i < n && code == QK_OK; i++)
        code = put_token(tokenizer, ids[i], skip_special, &pieces, err);
    pieces.limit = growth_limit(pieces.n_bytes);
    if (code == QK_OK)
        code = qk_steps_run(&tokenizer->decoder, inside, &pieces, err);
    if (code == QK_OK)
        code = qk_strndup_to(text, pieces.n_bytes > 0 ? pieces.bytes : "", pieces.n_bytes, err);
    if (code == QK_OK)
        *length = pieces.n_bytes;
    qk_pieces_free(&pieces);
    return code;
}

enum qk_code qk_tokenizer_decode(const struct qk_tokenizer *tokenizer, const int32_t *ids, size_t n,
    bool skip_special, char **text, size_t *length, struct qk_error *err)
{
    return decode(tokenizer, ids, n, skip_special, false, text, length, err);
}

enum qk_code qk_tokenizer_piece(
    const struct qk_tokenizer *tokenizer, int32_t id, char **text, size_t *length, struct qk_error *err)
{
    return decode(tokenizer, &id, 1, false, true, text, length, err);
}
