/* subject.c - the effects of a selection, as digests. */
#include "eval/engine/subject.h"

#include <string.h>

bool qk_subject_plain(const struct qk_selection *selection)
{
    for (int i = 0; selection != NULL && i < selection->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            for (int h = 0; h < qk_layer_choice_count(&selection->choice[i], (enum qk_role)r); h++)
                if (qk_choice_effect(qk_layer_choice_of(&selection->choice[i], (enum qk_role)r, h)).mode !=
                    QK_KEEP)
                    return false;
    return true;
}

/* Adds the effects of a role's choices. Where its heads differ, their number comes first. */
static void add_role(struct qk_digest *digest, const struct qk_layer_choice *layer, enum qk_role role)
{
    int n = qk_layer_choice_count(layer, role);
    if (n > 1)
        qk_digest_add(digest, &n, sizeof n);
    for (int h = 0; h < n; h++) {
        struct qk_choice choice = qk_choice_effect(qk_layer_choice_of(layer, role, h));
        const char *mode =
            qk_mode_info(choice.mode)->name; /* not its number, which may change with the table */
        qk_digest_add(digest, mode, strlen(mode) + 1);
        qk_digest_add(digest, &choice.param, sizeof choice.param);
    }
}

static void add_layer(const struct qk_subject *subject, int layer, struct qk_digest *digest)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        add_role(digest, &subject->selection->choice[layer], (enum qk_role)r);
}

void qk_subject_add(const struct qk_subject *subject, struct qk_digest *digest)
{
    qk_digest_add(digest, &subject->norms, sizeof subject->norms);
    for (int i = 0; i < subject->selection->n_layers; i++)
        add_layer(subject, i, digest);
}

void qk_subject_changes(const struct qk_subject *subject, const bool *changed, char (*change)[QK_DIGEST_TEXT])
{
    for (int i = 0; i < subject->selection->n_layers; i++) {
        struct qk_digest digest;
        if (!changed[i])
            continue;
        qk_digest_init(&digest);
        qk_digest_add(&digest, &subject->norms, sizeof subject->norms);
        add_layer(subject, i, &digest);
        qk_digest_hex(&digest, change[i]);
    }
}
