/* spec_text.c - a selection as --set texts. */
#include "blend/spec.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

static bool same_choices(const struct qk_selection *selection, int a, int b)
{
    return qk_layer_choice_equal(&selection->choice[a], &selection->choice[b]);
}

/* True when the layers with the choices of `like` are all layers that can be chosen (kind
 * QK_NONE), or all of a kind. */
static bool is_whole(
    const struct qk_selection *selection, const struct qk_pair *pair, int like, enum qk_kind kind)
{
    int n = 0;
    for (int i = 0; i < pair->n_layers; i++) {
        const struct qk_pair_layer *layer = &pair->layer[i];
        bool in = layer->has_qk && layer->problem == NULL && (kind == QK_NONE || layer->kind == kind);
        if (in != same_choices(selection, like, i))
            return false;
        n += in;
    }
    return n > 1;
}

static void add_selector(
    struct qk_text *text, const struct qk_selection *selection, const struct qk_pair *pair, int like)
{
    enum qk_kind kind = pair->layer[like].kind;
    if (is_whole(selection, pair, like, QK_NONE)) {
        qk_text_add(text, "all");
        return;
    }
    if (is_whole(selection, pair, like, kind)) {
        qk_text_add(text, "%s", qk_kind_name(kind));
        return;
    }
    const char *comma = "";
    for (int i = like, end; i < selection->n_layers; i = end) {
        for (end = i; end < selection->n_layers && same_choices(selection, like, end);)
            end++;
        if (end > i + 1)
            qk_text_add(text, "%s%d-%d", comma, i, end - 1);
        else if (end > i)
            qk_text_add(text, "%s%d", comma, i);
        comma = end > i ? "," : comma;
        end += end == i;
    }
}

static void add_choice(struct qk_text *text, const char *role, struct qk_choice choice)
{
    const struct qk_mode_info *info = qk_mode_info(choice.mode);
    char number[32];
    snprintf(number, sizeof number, "%.6g", choice.param);
    if (strtod(number, NULL) != choice.param)
        snprintf(number, sizeof number, "%.17g", choice.param);
    qk_text_add(
        text, "%s=%s%s%s", role, info->name, info->has_param ? ":" : "", info->has_param ? number : "");
}

/* Adds "SELECTOR" of a further word, which is for the layers with the choices of `like`. */
static void begin_word(
    struct qk_text *text, const struct qk_selection *selection, const struct qk_pair *pair, int like)
{
    if (text->length > 0)
        qk_text_add(text, " ");
    add_selector(text, selection, pair, like);
}

/* --- heads --- */

static bool has_choice(const struct qk_layer_choice *of, int role, int head, struct qk_choice choice)
{
    return qk_choice_equal(qk_layer_choice_of(of, (enum qk_role)role, head), choice);
}

/* Adds the heads with this choice, of the roles whose heads differ: "/q0-1,k0". */
static void add_heads(struct qk_text *text, const struct qk_layer_choice *of, struct qk_choice choice)
{
    char before = '/';
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        int n = qk_layer_choice_singles(of, (enum qk_role)r);
        for (int first = 0, end; first < n; first = end + 1) {
            for (end = first; end < n && has_choice(of, r, end, choice);)
                end++;
            if (end == first)
                continue;
            qk_text_add(text, "%c%s%d", before, qk_role_name((enum qk_role)r), first);
            if (end > first + 1)
                qk_text_add(text, "-%d", end - 1);
            before = ',';
        }
    }
}

/* Adds a word for every different choice of single heads. */
static void add_head_words(
    struct qk_text *text, const struct qk_selection *selection, const struct qk_pair *pair, int layer)
{
    const struct qk_layer_choice *of = &selection->choice[layer];
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (int h = 0; h < qk_layer_choice_singles(of, (enum qk_role)r); h++) {
            struct qk_choice choice = qk_layer_choice_of(of, (enum qk_role)r, h);
            if (choice.mode == QK_KEEP || qk_layer_choice_repeats(of, (enum qk_role)r, h))
                continue;
            begin_word(text, selection, pair, layer);
            add_heads(text, of, choice);
            add_choice(text, "", choice);
        }
}

/* --- */

/* Adds the words for the choices of one layer, and of the layers that are like it. */
static void add_words(
    struct qk_text *text, const struct qk_selection *selection, const struct qk_pair *pair, int layer)
{
    static const char *const ROLES[] = {[QK_Q] = ":q", [QK_K] = ":k"};
    const struct qk_layer_choice *choice = &selection->choice[layer];
    bool both = qk_layer_choice_alike(choice);
    for (int r = 0; r < (both ? 1 : QK_ROLE_COUNT); r++) {
        if (choice->role[r].mode == QK_KEEP)
            continue;
        begin_word(text, selection, pair, layer);
        add_choice(text, both ? "" : ROLES[r], choice->role[r]);
    }
    add_head_words(text, selection, pair, layer);
}

enum qk_code qk_spec_text(
    const struct qk_selection *selection, const struct qk_pair *pair, char **out, struct qk_error *err)
{
    struct qk_text text = {0};
    for (int i = 0; i < selection->n_layers; i++) {
        bool named = false;
        for (int j = 0; j < i && !named; j++)
            named = same_choices(selection, i, j);
        if (!named)
            add_words(&text, selection, pair, i);
    }
    if (text.length == 0)
        qk_text_add(&text, "keep");
    return qk_text_take(&text, out, err);
}
