/* template.c - the reader of post_processor, and of two keys of tokenizer_config.json. */
#include "token/template.h"

#include "base/mem.h"
#include "base/text.h"
#include "tensor/source.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 32 << 20 };

struct reader {
    const char *path;
    const struct qk_bpe *bpe;
    const struct qk_added *added;
    struct qk_template *out;
    bool found; /* a part that names special tokens */
};

static bool is_token(const struct reader *reader, int32_t id)
{
    return qk_bpe_token(reader->bpe, id) != NULL || qk_added_by_id(reader->added, id) != NULL;
}

static enum qk_code add_id(
    const struct reader *reader, const cJSON *item, struct qk_ids *ids, struct qk_error *err)
{
    uint64_t id;
    if (!qk_json_u64(item, &id) || id >= INT32_MAX || !is_token(reader, (int32_t)id))
        return qk_fail(err, QK_INPUT, "%s: post_processor: an id of a special token is not the id of a token",
            reader->path);
    return qk_ids_add(ids, (int32_t)id, err);
}

/* {"SpecialToken": {"id": NAME}}, whose ids are in "special_tokens". */
static enum qk_code add_special(const struct reader *reader, const cJSON *specials, const cJSON *piece,
    struct qk_ids *ids, struct qk_error *err)
{
    const char *name = qk_json_string(piece, "id", NULL);
    const cJSON *list = name != NULL ? qk_json_get(qk_json_get(specials, name), "ids") : NULL;
    if (!cJSON_IsArray(list))
        return qk_fail(err, QK_INPUT, "%s: post_processor: special_tokens has no ids of %.64s", reader->path,
            name != NULL ? name : "a token without id");
    for (const cJSON *item = list->child; item != NULL; item = item->next)
        QK_TRY(add_id(reader, item, ids, err));
    return QK_OK;
}

static enum qk_code read_single(
    const struct reader *reader, const cJSON *part, struct qk_template *found, struct qk_error *err)
{
    const cJSON *single = qk_json_get(part, "single");
    size_t sequences = 0;
    if (!cJSON_IsArray(single))
        return qk_fail(
            err, QK_INPUT, "%s: post_processor: TemplateProcessing: single is not a list", reader->path);
    for (const cJSON *piece = single->child; piece != NULL; piece = piece->next) {
        const cJSON *special = qk_json_get(piece, "SpecialToken");
        if (special != NULL)
            QK_TRY(add_special(reader, qk_json_get(part, "special_tokens"), special,
                sequences == 0 ? &found->before : &found->after, err));
        else if (qk_json_get(piece, "Sequence") != NULL)
            sequences++;
        else
            return qk_fail(err, QK_INPUT,
                "%s: post_processor: TemplateProcessing: neither SpecialToken nor Sequence", reader->path);
    }
    if (sequences != 1)
        return qk_fail(err, QK_INPUT,
            "%s: post_processor: TemplateProcessing: the text must stand in it once (found %zu times)",
            reader->path, sequences);
    return QK_OK;
}

/* {"cls": [TOKEN, ID], "sep": [TOKEN, ID]}: cls TEXT sep. */
static enum qk_code read_bert(
    const struct reader *reader, const cJSON *part, struct qk_template *found, struct qk_error *err)
{
    QK_TRY(add_id(reader, cJSON_GetArrayItem(qk_json_get(part, "cls"), 1), &found->before, err));
    return add_id(reader, cJSON_GetArrayItem(qk_json_get(part, "sep"), 1), &found->after, err);
}

static enum qk_code read_processor(struct reader *reader, const cJSON *part, struct qk_error *err)
{
    if (part == NULL || cJSON_IsNull(part))
        return QK_OK;
    const char *type = qk_json_string(part, "type", "?");
    if (strcmp(type, "ByteLevel") == 0) /* affects offsets alone */
        return QK_OK;
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *parts = qk_json_get(part, "processors");
        if (!cJSON_IsArray(parts))
            return qk_fail(
                err, QK_INPUT, "%s: post_processor: Sequence: processors is not a list", reader->path);
        for (const cJSON *item = parts->child; item != NULL; item = item->next)
            QK_TRY(read_processor(reader, item, err));
        return QK_OK;
    }
    bool bert = strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0;
    if (!bert && strcmp(type, "TemplateProcessing") != 0)
        return qk_fail(err, QK_INPUT, "%s: post_processor: %.64s is not supported; give token ids instead",
            reader->path, type);
    if (reader->found)
        return qk_fail(err, QK_INPUT,
            "%s: post_processor: more than one template is not supported; give token ids instead",
            reader->path);
    reader->found = true;
    return bert ? read_bert(reader, part, reader->out, err) : read_single(reader, part, reader->out, err);
}

/* --- tokenizer_config.json --- */

/* The token that `key` names: a text, or an object with a content. */
static enum qk_code add_named(const struct reader *reader, const cJSON *config, const char *key,
    struct qk_ids *ids, struct qk_error *err)
{
    const char *name = qk_json_string(config, key, qk_json_string(qk_json_get(config, key), "content", NULL));
    if (name == NULL)
        return QK_OK;
    const struct qk_added_token *token = qk_added_by_content(reader->added, name);
    int32_t id = token != NULL ? token->id : qk_bpe_find(reader->bpe, name, strlen(name));
    if (id < 0)
        return qk_fail(err, QK_INPUT, "%s: %s is not a token (found %.64s)", reader->path, key, name);
    return qk_ids_add(ids, id, err);
}

static enum qk_code read_config(struct reader *reader, const char *folder, struct qk_error *err)
{
    char *path;
    cJSON *config = NULL;
    QK_TRY(qk_path_join(folder, "tokenizer_config.json", &path, err));
    reader->path = path;
    bool found;
    enum qk_code code = qk_source_exists(path, &found, err);
    if (code == QK_OK && found)
        code = qk_json_read(path, MAX_CONFIG_BYTES, &config, err);
    if (code == QK_OK && qk_json_bool(config, "add_bos_token", false))
        code = add_named(reader, config, "bos_token", &reader->out->before, err);
    if (code == QK_OK && qk_json_bool(config, "add_eos_token", false))
        code = add_named(reader, config, "eos_token", &reader->out->after, err);
    cJSON_Delete(config);
    free(path);
    return code;
}

enum qk_code qk_template_read(const char *path, const char *folder, const cJSON *processor,
    const struct qk_bpe *bpe, const struct qk_added *added, struct qk_template *out, struct qk_error *err)
{
    struct reader reader = {path, bpe, added, out, false};
    QK_TRY(read_processor(&reader, processor, err));
    return reader.found ? QK_OK : read_config(&reader, folder, err);
}

void qk_template_free(struct qk_template *template)
{
    free(template->before.id);
    free(template->after.id);
    *template = (struct qk_template){0};
}
