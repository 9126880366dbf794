/* report.h - the drift of a pair as a table for people (report_table.c), as CSV and as JSON (report_data.c). */
#ifndef QK_CLI_REPORT_H
#define QK_CLI_REPORT_H

#include "blend/selection.h"
#include "drift/drift.h"

#include <cjson/cJSON.h>

struct qk_report {
    const struct qk_pair *pair;
    const struct qk_layer_drift *drift; /* one a layer of the pair */
    const int *order;                   /* the n layers to print, in this order */
    int n;
    bool heads;                           /* one row a head as well */
    bool ascii;                           /* no character above 0x7f */
    const struct qk_selection *selection; /* NULL, or a column with each layer's choices */
};

/* Prints columns for layer and kind, for q and k the relative drift, cosine, norm ratio and mean angle, and for
 * routing. A bar of routing follows where the width allows, and then the choice. Unknown numbers are "-". */
void qk_report_table(const struct qk_report *report);

/* RFC 4180 with a heading row: one row a layer, or with `heads` one row a head. Unknown numbers are empty. */
void qk_report_csv(const struct qk_report *report);

/* Prints the object of `qkscope diff --json` (manual), always with every head. Unknown numbers are null. */
enum qk_code qk_report_json(const struct qk_report *report, struct qk_error *err);

/* Adds "pre" or "post": its path and its model type. */
void qk_report_json_side(cJSON *root, const struct qk_pair *pair, enum qk_side side);

#endif
