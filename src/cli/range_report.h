/* range_report.h - attention ranges of a pair as a table for people, as CSV and as JSON, from the same numbers. */
#ifndef QK_CLI_RANGE_REPORT_H
#define QK_CLI_RANGE_REPORT_H

#include "range/probe.h"
#include "range/profile.h"

struct qk_range_report {
    const struct qk_pair *pair;
    const struct qk_probe *probe; /* NULL: `profile` */
    /* Estimates of pre and post, n_layers each; n_heads 0 where there is none. */
    const struct qk_profile *profile[QK_SIDE_COUNT];
    const struct qk_layer_range *current; /* n_layers, or NULL */
    bool exact;                           /* current is the whole model run again */
    const char *text;                     /* what the probe is, in a few words */
    const int *layer;                     /* the n layers to print */
    int n;
    bool heads, ascii;
};

/* Two lines of headings behind a line about the probe; a row a layer, with `heads` one a head as well. Of the
 * restored model there is its shift alone, beside the layer's.
 * Histograms stand at the end of a row, eighths of the row's largest bin, where the width allows it. */
void qk_range_table(const struct qk_range_report *report);
/* One row a layer (or head) and model, with a column a bin. */
void qk_range_csv(const struct qk_range_report *report);
enum qk_code qk_range_json(const struct qk_range_report *report, struct qk_error *err);

#endif
