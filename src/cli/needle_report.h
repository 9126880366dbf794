/* needle_report.h - needle masses of heads as a table for people, as CSV and as JSON, from the same numbers. */
#ifndef QK_CLI_NEEDLE_REPORT_H
#define QK_CLI_NEEDLE_REPORT_H

#include "drift/drift.h"
#include "eval/needle_prompt.h"
#include "eval/needle_rank.h"

#include <cjson/cJSON.h>

/* All borrowed. */
struct qk_needle_report {
    const struct qk_pair *pair;
    const struct qk_needle_prompts *prompts;
    const struct qk_needle_pair *measured;
    const struct qk_layer_drift *drift; /* n_layers; of the layers that have heads here */
    const char *source;                 /* of the prompts, for people */
    const struct qk_needle_head *head;  /* n, in the order of the report */
    size_t n;
    size_t rows; /* of the table; CSV and JSON have all */
    bool ascii;
};

void qk_needle_table(const struct qk_needle_report *report);
void qk_needle_csv(const struct qk_needle_report *report);
/* QK_IO when memory ran out. */
enum qk_code qk_needle_json(const struct qk_needle_report *report, struct qk_error *err);

/* Parts of the JSON of needle masses. The root with the sides, and with the prompts and their source (for people). */
cJSON *qk_needle_json_root(
    const struct qk_pair *pair, const char *source, const struct qk_needle_prompts *prompts);
void qk_needle_json_mean(cJSON *object, const char *key, struct qk_needle_mean mean);

#endif
