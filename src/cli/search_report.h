/* search_report.h - the results of a search, as tables for people and as JSON, from the same numbers. */
#ifndef QK_CLI_SEARCH_REPORT_H
#define QK_CLI_SEARCH_REPORT_H

#include "eval/cases.h"
#include "eval/search.h"

struct qk_search_report {
    const struct qk_search *search;
    const struct qk_cases *cases;
    const char *const *objective;  /* their names */
    const struct qk_trial **point; /* n_front on the front, then those near it; n_points in all */
    size_t n_front, n_points;
    char *const *recipe; /* of each point, or NULL without recipes */
    bool ascii;
};

/* Effects of the layers in points (hundredths) with 95 % intervals, then the front and what is near it with
 * every task's figures. */
enum qk_code qk_search_table(const struct qk_search_report *report, struct qk_error *err);
enum qk_code qk_search_json(const struct qk_search_report *report, struct qk_error *err);

#endif
