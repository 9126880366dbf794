/* lineage.c - the tree of layers that models have in common. */
#include "eval/lineage.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* A node is the layers on the way to it; node 0 has none. */
struct node {
    size_t parent;
    char change[QK_DIGEST_TEXT]; /* of its last layer */
};

struct qk_lineage {
    struct node *node; /* n */
    size_t n, capacity;
};

enum qk_code qk_lineage_open(struct qk_lineage **out, struct qk_error *err)
{
    struct qk_lineage *lineage;
    *out = NULL;
    QK_TRY(qk_alloc(&lineage, 1, sizeof *lineage, err));
    enum qk_code code = qk_grow(&lineage->node, &lineage->capacity, 1, sizeof *lineage->node, err);
    if (code != QK_OK) {
        free(lineage);
        return code;
    }
    lineage->n = 1;
    *out = lineage;
    return QK_OK;
}

void qk_lineage_close(struct qk_lineage *lineage)
{
    if (lineage != NULL)
        free(lineage->node);
    free(lineage);
}

/* Children come after their parents. */
static size_t find_child(const struct qk_lineage *lineage, size_t parent, const char *change)
{
    size_t i = parent + 1;
    while (
        i < lineage->n && (lineage->node[i].parent != parent || strcmp(lineage->node[i].change, change) != 0))
        i++;
    return i;
}

enum qk_code qk_lineage_follow(struct qk_lineage *lineage, size_t n_layers,
    const char (*change)[QK_DIGEST_TEXT], size_t *number, bool *shared, struct qk_error *err)
{
    bool plain = true;
    number[0] = 0;
    shared[0] = true;
    for (size_t l = 0; l < n_layers; l++) {
        size_t i = find_child(lineage, number[l], change[l]);
        plain = plain && change[l][0] == '\0';
        shared[l + 1] = plain || i < lineage->n;
        if (i == lineage->n) {
            QK_TRY(qk_grow(&lineage->node, &lineage->capacity, i + 1, sizeof *lineage->node, err));
            lineage->n++;
            lineage->node[i].parent = number[l];
            memcpy(lineage->node[i].change, change[l], QK_DIGEST_TEXT);
        }
        number[l + 1] = i;
    }
    return QK_OK;
}
