/* spec.c - the parser of the --set grammar, by recursive descent over one line. */
#include "blend/spec.h"

#include "base/guess.h"
#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <math.h>
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
    int n = (int)strcspn(at, "=:/,<> \t");
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

/* Takes a number. Unless `percent` is NULL, the number may end in a per cent sign, which sets it. */
static enum qk_code take_number(struct cursor *c, const char *what, double *out, bool *percent)
{
    char word[WORD_TEXT], *end;
    skip_blanks(c);
    const char *start = c->p;
    /* Only the characters of a decimal number: no "nan", "inf" or hexadecimal, which strtod would take. */
    take_word(c, DIGITS "+-.eE", word);
    *out = strtod(word, &end);
    if (percent != NULL && word[0] != '\0' && *c->p == '%') {
        *percent = true;
        c->p++;
    }
    bool delimited = *c->p == '\0' || strchr("=:/ \t", *c->p) != NULL;
    if (word[0] == '\0' || *end != '\0' || !delimited)
        return fail_at(c, start, what, "a number such as 0.3");
    if (*out > 1e300 || *out < -1e300) /* strtod's overflow among them */
        return fail_at(c, start, what, "a number of ordinary size");
    return QK_OK;
}

/* What a whole number stands for, in messages. */
struct counted {
    const char *too_large, *expected_small, *missing, *expected;
};
static const struct counted LAYER = {
    "layer number too large", "a layer of the model", "layer number missing", "a list such as 3,5-8"};
static const struct counted HEAD = {
    "head number too large", "a head of the layer", "head number missing", "heads such as q0-1,k0 or g1"};

static enum qk_code take_count(struct cursor *c, const struct counted *what, int *out)
{
    skip_blanks(c);
    const char *start = c->p;
    long value = 0;
    for (; isdigit((unsigned char)*c->p); c->p++) {
        value = 10 * value + (*c->p - '0');
        if (value > INT_MAX / 2)
            return fail_at(c, start, what->too_large, what->expected_small);
    }
    if (c->p == start)
        return fail_at(c, start, what->missing, what->expected);
    *out = (int)value;
    return QK_OK;
}

/* N or N-M. */
static enum qk_code take_span(struct cursor *c, const struct counted *what, int *first, int *last)
{
    skip_blanks(c);
    const char *start = c->p;
    QK_TRY(take_count(c, what, first));
    *last = *first;
    if (take(c, '-'))
        QK_TRY(take_count(c, what, last));
    if (*last < *first)
        return fail_at(c, start, "range runs backwards",
            what == &LAYER ? "the smaller layer first" : "the smaller head first");
    return QK_OK;
}

static enum qk_code parse_list(struct cursor *c, struct qk_spec *spec)
{
    size_t capacity = 0;
    spec->selector = QK_SELECT_LIST;
    do {
        int low, high;
        QK_TRY(take_span(c, &LAYER, &low, &high));
        QK_TRY(qk_grow(&spec->range, &capacity, spec->n_ranges + 1, sizeof *spec->range, c->err));
        spec->range[spec->n_ranges][0] = low;
        spec->range[spec->n_ranges][1] = high;
        spec->n_ranges++;
    } while (take(c, ','));
    return QK_OK;
}

const char *qk_head_metric_name(enum qk_head_metric metric)
{
    static const char *const NAMES[QK_HEAD_METRICS] = {[QK_HEAD_NEEDLE] = "needle", [QK_HEAD_DROP] = "drop"};
    return NAMES[metric];
}

bool qk_head_metric_parse(const char *name, enum qk_head_metric *out)
{
    for (int i = 0; i < QK_HEAD_METRICS; i++)
        if (strcmp(name, qk_head_metric_name((enum qk_head_metric)i)) == 0) {
            *out = (enum qk_head_metric)i;
            return true;
        }
    return false;
}

double qk_head_numbers_largest(const struct qk_head_numbers *numbers, enum qk_head_metric metric)
{
    double largest = NAN;
    for (int h = 0; h < numbers->n_heads; h++)
        largest = fmax(largest, numbers->value[metric][h]); /* of a number and a NaN it gives the number */
    return largest;
}

static enum qk_code unknown_metric(const struct cursor *c, const char *start, const char *key)
{
    char what[64] = "unknown metric";
    struct qk_guess guess = qk_guess_begin(key, strlen(key));
    for (int m = 0; m < QK_METRIC_COUNT; m++)
        qk_guess_consider(&guess, qk_metric_info((enum qk_metric)m)->key);
    for (int m = 0; m < QK_HEAD_METRICS; m++)
        qk_guess_consider(&guess, qk_head_metric_name((enum qk_head_metric)m));
    if (guess.best != NULL)
        snprintf(what, sizeof what, "unknown metric: did you mean %s?", guess.best);
    return fail_at(c, start, what, "routing, rel_fro, cosine, norm_ratio, angle, angle_max, needle or drop");
}

