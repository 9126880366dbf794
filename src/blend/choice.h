/* choice.h - the choice for one role of one layer, and the table of modes, one file each: keep.c, restore.c, lerp.c,
 * qk_pro.c, procrustes.c, restore_latent.c. */
#ifndef QK_BLEND_CHOICE_H
#define QK_BLEND_CHOICE_H

#include "base/error.h"
#include "model/model.h"

/* The table of modes: a row is a mode's identity and its operations (mode.h). Lists, help and the mode key follow
 * this order. The first is keep, as zeroed memory means keep. */
#define QK_MODES(X)                                                                                          \
    X(QK_KEEP, qk_mode_keep)                                                                                 \
    X(QK_RESTORE, qk_mode_restore)                                                                           \
    X(QK_LERP, qk_mode_lerp)                                                                                 \
    X(QK_QKPRO, qk_mode_qk_pro)                                                                              \
    X(QK_PROCRUSTES, qk_mode_procrustes)                                                                     \
    X(QK_RESTORE_LATENT, qk_mode_restore_latent)

#define QK_MODE_ID(id, ops) id,
enum qk_mode { QK_MODES(QK_MODE_ID) QK_MODE_COUNT };
#undef QK_MODE_ID

struct qk_choice {
    enum qk_mode mode;
    double param; /* alpha, lambda; 0 for a mode without one */
};

/* A parameter at which a mode gives the bytes of another one. */
struct qk_mode_edge {
    double param;
    enum qk_mode mode;
};

/* A parameter that a search tries. Rounds follow each other, and within one the modes in the table's order. */
struct qk_mode_trial {
    int round;
    double param;
};

enum { QK_MODE_EDGES = 2, QK_MODE_TRIALS = 3 };

/* The properties of a mode that need no weights. */
struct qk_mode_info {
    const char *name;           /* as in --set and recipes */
    const char *symbol, *ascii; /* of the parameter: "α" and "a"; "" without one */
    const char *placeholder;    /* what stands for the parameter in texts: "ALPHA"; "" without one */
    const char *help;           /* one sentence */
    bool has_param;
    bool both_roles;         /* acts on q and k at once */
    bool needs_k;            /* a layer of q alone does not take it */
    bool copies;             /* copies bytes and computes nothing, so that it also applies to slices */
    bool takes_latent;       /* restores the slices that make values, too; for latent attention alone */
    double start, low, high; /* default and allowed range; high may be HUGE_VAL */
    struct qk_mode_edge edge[QK_MODE_EDGES];
    int n_edges;
    struct qk_mode_trial trial[QK_MODE_TRIALS];
    int n_trials;
};
const struct qk_mode_info *qk_mode_info(enum qk_mode mode);
bool qk_mode_parse(const char *name, enum qk_mode *mode);

/* Modes of which a list is made. */
bool qk_mode_copies(enum qk_mode mode);    /* the mode's `copies` */
bool qk_mode_is_linear(enum qk_mode mode); /* qk_choice_alpha knows it */
/* "keep, restore or lerp": the modes for which `among` is true (NULL: all). With `params` each has its
 * parameter, as in "lerp:ALPHA". A list that does not fit is cut. Returns out. */
enum { QK_MODE_LIST = 256 };
char *qk_mode_list(char out[QK_MODE_LIST], bool (*among)(enum qk_mode mode), bool params);

bool qk_choice_equal(struct qk_choice a, struct qk_choice b);
/* QK_USAGE when the parameter is not finite or outside the mode's range. */
enum qk_code qk_choice_check(struct qk_choice choice, struct qk_error *err);
/* The choice with the same bytes: for a mode at its edge, the mode there. lerp 0 is keep, say, and lerp 1, procrustes
 * 1 and qk-pro 0 are restore. */
struct qk_choice qk_choice_effect(struct qk_choice choice);
/* True when every value becomes (1 - a) post + a pre; *alpha = a: 0 for keep, 1 for restore. */
bool qk_choice_alpha(struct qk_choice choice, double *alpha);
/* Writes "restore", "lerp 0.5" or "qk-pro 0.3". Returns out. */
enum { QK_CHOICE_TEXT = 32 };
char *qk_choice_text(char out[QK_CHOICE_TEXT], struct qk_choice choice);

#endif
