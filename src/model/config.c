/* config.c - the reader of config.json. */
#include "model/config.h"

#include "base/json.h"
#include "base/text.h"
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
    if (code != QK_OK) {
        qk_config_close(config);
        return code;
    }
    config->text = text_config(config->root);
    config->model_type =
        qk_json_string(config->text, "model_type", qk_json_string(config->root, "model_type", ""));
    return QK_OK;
}

void qk_config_close(struct qk_config *config)
{
    cJSON_Delete(config->root);
    free(config->path);
    *config = (struct qk_config){.model_type = ""};
}