/* Parses the left side of the comparison: [q.|k.]METRIC. */
static enum qk_code parse_metric(
    const struct cursor *c, const char *start, const char *word, struct qk_spec *spec)
{
    const char *key = qk_metric_role(word, &spec->metric_role);
    spec->selector = QK_SELECT_HEADS;
    if (qk_head_metric_parse(word, &spec->head_metric))
        return QK_OK;
    spec->selector = QK_SELECT_TEST;
    static_assert(QK_METRIC_COUNT == 6, "the list of metrics below is complete");
    if (!qk_metric_parse(key, &spec->metric))
        return unknown_metric(c, start, key);
    if (spec->metric == QK_METRIC_ROUTING && spec->metric_role >= 0)
        return fail_at(c, start, "routing is a number of the whole layer", "routing without q. or k.");
    return QK_OK;
}

static enum qk_code parse_test(struct cursor *c, const char *start, const char *word, struct qk_spec *spec)
{
    QK_TRY(parse_metric(c, start, word, spec));
    bool greater = *c->p == '>';
    c->p++;
    bool equal = *c->p == '=';
    if (equal)
        c->p++;
    spec->compare = greater ? (equal ? QK_GREATER_EQUAL : QK_GREATER) : (equal ? QK_LESS_EQUAL : QK_LESS);
    skip_blanks(c);
    const char *number = c->p;
    bool percent = false, degrees = spec->selector == QK_SELECT_TEST && qk_metric_info(spec->metric)->degrees;
    QK_TRY(take_number(c, "bound of the test", &spec->bound, &percent));
    if (percent && degrees)
        return fail_at(c, number, "per cent of an angle", "degrees without a sign");
    if (percent)
        spec->bound /= 100;
    return QK_OK;
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
    if (qk_kind_parse(word, &spec->kind) && spec->kind != QK_NONE)
        return QK_OK;
    char what[64];
    struct qk_guess guess = qk_guess_begin(word, strlen(word));
    for (int k = 0; k < QK_NONE; k++)
        qk_guess_consider(&guess, qk_kind_name((enum qk_kind)k));
    snprintf(what, sizeof what, start == c->p ? "no layers named" : "unknown layers");
    if (start != c->p && guess.best != NULL)
        snprintf(what, sizeof what, "unknown layers: did you mean %s?", guess.best);
    return fail_at(c, start, what, EXPECTED);
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

/* Parses q, k or g. */
static enum qk_code parse_head_kind(struct cursor *c, const char *expected, enum qk_head_kind *of)
{
    skip_blanks(c);
    for (int kind = 0; kind < QK_HEAD_KIND_COUNT; kind++)
        if (*c->p == qk_head_letter((enum qk_head_kind)kind)) {
            c->p++;
            *of = (enum qk_head_kind)kind;
            return QK_OK;
        }
    return fail_at(c, c->p, "unknown heads", expected);
}

/* Parses what follows the slash. A test of heads has found their numbers. */
static enum qk_code parse_heads(struct cursor *c, struct qk_spec *spec)
{
    size_t capacity = 0;
    if (spec->selector == QK_SELECT_HEADS)
        return parse_head_kind(c, "q, k or g: these heads, their key heads or their groups", &spec->heads_of);
    do {
        struct qk_head_run run;
        QK_TRY(parse_head_kind(c, HEAD.expected, &run.of));
        QK_TRY(take_span(c, &HEAD, &run.first, &run.last));
        QK_TRY(qk_grow(&spec->run, &capacity, spec->n_runs + 1, sizeof *spec->run, c->err));
        spec->run[spec->n_runs++] = run;
    } while (take(c, ','));
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
    if (!take(c, ':')) {
        char expected[64];
        snprintf(expected, sizeof expected, "a colon and a number, as in %s:0.3", info->name);
        return fail_at(c, place, "parameter missing", expected);
    }
    skip_blanks(c);
    place = c->p;
    QK_TRY(take_number(c, "parameter", &spec->choice.param, NULL));
    if (qk_choice_check(spec->choice, NULL) != QK_OK)
        return fail_at(c, place, "parameter out of range",
            info->high <= 1 ? "a number from 0 to 1" : "a finite number >= 0");
    return QK_OK;
}

static enum qk_code parse_whole(struct cursor *c, struct qk_spec *spec)
{
    QK_TRY(parse_selector(c, spec));
    skip_blanks(c);
    const char *place = c->p;
    if (take(c, '/'))
        QK_TRY(parse_heads(c, spec));
    else if (take(c, ':'))
        QK_TRY(spec->selector != QK_SELECT_HEADS
                   ? parse_role(c, spec)
                   : fail_at(c, place, "a test of heads takes no role", "/q, /k, /g or =MODE"));
    skip_blanks(c);
    place = c->p;
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
    free(spec->run);
    spec->range = NULL;
    spec->run = NULL;
    spec->n_ranges = spec->n_runs = 0;
}

const char *qk_spec_doubt(const struct qk_spec *spec)
{
    enum { LARGEST = 3 }; /* no drift of a checkpoint that was fine-tuned is that large */
    bool share = spec->selector == QK_SELECT_HEADS ||
                 (spec->selector == QK_SELECT_TEST && qk_metric_info(spec->metric)->percent);
    return share && spec->bound >= LARGEST ? "the bound is a share: 14 % is 0.14 or 14%" : NULL;
}
