/* search_usual.c - the selections that are known to be good, asked first and in full. */
#include "eval/search_steps.h"

enum {
    FULL = 1 << QK_FULL,
    SOFTMAX = 1 << QK_FULL | 1 << QK_WINDOW,
    LINEAR = 1 << QK_LINEAR,
    EVERY = SOFTMAX | LINEAR,
};

/* A row: layers of kinds restored, heads that carry recall restored, the layers of such heads one by one, and the full
 * layers or such heads blended. */
enum usual_what { KINDS, HEADS, HEAD_LAYERS, BLENDS, HEAD_BLENDS };
static const struct usual {
    enum usual_what what;
    enum qk_effect_roles roles;
    unsigned kinds;
    int round; /* of the blends that the table of modes has for searches */
} USUAL[] = {
    {KINDS, QK_EFFECT_BOTH, FULL, 0}, /* the first, against which others are held */
    {KINDS, QK_EFFECT_K, FULL, 0},
    {HEADS, QK_EFFECT_BOTH, 0, 0},
    {HEADS, QK_EFFECT_K, 0, 0},
    {HEAD_BLENDS, QK_EFFECT_BOTH, 0, 0},
    {HEAD_BLENDS, QK_EFFECT_BOTH, 0, 1},
    {BLENDS, QK_EFFECT_BOTH, FULL, 0},
    {BLENDS, QK_EFFECT_BOTH, FULL, 1},
    {HEAD_LAYERS, QK_EFFECT_BOTH, 0, 0},
    {HEAD_LAYERS, QK_EFFECT_K, 0, 0},
    {KINDS, QK_EFFECT_Q, FULL, 0},
    {KINDS, QK_EFFECT_BOTH, SOFTMAX, 0},
    {KINDS, QK_EFFECT_K, SOFTMAX, 0},
    {KINDS, QK_EFFECT_BOTH, LINEAR, 0},
    {KINDS, QK_EFFECT_BOTH, EVERY, 0},
    {HEADS, QK_EFFECT_Q, 0, 0},
    {HEAD_LAYERS, QK_EFFECT_Q, 0, 0},
    {BLENDS, QK_EFFECT_BOTH, FULL, 2},
};

static const struct qk_choice RESTORE = {QK_RESTORE, 0};

/* Asks a selection, unless it changes nothing, and frees it. */
static enum qk_code ask(
    struct qk_search *search, struct qk_selection *selection, const char *origin, struct qk_error *err)
{
    struct qk_trial *trial;
    enum qk_code code = QK_OK;
    if (qk_selection_count(selection) > 0)
        code = qk_search_measure(search, selection, 1, origin, &trial, err);
    qk_selection_free(selection);
    return code;
}

/* Where no layer is full, those with windows stand for them. */
static unsigned kinds_of(const struct qk_search *search, const struct usual *usual)
{
    for (int i = 0; i < search->parts->n_used; i++)
        if (search->pair->layer[search->parts->layer[i]].kind == QK_FULL)
            return usual->kinds;
    return usual->kinds == FULL ? SOFTMAX : usual->kinds;
}

/* Asks the layers of kinds with a choice. A layer's refusal of it (its weights have scales, say) is no failure. */
static enum qk_code ask_kinds(struct qk_search *search, const struct usual *usual, struct qk_choice choice,
    const char *origin, struct qk_error *err)
{
    struct qk_selection selection;
    QK_TRY(qk_selection_init(&selection, search->pair->n_layers, err));
    enum qk_code code =
        qk_search_set_kinds(search, &selection, kinds_of(search, usual), usual->roles, choice, err);
    if (code == QK_OK)
        return ask(search, &selection, origin, err);
    qk_selection_free(&selection);
    return code;
}

/* Asks the heads first .. end of the hints, or their whole layers, with a choice. */
static enum qk_code ask_heads(struct qk_search *search, const struct usual *usual, struct qk_choice choice,
    size_t first, size_t end, struct qk_error *err)
{
    static const char *const ORIGIN[] = {
        [HEADS] = "recall heads", [HEAD_LAYERS] = "recall layer", [HEAD_BLENDS] = "blend"};
    const struct qk_search_hints *hints = &search->parts->hints;
    bool whole = usual->what == HEAD_LAYERS;
    struct qk_selection selection;
    QK_TRY(qk_selection_init(&selection, search->pair->n_layers, err));
    enum qk_code code = QK_OK;
    for (size_t i = first; i < end && code == QK_OK; i++) {
        const struct qk_search_head *head = &hints->head[i];
        const struct qk_search_move move = {head->layer, usual->roles, whole ? NULL : head, 0};
        code = qk_search_set(search, &selection, &move, choice, err);
    }
    if (code == QK_OK)
        return ask(search, &selection, ORIGIN[usual->what], err);
    qk_selection_free(&selection);
    return code;
}

static enum qk_code ask_head_layers(
    struct qk_search *search, const struct usual *usual, double share, struct qk_error *err)
{
    const struct qk_search_hints *hints = &search->parts->hints;
    for (size_t i = 0; i < hints->n_heads && qk_search_within(search, share); i++)
        QK_TRY(ask_heads(
            search, usual, RESTORE, i, i + 1, err)); /* a layer that comes again is the same trial */
    return QK_OK;
}

static enum qk_code ask_blends(
    struct qk_search *search, const struct usual *usual, double share, struct qk_error *err)
{
    for (int mode = 0; mode < QK_MODE_COUNT; mode++) {
        const struct qk_mode_info *info = qk_mode_info((enum qk_mode)mode);
        for (int i = 0; i < info->n_trials; i++) {
            const struct qk_choice choice = {(enum qk_mode)mode, info->trial[i].param};
            struct qk_error why = {0};
            if (info->trial[i].round != usual->round || !qk_search_within(search, share))
                continue;
            enum qk_code code = usual->what == BLENDS
                                    ? ask_kinds(search, usual, choice, "blend", &why)
                                    : ask_heads(search, usual, choice, 0, search->parts->hints.n_heads, &why);
            if (code != QK_OK && code != QK_USAGE && code != QK_INPUT)
                return qk_fail(err, code, "%s", why.text);
        }
    }
    return QK_OK;
}

static enum qk_code ask_row(
    struct qk_search *search, const struct usual *usual, double share, struct qk_error *err)
{
    size_t n_heads = search->parts->hints.n_heads;
    switch (usual->what) {
    case KINDS:
        return ask_kinds(search, usual, RESTORE, "kind", err);
    case HEADS:
        return ask_heads(search, usual, RESTORE, 0, n_heads, err);
    case HEAD_LAYERS:
        return ask_head_layers(search, usual, share, err);
    default:
        return ask_blends(search, usual, share, err);
    }
}

enum qk_code qk_search_usual(struct qk_search *search, double share, struct qk_error *err)
{
    for (size_t i = 0; i < sizeof USUAL / sizeof USUAL[0]; i++)
        if (i == 0 || qk_search_within(search, share))
            QK_TRY(ask_row(search, &USUAL[i], share, err));
    return QK_OK;
}
