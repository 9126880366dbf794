/* trajectory_report.h - a trajectory as a table for people, as CSV and as JSON. */
#ifndef QK_CLI_TRAJECTORY_REPORT_H
#define QK_CLI_TRAJECTORY_REPORT_H

#include "cli/trajectory.h"

struct qk_track_report {
    const struct qk_track *track;
    int metric, role;  /* of the table; role -1: layers as wholes */
    double part;       /* of the way to the last value, whose step is named */
    bool heads, ascii; /* rows for heads in the table; no character above 0x7f */
};

/* Prints a table for each run: a row for each layer, a column for each checkpoint, the first step at which a row has
 * gone the part of its way, and a line of blocks. Columns that the width does not hold follow below. */
void qk_track_table(const struct qk_track_report *report);
/* Prints a row for each checkpoint and row, with all numbers. */
void qk_track_csv(const struct qk_track_report *report);
enum qk_code qk_track_json(const struct qk_track_report *report, struct qk_error *err);

#endif
