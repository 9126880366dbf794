/* choice.c - the table of modes, and what can be said of a choice without looking at any weight. */
#include "blend/choice.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct qk_mode_info MODES[] = {
    [QK_KEEP] = {.name = "keep", .symbol = "", .ascii = "", .help = "post's weights, as fine-tuned"},
    [QK_RESTORE] = {.name = "restore", .symbol = "", .ascii = "", .help = "pre's weights, byte for byte"},
    [QK_LERP] = {.name = "lerp",
        .symbol = "α",
        .ascii = "a",
        .has_param = true,
        .start = 0.5,
        .low = 0,
        .high = 1,
        .help = "a straight blend: 0 is post, 1 is pre"},
    [QK_QKPRO] = {.name = "qk-pro",
        .symbol = "λ",
        .ascii = "lam",
        .has_param = true,
        .both_roles = true,
        .start = 0.3,
        .low = 0,
        .high = HUGE_VAL,
        .help = "pre's keys; queries pulled back along strong key directions: 0 is pre, large keeps post's"},
    [QK_PROCRUSTES] = {.name = "procrustes",
        .symbol = "α",
        .ascii = "a",
        .has_param = true,
        .start = 0.5,
        .low = 0,
        .high = 1,
        .help = "a blend after turning post's heads onto pre's, as far as attention does not change"},
    [QK_RESTORE_LATENT] = {.name = "restore-latent",
        .symbol = "",
        .ascii = "",
        .help = "restore with the latent that latent attention makes keys and values of: values move, too"},
};
static_assert(sizeof MODES / sizeof MODES[0] == QK_MODE_COUNT, "a row for every mode");

const struct qk_mode_info *qk_mode_info(enum qk_mode mode)
{
    return &MODES[mode];
}

bool qk_mode_parse(const char *name, enum qk_mode *mode)
{
    for (int i = 0; i < QK_MODE_COUNT; i++) {
        if (strcmp(name, MODES[i].name) == 0) {
            *mode = (enum qk_mode)i;
            return true;
        }
    }
    return false;
}

bool qk_choice_equal(struct qk_choice a, struct qk_choice b)
{
    return a.mode == b.mode && (!MODES[a.mode].has_param || a.param == b.param);
}

enum qk_code qk_choice_check(struct qk_choice choice, struct qk_error *err)
{
    const struct qk_mode_info *info = &MODES[choice.mode];
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
    bool zero = choice.param == 0, one = choice.param == 1;
    enum qk_mode mode = choice.mode;
    if (mode == QK_LERP && zero)
        mode = QK_KEEP;
    else if ((mode == QK_LERP && one) || (mode == QK_PROCRUSTES && one) || (mode == QK_QKPRO && zero))
        mode = QK_RESTORE;
    return (struct qk_choice){mode, MODES[mode].has_param ? choice.param : 0};
}

char *qk_choice_text(char out[QK_CHOICE_TEXT], struct qk_choice choice)
{
    const struct qk_mode_info *info = &MODES[choice.mode];
    if (info->has_param)
        snprintf(out, QK_CHOICE_TEXT, "%s %.6g", info->name, choice.param);
    else
        snprintf(out, QK_CHOICE_TEXT, "%s", info->name);
    return out;
}
