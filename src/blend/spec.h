/* spec.h - the --set grammar: SELECTOR[:ROLE]=MODE[:PARAM].
 *
 *   SELECTOR  all | full | window | linear | LIST of 3,5-8 | TEST such as routing>0.15 or k.cosine<0.99
 *   ROLE      q | k | qk (default qk)
 *   TEST      [q.|k.]METRIC OP NUMBER, OP one of > >= < <=; METRIC a key of drift.h's table; a layer whose
 *             number is unknown never matches
 * `all`, kinds and tests skip layers without q and k; a LIST that names one is an error. */
#ifndef QK_BLEND_SPEC_H
#define QK_BLEND_SPEC_H

#include "blend/selection.h"
#include "drift/drift.h"

enum qk_selector { QK_SELECT_ALL, QK_SELECT_KIND, QK_SELECT_LIST, QK_SELECT_TEST };
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
    int role; /* -1 both, QK_Q, QK_K */
    struct qk_choice choice;
};

/* Parses a whole text. QK_USAGE with the place of the fault and what is accepted. Freed with qk_spec_free. */
enum qk_code qk_spec_parse(const char *text, struct qk_spec *spec, struct qk_error *err);
void qk_spec_free(struct qk_spec *spec);
/* Parses the SELECTOR alone (the screen's "select by" prompt); role is -1, choice keep. */
enum qk_code qk_spec_parse_selector(const char *text, struct qk_spec *spec, struct qk_error *err);
/* drift may be NULL unless selector is QK_SELECT_TEST; else n_layers entries. */
bool qk_spec_matches(
    const struct qk_spec *spec, const struct qk_pair *pair, const struct qk_layer_drift *drift, int layer);
/* Applies the choice to every matching layer; *n_matched (may be NULL) counts them. QK_USAGE when a LIST names a
 * layer that does not exist or has no q and k. A failure changes nothing. */
enum qk_code qk_spec_apply(const struct qk_spec *spec, const struct qk_pair *pair,
    const struct qk_layer_drift *drift, struct qk_selection *selection, int *n_matched, struct qk_error *err);

/* *out = the selection as --set texts with a space between them, "full=restore 0-3:q=lerp:0.5"; "keep"
 * when nothing is chosen. Parsed and applied to a pair's empty selection they give the selection
 * again. The caller frees. */
enum qk_code qk_spec_text(
    const struct qk_selection *selection, const struct qk_pair *pair, char **out, struct qk_error *err);

#endif
