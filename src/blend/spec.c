/* spec.c - the parser of the --set grammar, by recursive descent over one line. */
#include "blend/spec.h"

#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_TEXT = 64 };

struct cursor {
    const char *text; /* the whole line, for messages */
    const char *p;
    struct qk_error *err;
};

static void skip_blanks(struct cursor *c)
{
    while (*c->p == ' ' || *c->p == '\t')
        c->p++;
}

/* Every message gives the place, what was found there and what was expected. */
static enum qk_code fail_at(const struct cursor *c, const char *at, const char *what, const char *expected)
{
    enum { SHOWN = 120 }; /* limit for each, so that the reason fits into the message */
    int n = (int)strcspn(at, "=:,<> \t");
    if (n == 0 && *at != '\0')
        n = 1;
    const char *more = strlen(c->text) > SHOWN ? "..." : "";
    size_t place = (size_t)(at - c->text) + 1;
    if (*at == '\0')
        return qk_fail(c->err, QK_USAGE, "'%.*s%s': character %zu: %s (found the end, expected %s)", SHOWN,
            c->text, more, place, what, expected);
    return qk_fail(c->err, QK_USAGE, "'%.*s%s': character %zu: %s (found '%.*s', expected %s)", SHOWN,
        c->text, more, place, what, n < SHOWN ? n : SHOWN, at, expected);
}

static bool take(struct cursor *c, char wanted)
{
    skip_blanks(c);
    if (*c->p != wanted)
        return false;
    c->p++;
    return true;
}

