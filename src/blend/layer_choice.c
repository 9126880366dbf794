/* layer_choice.c - the choices of a layer, by role or by head. */
#include "blend/layer_choice.h"

#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qk_head_choices {
    atomic_int holders;
    int n;
    struct qk_choice of[]; /* n */
};

static void drop(struct qk_head_choices *choices)
{
    if (choices != NULL && atomic_fetch_sub(&choices->holders, 1) == 1)
        free(choices);
}

struct qk_layer_choice qk_layer_choice_copy(const struct qk_layer_choice *choice)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        if (choice->head[r] != NULL)
            atomic_fetch_add(&choice->head[r]->holders, 1);
    return *choice;
}

void qk_layer_choice_free(struct qk_layer_choice *choice)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        drop(choice->head[r]);
    *choice = (struct qk_layer_choice){0};
}

void qk_layer_choice_assign(struct qk_layer_choice *to, const struct qk_layer_choice *from)
{
    struct qk_layer_choice copy = qk_layer_choice_copy(from);
    qk_layer_choice_free(to);
    *to = copy;
}

void qk_layer_choice_set(struct qk_layer_choice *choice, enum qk_role role, struct qk_choice of)
{
    drop(choice->head[role]);
    choice->head[role] = NULL;
    choice->role[role] = of;
}

enum qk_code qk_layer_choice_set_heads(struct qk_layer_choice *choice, enum qk_role role,
    const struct qk_choice *of, int n, struct qk_error *err)
{
    bool differ = false;
    for (int i = 1; i < n; i++)
        differ = differ || !qk_choice_equal(of[0], of[i]);
    struct qk_head_choices *made = NULL;
    if (differ) {
        QK_TRY(qk_alloc(&made, sizeof *made + (size_t)n * sizeof *of, 1, err));
        atomic_init(&made->holders, 1);
        made->n = n;
        memcpy(made->of, of, (size_t)n * sizeof *of);
    }
    qk_layer_choice_set(choice, role, differ ? (struct qk_choice){QK_KEEP, 0} : of[0]);
    choice->head[role] = made;
    return QK_OK;
}

int qk_layer_choice_count(const struct qk_layer_choice *choice, enum qk_role role)
{
    return choice->head[role] != NULL ? choice->head[role]->n : 1;
}

struct qk_choice qk_layer_choice_of(const struct qk_layer_choice *choice, enum qk_role role, int head)
{
    const struct qk_head_choices *choices = choice->head[role];
    return choices == NULL ? choice->role[role] : choices->of[head];
}

bool qk_layer_choice_by_head(const struct qk_layer_choice *choice)
{
    return choice->head[QK_Q] != NULL || choice->head[QK_K] != NULL;
}

bool qk_layer_choice_keeps(const struct qk_layer_choice *choice)
{
    return !qk_layer_choice_by_head(choice) && choice->role[QK_Q].mode == QK_KEEP &&
           choice->role[QK_K].mode == QK_KEEP;
}

static bool same_heads(const struct qk_head_choices *a, const struct qk_head_choices *b)
{
    if (a == b)
        return true;
    if (a == NULL || b == NULL || a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++)
        if (!qk_choice_equal(a->of[i], b->of[i]))
            return false;
    return true;
}

bool qk_layer_choice_equal(const struct qk_layer_choice *a, const struct qk_layer_choice *b)
{
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        if (!qk_choice_equal(a->role[r], b->role[r]) || !same_heads(a->head[r], b->head[r]))
            return false;
    return true;
}

bool qk_layer_choice_alike(const struct qk_layer_choice *choice)
{
    return !qk_layer_choice_by_head(choice) && qk_choice_equal(choice->role[QK_Q], choice->role[QK_K]);
}

int qk_layer_choice_singles(const struct qk_layer_choice *choice, enum qk_role role)
{
    return choice->head[role] != NULL ? choice->head[role]->n : 0;
}

bool qk_layer_choice_repeats(const struct qk_layer_choice *choice, enum qk_role role, int head)
{
    struct qk_choice of = qk_layer_choice_of(choice, role, head);
    for (int r = QK_Q; r <= (int)role; r++) {
        int n = r == (int)role ? head : qk_layer_choice_singles(choice, (enum qk_role)r);
        for (int h = 0; h < n; h++)
            if (qk_choice_equal(of, choice->head[r]->of[h]))
                return true;
    }
    return false;
}

int qk_layer_choice_chosen(const struct qk_layer_choice *choice, enum qk_role role)
{
    const struct qk_head_choices *choices = choice->head[role];
    int chosen = 0;
    for (int i = 0; choices != NULL && i < choices->n; i++)
        chosen += choices->of[i].mode != QK_KEEP;
    return chosen;
}

enum qk_mode qk_layer_choice_mode(const struct qk_layer_choice *choice, enum qk_role role)
{
    for (int i = 0; i < qk_layer_choice_count(choice, role); i++)
        if (qk_layer_choice_of(choice, role, i).mode != QK_KEEP)
            return qk_layer_choice_of(choice, role, i).mode;
    return QK_KEEP;
}

char *qk_layer_choice_text(
    char out[QK_ROLE_CHOICE_TEXT], const struct qk_layer_choice *choice, enum qk_role role)
{
    static const char MORE[] = "...";
    const struct qk_head_choices *choices = choice->head[role];
    size_t used = 0;
    if (choices == NULL)
        return qk_choice_text(out, choice->role[role]);
    out[0] = '\0';
    for (int first = 0, end; first < choices->n; first = end) {
        char mode[QK_CHOICE_TEXT], word[80], last[16] = "";
        for (end = first + 1; end < choices->n && qk_choice_equal(choices->of[first], choices->of[end]);)
            end++;
        if (choices->of[first].mode == QK_KEEP)
            continue;
        if (end > first + 1)
            snprintf(last, sizeof last, "-%d", end - 1);
        int n = snprintf(word, sizeof word, "%s%s%d%s %s", used > 0 ? ", " : "", qk_role_name(role), first,
            last, qk_choice_text(mode, choices->of[first]));
        if (used + (size_t)n + sizeof MORE > QK_ROLE_CHOICE_TEXT) {
            memcpy(out + used, MORE, sizeof MORE);
            break;
        }
        memcpy(out + used, word, (size_t)n + 1);
        used += (size_t)n;
    }
    return out;
}
