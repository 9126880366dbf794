/* choice.h - what becomes of one role of one layer, and the table of modes. */
#ifndef QK_BLEND_CHOICE_H
#define QK_BLEND_CHOICE_H

#include "base/error.h"
#include "model/model.h"

enum qk_mode { QK_KEEP, QK_RESTORE, QK_LERP, QK_QKPRO, QK_PROCRUSTES, QK_RESTORE_LATENT, QK_MODE_COUNT };

struct qk_choice {
    enum qk_mode mode;
    double param; /* alpha, lambda; 0 for keep and restore */
};

struct qk_mode_info {
    const char
        *name; /* "keep" "restore" "lerp" "qk-pro" "procrustes" "restore-latent": as in --set and recipes */
    const char *symbol; /* "", "α", "λ" */
    const char *ascii;  /* "", "a", "lam" */
    bool has_param;
    bool both_roles;         /* acts on q and k at once (qk-pro) */
    double start, low, high; /* default and allowed range; high may be HUGE_VAL */
    const char *help;        /* one sentence */
};
const struct qk_mode_info *qk_mode_info(enum qk_mode mode);
bool qk_mode_parse(const char *name, enum qk_mode *mode);

bool qk_choice_equal(struct qk_choice a, struct qk_choice b);
/* QK_USAGE when the parameter is not finite or outside the mode's range. */
enum qk_code qk_choice_check(struct qk_choice choice, struct qk_error *err);
/* The bytes that result: lerp 0 is keep, lerp 1 and procrustes 1 are restore, qk-pro 0 is restore. */
struct qk_choice qk_choice_effect(struct qk_choice choice);
/* "restore", "lerp 0.5", "qk-pro 0.3". Returns out. */
enum { QK_CHOICE_TEXT = 32 };
char *qk_choice_text(char out[QK_CHOICE_TEXT], struct qk_choice choice);

#endif
