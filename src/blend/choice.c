/* choice.c - the table of modes, and the properties of a choice that need no weights. */
#include "blend/choice.h"

#include "blend/mode.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define QK_MODE_ROW(id, ops) [id] = &(ops),
static const struct qk_mode_ops *const MODES[] = {QK_MODES(QK_MODE_ROW)};
#undef QK_MODE_ROW
static_assert(QK_KEEP == 0, "zeroed memory means keep");

const struct qk_mode_ops *qk_mode_ops(enum qk_mode mode)
{
    return MODES[mode];
}

const struct qk_mode_info *qk_mode_info(enum qk_mode mode)
{
    return &MODES[mode]->info;
}

bool qk_mode_parse(const char *name, enum qk_mode *mode)
{
    for (int i = 0; i < QK_MODE_COUNT; i++) {
        if (strcmp(name, qk_mode_info((enum qk_mode)i)->name) == 0) {
            *mode = (enum qk_mode)i;
            return true;
        }
    }
    return false;
}

/* --- lists --- */

bool qk_mode_copies(enum qk_mode mode)
{
    return qk_mode_info(mode)->copies;
}

bool qk_mode_is_linear(enum qk_mode mode)
{
    return MODES[mode]->alpha != NULL;
}

char *qk_mode_list(char out[QK_MODE_LIST], bool (*among)(enum qk_mode mode), bool params)
{
    int member[QK_MODE_COUNT], n = 0;
    size_t used = 0;
    for (int i = 0; i < QK_MODE_COUNT; i++)
        if (among == NULL || among((enum qk_mode)i))
            member[n++] = i;
    out[0] = '\0';
    for (int i = 0; i < n && used < QK_MODE_LIST; i++) {
        const struct qk_mode_info *info = qk_mode_info((enum qk_mode)member[i]);
        const char *before = i == 0 ? "" : i == n - 1 ? " or " : ", ";
        bool shown = params && info->has_param;
        used += (size_t)snprintf(out + used, QK_MODE_LIST - used, "%s%s%s%s", before, info->name,
            shown ? ":" : "", shown ? info->placeholder : "");
    }
    return out;
}

/* --- choices --- */

bool qk_choice_equal(struct qk_choice a, struct qk_choice b)
{
    return a.mode == b.mode && (!qk_mode_info(a.mode)->has_param || a.param == b.param);
}

enum qk_code qk_choice_check(struct qk_choice choice, struct qk_error *err)
{
    const struct qk_mode_info *info = qk_mode_info(choice.mode);
    if (!info->has_param)
        return QK_OK;
    if (isfinite(choice.param) && choice.param >= info->low && choice.param <= info->high)
        return QK_OK;
    if (isfinite(info->high))
        return qk_fail(err, QK_USAGE, "%s: parameter out of range (found %g, expected %g to %g)", info->name,
            choice.param, info->low, info->high);
    return qk_fail(err, QK_USAGE, "%s: parameter out of range (found %g, expected a finite number >= %g)",
        info->name, choice.param, info->low);
}

struct qk_choice qk_choice_effect(struct qk_choice choice)
{
    const struct qk_mode_info *info = qk_mode_info(choice.mode);
    for (int i = 0; i < info->n_edges; i++)
        if (choice.param == info->edge[i].param)
            return (struct qk_choice){info->edge[i].mode, 0};
    return (struct qk_choice){choice.mode, info->has_param ? choice.param : 0};
}

bool qk_choice_alpha(struct qk_choice choice, double *alpha)
{
    if (!qk_mode_is_linear(choice.mode))
        return false;
    *alpha = MODES[choice.mode]->alpha(choice.param);
    return true;
}

char *qk_choice_text(char out[QK_CHOICE_TEXT], struct qk_choice choice)
{
    const struct qk_mode_info *info = qk_mode_info(choice.mode);
    if (info->has_param)
        snprintf(out, QK_CHOICE_TEXT, "%s %.6g", info->name, choice.param);
    else
        snprintf(out, QK_CHOICE_TEXT, "%s", info->name);
    return out;
}