/* Reads a run of the given characters; an empty word when it is longer than any word of the grammar. */
static void take_word(struct cursor *c, const char *characters, char out[WORD_TEXT])
{
    skip_blanks(c);
    size_t n = strspn(c->p, characters);
    out[0] = '\0';
    if (n < WORD_TEXT) {
        memcpy(out, c->p, n);
        out[n] = '\0';
    }
    c->p += n;
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static enum qk_code take_number(struct cursor *c, const char *what, double *out)
{
    char word[WORD_TEXT], *end;
    skip_blanks(c);
    const char *start = c->p;
    /* Only the characters of a decimal number: no "nan", "inf" or hexadecimal, which strtod would take. */
    take_word(c, DIGITS "+-.eE", word);
    *out = strtod(word, &end);
    bool delimited = *c->p == '\0' || strchr("=: \t", *c->p) != NULL;
    if (word[0] == '\0' || *end != '\0' || !delimited)
        return fail_at(c, start, what, "a number such as 0.3");
    if (*out > 1e300 || *out < -1e300) /* strtod's overflow among them */
        return fail_at(c, start, what, "a number of ordinary size");
    return QK_OK;
}

static enum qk_code take_layer(struct cursor *c, int *out)
{
    skip_blanks(c);
    const char *start = c->p;
    long value = 0;
    for (; isdigit((unsigned char)*c->p); c->p++) {
        value = 10 * value + (*c->p - '0');
        if (value > INT_MAX / 2)
            return fail_at(c, start, "layer number too large", "a layer of the model");
    }
    if (c->p == start)
        return fail_at(c, start, "layer number missing", "a list such as 3,5-8");
    *out = (int)value;
    return QK_OK;
}

static enum qk_code parse_list(struct cursor *c, struct qk_spec *spec)
{
    size_t capacity = 0;
    spec->selector = QK_SELECT_LIST;
    do {
        skip_blanks(c);
        const char *start = c->p;
        int low, high;
        QK_TRY(take_layer(c, &low));
        high = low;
        if (take(c, '-'))
            QK_TRY(take_layer(c, &high));
        if (high < low)
            return fail_at(c, start, "range runs backwards", "the smaller layer first");
        QK_TRY(qk_grow(&spec->range, &capacity, spec->n_ranges + 1, sizeof *spec->range, c->err));
        spec->range[spec->n_ranges][0] = low;
        spec->range[spec->n_ranges][1] = high;
        spec->n_ranges++;
    } while (take(c, ','));
    return QK_OK;
}

/* Parses the left side of the comparison: [q.|k.]METRIC. */
static enum qk_code parse_metric(
    const struct cursor *c, const char *start, const char *word, struct qk_spec *spec)
{
    spec->metric_role = -1;
    const char *key = word;
    if (strncmp(word, "q.", 2) == 0 || strncmp(word, "k.", 2) == 0) {
        spec->metric_role = word[0] == 'q' ? QK_Q : QK_K;
        key = word + 2;
    }
    static_assert(QK_METRIC_COUNT == 6, "the list of metrics below is complete");
    if (!qk_metric_parse(key, &spec->metric))
        return fail_at(
            c, start, "unknown metric", "routing, rel_fro, cosine, norm_ratio, angle or angle_max");
    if (spec->metric == QK_METRIC_ROUTING && spec->metric_role >= 0)
        return fail_at(c, start, "routing is a number of the whole layer", "routing without q. or k.");
    return QK_OK;
}

static enum qk_code parse_test(struct cursor *c, const char *start, const char *word, struct qk_spec *spec)
{
    spec->selector = QK_SELECT_TEST;
    QK_TRY(parse_metric(c, start, word, spec));
    bool greater = *c->p == '>';
    c->p++;
    bool equal = *c->p == '=';
    if (equal)
        c->p++;
    spec->compare = greater ? (equal ? QK_GREATER_EQUAL : QK_GREATER) : (equal ? QK_LESS_EQUAL : QK_LESS);
    return take_number(c, "bound of the test", &spec->bound);
}

static enum qk_code parse_selector(struct cursor *c, struct qk_spec *spec)
{
    static const char EXPECTED[] =
        "all, full, window, linear, a list such as 3,5-8 or a test such as routing>0.15";
    skip_blanks(c);
    const char *start = c->p;
    if (isdigit((unsigned char)*c->p))
        return parse_list(c, spec);
    char word[WORD_TEXT];
    take_word(c, LETTERS DIGITS "._", word);
    skip_blanks(c);
    if (word[0] != '\0' && (*c->p == '>' || *c->p == '<'))
        return parse_test(c, start, word, spec);
    if (strcmp(word, "all") == 0) {
        spec->selector = QK_SELECT_ALL;
        return QK_OK;
    }
    spec->selector = QK_SELECT_KIND;
    if (!qk_kind_parse(word, &spec->kind) || spec->kind == QK_NONE)
        return fail_at(c, start, start == c->p ? "no layers named" : "unknown layers", EXPECTED);
    return QK_OK;
}

static enum qk_code parse_role(struct cursor *c, struct qk_spec *spec)
{
    char word[WORD_TEXT];
    skip_blanks(c);
    const char *start = c->p;
    take_word(c, LETTERS, word);
    if (strcmp(word, "q") == 0)
        spec->role = QK_Q;
    else if (strcmp(word, "k") == 0)
        spec->role = QK_K;
    else if (strcmp(word, "qk") == 0)
        spec->role = -1;
    else
        return fail_at(c, start, "unknown role", "q, k or qk");
    return QK_OK;
}

static enum qk_code parse_choice(struct cursor *c, struct qk_spec *spec)
{
    char word[WORD_TEXT], modes[QK_MODE_LIST];
    skip_blanks(c);
    const char *start = c->p;
    take_word(c, LETTERS "-", word);
    if (!qk_mode_parse(word, &spec->choice.mode))
        return fail_at(c, start, "unknown mode", qk_mode_list(modes, NULL, true));
    const struct qk_mode_info *info = qk_mode_info(spec->choice.mode);
    skip_blanks(c);
    if (info->both_roles && spec->role >= 0)
        return fail_at(c, start, "acts on q and k at once", "no role, or qk");
    if (!info->has_param)
        return *c->p == ':' ? fail_at(c, c->p, "this mode takes no parameter", "the end") : QK_OK;
    const char *place = c->p;
    if (!take(c, ':'))
        return fail_at(c, place, "parameter missing", "a colon and a number, as in lerp:0.5");
    skip_blanks(c);
    place = c->p;
    QK_TRY(take_number(c, "parameter", &spec->choice.param));
    if (qk_choice_check(spec->choice, NULL) != QK_OK)
        return fail_at(c, place, "parameter out of range",
            info->high <= 1 ? "a number from 0 to 1" : "a finite number >= 0");
    return QK_OK;
}

static enum qk_code parse_whole(struct cursor *c, struct qk_spec *spec)
{
    QK_TRY(parse_selector(c, spec));
    if (take(c, ':'))
        QK_TRY(parse_role(c, spec));
    skip_blanks(c);
    const char *place = c->p;
    if (!take(c, '='))
        return fail_at(c, place, "no choice given", "=MODE, as in full=restore");
    return parse_choice(c, spec);
}

static enum qk_code parse(const char *text, struct qk_spec *spec,
    enum qk_code (*part)(struct cursor *, struct qk_spec *), struct qk_error *err)
{
    *spec = (struct qk_spec){.metric_role = -1, .role = -1};
    struct cursor c = {.text = text, .p = text, .err = err};
    enum qk_code code = part(&c, spec);
    skip_blanks(&c);
    if (code == QK_OK && *c.p != '\0')
        code = fail_at(&c, c.p, "more than one selection", "the end");
    if (code != QK_OK)
        qk_spec_free(spec);
    return code;
}

enum qk_code qk_spec_parse(const char *text, struct qk_spec *spec, struct qk_error *err)
{
    return parse(text, spec, parse_whole, err);
}

enum qk_code qk_spec_parse_selector(const char *text, struct qk_spec *spec, struct qk_error *err)
{
    return parse(text, spec, parse_selector, err);
}

void qk_spec_free(struct qk_spec *spec)
{
    free(spec->range);
    spec->range = NULL;
    spec->n_ranges = 0;
}

static bool test_holds(const struct qk_spec *spec, const struct qk_layer_drift *drift)
{
    double value = qk_metric_layer(drift, spec->metric, spec->metric_role);
    switch (spec->compare) { /* an unknown number is NaN, and every comparison with NaN is false */
    case QK_GREATER:
        return value > spec->bound;
    case QK_GREATER_EQUAL:
        return value >= spec->bound;
    case QK_LESS:
        return value < spec->bound;
    default:
        return value <= spec->bound;
    }
}

bool qk_spec_matches(
    const struct qk_spec *spec, const struct qk_pair *pair, const struct qk_layer_drift *drift, int layer)
{
    if (spec->selector == QK_SELECT_LIST) {
        for (size_t i = 0; i < spec->n_ranges; i++)
            if (layer >= spec->range[i][0] && layer <= spec->range[i][1])
                return true;
        return false;
    }
    const struct qk_pair_layer *candidate = &pair->layer[layer];
    if (!candidate->has_qk || candidate->problem != NULL)
        return false;
    if (spec->selector == QK_SELECT_KIND)
        return candidate->kind == spec->kind;
    return spec->selector == QK_SELECT_ALL || test_holds(spec, &drift[layer]);
}

enum qk_code qk_spec_apply(const struct qk_spec *spec, const struct qk_pair *pair,
    const struct qk_layer_drift *drift, struct qk_selection *selection, int *n_matched, struct qk_error *err)
{
    for (size_t i = 0; i < spec->n_ranges; i++)
        if (spec->range[i][1] >= pair->n_layers)
            return qk_fail(err, QK_USAGE, "no such layer (found %d, expected 0 to %d)", spec->range[i][1],
                pair->n_layers - 1);
    struct qk_selection next;
    QK_TRY(qk_selection_copy(&next, selection, err));
    int matched = 0;
    enum qk_code code = QK_OK;
    for (int i = 0; i < pair->n_layers && code == QK_OK; i++) {
        if (!qk_spec_matches(spec, pair, drift, i))
            continue;
        if (spec->selector != QK_SELECT_LIST &&
            !qk_selection_takes(&pair->layer[i], spec->role, spec->choice))
            continue; /* it has q alone: "all" does not mean it */
        matched++;
        code = qk_selection_set(&next, pair, i, spec->role, spec->choice, err);
    }
    if (code != QK_OK) {
        qk_selection_free(&next);
        return code;
    }
    qk_selection_free(selection);
    *selection = next;
    if (n_matched != NULL)
        *n_matched = matched;
    return QK_OK;
}

/* --- as text --- */

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

enum qk_code qk_spec_text(
    const struct qk_selection *selection, const struct qk_pair *pair, char **out, struct qk_error *err)
{
    static const char *const ROLES[] = {[QK_Q] = ":q", [QK_K] = ":k"};
    struct qk_text text = {0};
    for (int i = 0; i < selection->n_layers; i++) {
        const struct qk_layer_choice *choice = &selection->choice[i];
        bool both = qk_choice_equal(choice->role[QK_Q], choice->role[QK_K]), written = false;
        for (int j = 0; j < i && !written; j++)
            written = same_choices(selection, i, j);
        for (int r = 0; r < (both ? 1 : QK_ROLE_COUNT) && !written; r++) {
            if (choice->role[r].mode == QK_KEEP)
                continue;
            if (text.length > 0)
                qk_text_add(&text, " ");
            add_selector(&text, selection, pair, i);
            add_choice(&text, both ? "" : ROLES[r], choice->role[r]);
        }
    }
    if (text.length == 0)
        qk_text_add(&text, "keep");
    return qk_text_take(&text, out, err);
}
