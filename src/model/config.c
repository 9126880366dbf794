/* config.c - the reader of config.json. */
#include "model/config.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/names.h"
#include "tensor/source.h"

#include <stdlib.h>

enum { MAX_CONFIG_BYTES = 8 << 20 };

/* Multimodal configs nest the language model's keys. */
static const cJSON *text_config(const cJSON *root)
{
    static const char *const nested[] = {"text_config", "language_config", "llm_config"};
    for (size_t i = 0; i < sizeof nested / sizeof nested[0]; i++) {
        const cJSON *inner = qk_json_get(root, nested[i]);
        if (cJSON_IsObject(inner))
            return inner;
    }
    const cJSON *inner = qk_json_get(qk_json_get(root, "thinker_config"), "text_config");
    return cJSON_IsObject(inner) ? inner : root;
}

/* The number that a key of "per_layer_config" spells, or -1. */
static int layer_of(const char *key)
{
    char *end;
    long number = key[0] >= '0' && key[0] <= '9' ? strtol(key, &end, 10) : -1;
    return number >= 0 && number < QK_MAX_LAYERS && *end == '\0' ? (int)number : -1;
}

/* Finds what the config sets for single layers, as transformers 5 writes it: "per_layer_config" {"3": {KEY: VALUE}}. */
static enum qk_code find_own(struct qk_config *config, struct qk_error *err)
{
    const cJSON *layers = qk_json_get(config->text, "per_layer_config");
    int n = 0;
    if (!cJSON_IsObject(layers))
        return QK_OK;
    for (const cJSON *item = layers->child; item != NULL; item = item->next)
        n = layer_of(item->string) >= n ? layer_of(item->string) + 1 : n;
    QK_TRY(qk_alloc(&config->own, (size_t)n, sizeof *config->own, err));
    config->n_own = n;
    for (const cJSON *item = layers->child; item != NULL; item = item->next)
        if (layer_of(item->string) >= 0 && cJSON_IsObject(item))
            config->own[layer_of(item->string)] = item;
    return QK_OK;
}

enum qk_code qk_config_open(const char *folder, struct qk_config *config, struct qk_error *err)
{
    *config = (struct qk_config){.model_type = ""};
    struct qk_text path = {0};
    qk_text_add(&path, "%s/config.json", folder);
    QK_TRY(qk_text_take(&path, &config->path, err));
    bool found = false;
    /* A link to nowhere is not a missing config: opening it reports what is wrong. */
    enum qk_code code = qk_source_exists(config->path, &found, err);
    if (code == QK_OK && !found)
        return QK_OK;
    if (code == QK_OK)
        code = qk_source_json(config->path, MAX_CONFIG_BYTES, &config->root, err);
    if (code == QK_OK && !cJSON_IsObject(config->root))
        code = qk_fail(err, QK_INPUT, "%s: not a JSON object", config->path);
    if (code == QK_OK) {
        config->text = text_config(config->root);
        code = find_own(config, err);
    }
    if (code != QK_OK) {
        qk_config_close(config);
        return code;
    }
    config->model_type =
        qk_json_string(config->text, "model_type", qk_json_string(config->root, "model_type", ""));
    return QK_OK;
}

void qk_config_close(struct qk_config *config)
{
    cJSON_Delete(config->root);
    free(config->own);
    free(config->path);
    *config = (struct qk_config){.model_type = ""};
}
