/* config.h - config.json of a checkpoint: read once, looked up by key, text_config nesting resolved. */
#ifndef QK_MODEL_CONFIG_H
#define QK_MODEL_CONFIG_H

#include "base/error.h"

#include <cjson/cJSON.h>

struct qk_config {
    char *path;             /* owned; where it is, or would be */
    cJSON *root;            /* owned; NULL when there is no config.json */
    const cJSON *text;      /* the object that describes the language model: root, or its text_config etc. */
    const char *model_type; /* of `text`, else of root, else "" ; borrowed from root */
    int layer; /* 1 + the layer in question, where a list stands for its entry of that layer; else 0 */
    const cJSON *
        *own; /* owned, its entries borrowed from root: [i] replaces keys of `text` for layer i, or is NULL */
    int n_own;
};

/* Reads FOLDER/config.json. A folder without one is no error (root = NULL): shapes and names may still suffice.
 * QK_INPUT when it is not a JSON object. Freed with qk_config_close. */
enum qk_code qk_config_open(const char *folder, struct qk_config *config, struct qk_error *err);
void qk_config_close(struct qk_config *config);

#endif
