/* range_report.h - attention ranges of a pair as a table for people, as CSV and as JSON, from the same numbers. */
#ifndef QK_CLI_RANGE_REPORT_H
#define QK_CLI_RANGE_REPORT_H

#include "cli/timing_report.h"

#include "range/probe.h"
#include "range/profile.h"

struct qk_range_report {
    const struct qk_pair *pair;
    const struct qk_probe *probe; /* NULL: `profile` */
    /* Estimates of pre and post, n_layers each; n_heads 0 without one. */
    const struct qk_profile *profile[QK_SIDE_COUNT];
    const struct qk_layer_range *current; /* n_layers, or NULL */
    bool exact;                           /* current is the whole model run again */
    const char *text;                     /* the probe, in a few words */
    const int *layer;                     /* the n layers to print */
    int n;
    bool heads, ascii;
    const struct qk_timing_report *timing; /* NULL: nobody asked */
};

/* Prints a line about the probe, two lines of headings, and a row for each layer, with `heads` also for each head.
 * The restored model has its shift alone, beside the layer's. Histograms stand at the end of a row, eighths of the
 * row's largest bin, where the width allows it. The time of the pass follows. */
void qk_range_table(const struct qk_range_report *report);
/* Prints one row for each layer (or head) and model, with a column for each bin. */
void qk_range_csv(const struct qk_range_report *report);
enum qk_code qk_range_json(const struct qk_range_report *report, struct qk_error *err);

#endif
