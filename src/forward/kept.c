/* kept.c - the entries of each prompt, as a list. */
#include "forward/kept.h"

#include "base/mem.h"

#include <stdlib.h>

struct item {
    struct item *next;
    size_t number;
    struct qk_kept_entry entry;
};

struct qk_kept {
    struct item **first; /* n */
    size_t n, left;      /* left: bytes */
};

enum qk_code qk_kept_open(size_t n, size_t bytes, struct qk_kept **out, struct qk_error *err)
{
    struct qk_kept *kept;
    *out = NULL;
    QK_TRY(qk_alloc(&kept, 1, sizeof *kept, err));
    enum qk_code code = qk_alloc(&kept->first, n, sizeof(struct item *), err);
    if (code != QK_OK) {
        free(kept);
        return code;
    }
    kept->n = n;
    kept->left = bytes;
    *out = kept;
    return QK_OK;
}

void qk_kept_close(struct qk_kept *kept)
{
    if (kept == NULL)
        return;
    for (size_t i = 0; i < kept->n; i++)
        for (struct item *item = kept->first[i], *next; item != NULL; item = next) {
            next = item->next;
            free(item->entry.x);
            qk_layer_state_free(&item->entry.state);
            free(item);
        }
    free(kept->first);
    free(kept);
}

const struct qk_kept_entry *qk_kept_find(const struct qk_kept *kept, size_t prompt, size_t number)
{
    for (const struct item *item = kept->first[prompt]; item != NULL; item = item->next)
        if (item->number == number)
            return &item->entry;
    return NULL;
}

bool qk_kept_room(struct qk_kept *kept, size_t bytes)
{
    if (bytes <= kept->left)
        return true;
    kept->left = 0;
    return false;
}

bool qk_kept_put(
    struct qk_kept *kept, size_t prompt, size_t number, size_t bytes, const struct qk_kept_entry *entry)
{
    struct item *item;
    struct qk_error unheard = {0};
    if (!qk_kept_room(kept, bytes) || qk_alloc(&item, 1, sizeof *item, &unheard) != QK_OK)
        return false;
    *item = (struct item){kept->first[prompt], number, *entry};
    kept->first[prompt] = item;
    kept->left -= bytes;
    return true;
}
