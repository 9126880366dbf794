/* timing_report.h - the time of a pass by part, as a table and as JSON. */
#ifndef QK_CLI_TIMING_REPORT_H
#define QK_CLI_TIMING_REPORT_H

#include "base/timing.h"

#include <cjson/cJSON.h>
#include <stddef.h>

struct qk_timing_report {
    double wall, seconds[QK_TIMES]; /* of the wall clock; of each part, summed over the workers */
    size_t workers;
};

/* Takes the numbers when the pass is over. */
void qk_timing_report_take(struct qk_timing_report *report, const struct qk_timing *timing, double wall);
/* Prints a line of the whole and a row for each part: seconds, share of all parts, what belongs to it. */
void qk_timing_report_print(const struct qk_timing_report *report);
/* root.timing = {wall, workers, parts: {NAME: seconds}}. */
void qk_timing_report_json(cJSON *root, const struct qk_timing_report *report);

#endif
