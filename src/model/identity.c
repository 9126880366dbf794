/* identity.c - the digest of what a checkpoint is. */
#include "model/identity.h"

#include "base/json.h"
#include "model/layout.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static enum qk_code add_json(struct qk_digest *digest, const cJSON *item, struct qk_error *err)
{
    char *text;
    QK_TRY(qk_json_text(cJSON_Duplicate(item, true), false, &text, err));
    qk_digest_add(digest, text, strlen(text) + 1);
    free(text);
    return QK_OK;
}

/* Adds which file this is and when it was last written. A modification time alone does not suffice: pre and post have
 * the same header and size, and may have the same time from unpacking. */
static void add_file(struct qk_digest *digest, const struct qk_tensor_file *file)
{
    const struct qk_source *source = &file->source;
    qk_digest_add(digest, file->header_digest, sizeof file->header_digest);
    qk_digest_add(digest, &source->size, sizeof source->size);
    qk_digest_add(digest, &source->inode, sizeof source->inode);
    qk_digest_add(digest, &source->changed.tv_sec, sizeof source->changed.tv_sec);
    qk_digest_add(digest, &source->changed.tv_nsec, sizeof source->changed.tv_nsec);
}

enum qk_code qk_identity_add(
    struct qk_digest *digest, const struct qk_model *model, bool *known, struct qk_error *err)
{
    const struct qk_checkpoint *checkpoint = model->checkpoint;
    const struct qk_adapter *adapter = checkpoint->adapter;
    struct qk_layout layout;
    struct qk_error unheard = {0};
    *known = qk_checkpoint_unchanged(checkpoint, &unheard) == QK_OK;
    QK_TRY(qk_layout_find(model->config.model_type, &layout, err));
    qk_digest_add(digest, PACKAGE_STRING, sizeof PACKAGE_STRING);
    enum qk_code code = add_json(digest, model->config.root, err);
    if (code == QK_OK)
        code = add_json(digest, layout.row, err);
    qk_layout_free(&layout);
    QK_TRY(code);
    for (size_t i = 0; i < checkpoint->n_shards; i++)
        add_file(digest, &checkpoint->shard[i].file);
    if (adapter != NULL) {
        add_file(digest, qk_adapter_file(adapter));
        qk_digest_add(digest, adapter->config_digest, sizeof adapter->config_digest);
    }
    return QK_OK;
}

void qk_identity_add_beside(struct qk_digest *digest, const struct qk_model *model, const char *name)
{
    char *path;
    struct stat info;
    if (qk_path_join(model->checkpoint->folder, name, &path, NULL) != QK_OK)
        return;
    if (stat(path, &info) == 0) {
        qk_digest_add(digest, &info.st_size, sizeof info.st_size);
        qk_digest_add(digest, &info.st_ino, sizeof info.st_ino);
        qk_digest_add(digest, &info.st_ctim.tv_sec, sizeof info.st_ctim.tv_sec);
        qk_digest_add(digest, &info.st_ctim.tv_nsec, sizeof info.st_ctim.tv_nsec);
    }
    free(path);
}
