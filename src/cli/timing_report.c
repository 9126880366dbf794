/* timing_report.c - the time of a pass by part. */
#include "cli/timing_report.h"

#include "cli/print.h"

#include "base/parallel.h"

void qk_timing_report_take(struct qk_timing_report *report, const struct qk_timing *timing, double wall)
{
    *report = (struct qk_timing_report){.wall = wall, .workers = qk_parallel_workers(SIZE_MAX)};
    qk_timing_seconds(timing, wall, report->seconds);
}

void qk_timing_report_print(const struct qk_timing_report *report)
{
    double all = 0;
    for (int i = 0; i < QK_TIMES; i++)
        all += report->seconds[i];
    qk_print("\ntime of the pass: %.2f s, and %.2f s of %zu processor%s\n", report->wall, all,
        report->workers, report->workers == 1 ? "" : "s");
    qk_print("%-12s%9s%8s\n", "part", "seconds", "share");
    for (int i = 0; i < QK_TIMES; i++)
        qk_print("%-12s%9.2f%6.0f %%  %s\n", qk_time_name((enum qk_time)i), report->seconds[i],
            all > 0 ? 100 * report->seconds[i] / all : 0, qk_time_meaning((enum qk_time)i));
}

void qk_timing_report_json(cJSON *root, const struct qk_timing_report *report)
{
    cJSON *timing = cJSON_AddObjectToObject(root, "timing");
    cJSON_AddNumberToObject(timing, "wall", report->wall);
    cJSON_AddNumberToObject(timing, "workers", (double)report->workers);
    cJSON *parts = cJSON_AddObjectToObject(timing, "parts");
    for (int i = 0; i < QK_TIMES; i++)
        cJSON_AddNumberToObject(parts, qk_time_name((enum qk_time)i), report->seconds[i]);
}
