/* spec.h - the --set grammar (spec.c, spec_apply.c, spec_text.c).
 *
 *   SELECTOR[:ROLE]=MODE[:PARAM] for layers, SELECTOR/HEADS=MODE[:PARAM] for heads of them
 *   SELECTOR  all | full | window | linear | LIST of 3,5-8 | TEST such as routing>0.15 or k.cosine<0.99
 *   ROLE      q | k | qk (default qk)
 *   TEST      [q.|k.]METRIC OP NUMBER, OP one of > >= < <=; METRIC a key of drift.h's table; a layer whose
 *             number is unknown never matches
 *   HEADS     a list of q, k or g with N or N-M, as in q0-1,k0 or g1: query heads, key heads, and key groups, which
 *             are a key head with its query heads
 * `all`, kinds and tests skip layers without q and k, and heads that a layer does not have; a LIST that names one is an
 * error. The metrics needle (pre's needle mass) and drop (pre's less post's) test query heads: HEADS is then q (the
 * default), k or g without numbers: these heads, their key heads, or their groups. */
#ifndef QK_BLEND_SPEC_H
#define QK_BLEND_SPEC_H

#include "blend/selection.h"
#include "drift/drift.h"

enum qk_selector { QK_SELECT_ALL, QK_SELECT_KIND, QK_SELECT_LIST, QK_SELECT_TEST, QK_SELECT_HEADS };
enum qk_head_metric { QK_HEAD_NEEDLE, QK_HEAD_DROP, QK_HEAD_METRICS };
enum qk_compare { QK_GREATER, QK_GREATER_EQUAL, QK_LESS, QK_LESS_EQUAL };

struct qk_spec {
    enum qk_selector selector;
    enum qk_kind kind;
    int (*range)[2]; /* inclusive, n_ranges; owned */
    size_t n_ranges;
    enum qk_metric metric;
    int metric_role; /* -1, QK_Q, QK_K */
    enum qk_compare compare;
    double bound;
    enum qk_head_metric head_metric; /* QK_SELECT_HEADS */
    enum qk_head_kind heads_of;      /* QK_SELECT_HEADS: what the tested heads stand for */
    struct qk_head_run *run;         /* the HEADS; n_runs, owned; none: all heads of `role` */
    size_t n_runs;
    int role; /* -1 both, QK_Q, QK_K */
    struct qk_choice choice;
};

/* The numbers of a layer's query heads; NULL where they are not known. */
struct qk_head_numbers {
    int n_heads;
    const double *value[QK_HEAD_METRICS]; /* n_heads each */
};
/* What tests compare: n_layers entries each, or NULL. */
struct qk_spec_numbers {
    const struct qk_layer_drift *drift;  /* needed by QK_SELECT_TEST */
    const struct qk_head_numbers *heads; /* needed by QK_SELECT_HEADS */
};

/* "needle", "drop". */
const char *qk_head_metric_name(enum qk_head_metric metric);
/* False when no metric of heads has the name. */
bool qk_head_metric_parse(const char *name, enum qk_head_metric *out);
/* The largest number of a layer's heads; NaN where none is known. */
double qk_head_numbers_largest(const struct qk_head_numbers *numbers, enum qk_head_metric metric);

/* Parses a whole text. QK_USAGE with the place of the fault and what is accepted. Freed with qk_spec_free. */
enum qk_code qk_spec_parse(const char *text, struct qk_spec *spec, struct qk_error *err);
void qk_spec_free(struct qk_spec *spec);
/* Parses the SELECTOR alone (the screen's "select by" prompt); role is -1, choice keep. */
enum qk_code qk_spec_parse_selector(const char *text, struct qk_spec *spec, struct qk_error *err);
/* Why a test may not mean what it says (static), or NULL: a share of 14, where 14 % is 0.14 or 14%. */
const char *qk_spec_doubt(const struct qk_spec *spec);
/* numbers may be NULL unless the selector is a test. A test of heads matches a layer in which one passes. */
bool qk_spec_matches(
    const struct qk_spec *spec, const struct qk_pair *pair, const struct qk_spec_numbers *numbers, int layer);
/* Applies the choice to every matching layer; *n_matched (may be NULL) counts them. QK_USAGE when a LIST names a
 * layer that does not exist or has no q and k, or a head that a layer of it does not have, and when a test of heads
 * has no numbers. A failure changes nothing. */
enum qk_code qk_spec_apply(const struct qk_spec *spec, const struct qk_pair *pair,
    const struct qk_spec_numbers *numbers, struct qk_selection *selection, int *n_matched,
    struct qk_error *err);

/* *out = the selection as --set texts with a space between them, "full=restore 0-3:q=lerp:0.5 7/q0-1=restore";
 * "keep" when nothing is chosen. Parsed and applied to a pair's empty selection they give the selection
 * again. The caller frees. */
enum qk_code qk_spec_text(
    const struct qk_selection *selection, const struct qk_pair *pair, char **out, struct qk_error *err);

#endif
