/* trajectory_report.c - a trajectory as tables, as CSV and as JSON. */
#include "cli/trajectory_report.h"

#include "base/json.h"
#include "cli/print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The label of a checkpoint in a narrow column: its step, else the end of its name. */
static void print_label(const struct qk_track_point *point, int width)
{
    char text[64];
    if (point->step >= 0)
        snprintf(text, sizeof text, "%ld", point->step);
    else
        qk_printable(text, sizeof text, point->label);
    size_t n = strlen(text), room = (size_t)width - 1;
    qk_print("%*s", width, n > room ? text + n - room : text);
}

/* The table's number of a row among `value` (n_rows, QK_TRACK_METRICS). Row n_rows is the mean over the layers to
 * print that have one. */
static double number_in(const struct qk_track_report *report, const double *value, size_t row)
{
    const struct qk_track *track = report->track;
    double sum = 0;
    int n = 0;
    if (row < track->n_rows)
        return value[row * QK_TRACK_METRICS + (size_t)report->metric];
    for (size_t r = 0; r < track->n_rows; r++) {
        double one = value[r * QK_TRACK_METRICS + (size_t)report->metric];
        if (!report->track->wanted[track->row[r].layer] || track->row[r].role != report->role ||
            track->row[r].head >= 0 || !isfinite(one))
            continue;
        sum += one;
        n++;
    }
    return n > 0 ? sum / n : NAN;
}

static double value_of(const struct qk_track_report *report, size_t point, size_t row)
{
    return number_in(report, report->track->point[point].value, row);
}

static double pre_of(const struct qk_track_report *report, size_t row)
{
    return number_in(report, report->track->pre_value, row);
}

/* The first point of the run at which the row has gone the part of its way from pre to its last value; NULL where
 * there is no way to go. */
static const struct qk_track_point *passing(
    const struct qk_track_report *report, const struct qk_track_run *run, size_t row)
{
    double pre = pre_of(report, row), way = value_of(report, run->first + run->n - 1, row) - pre;
    if (!isfinite(way) || way == 0)
        return NULL;
    for (size_t i = run->first; i < run->first + run->n; i++)
        if ((value_of(report, i, row) - pre) / way >= report->part)
            return &report->track->point[i];
    return NULL;
}

/* --- the table --- */

enum { LABEL = 12, PASSES = 9, GAP = 2, CELL = 8 };

static bool in_table(const struct qk_track_report *report, size_t row)
{
    const struct qk_track_row *r = &report->track->row[row];
    if (!report->track->wanted[r->layer])
        return false;
    if (r->head < 0)
        return r->role == report->role;
    return report->heads && (report->role < 0 || r->role == report->role);
}

static void print_row_label(const struct qk_track_report *report, size_t row)
{
    const struct qk_track *track = report->track;
    char text[32];
    if (row == track->n_rows)
        snprintf(text, sizeof text, " all");
    else if (track->row[row].head >= 0)
        snprintf(text, sizeof text, "  head %s%d", qk_role_name((enum qk_role)track->row[row].role),
            track->row[row].head);
    else
        snprintf(text, sizeof text, "%4d %s", track->index[track->row[row].layer],
            qk_kind_name(track->kind[track->row[row].layer]));
    qk_print("%-*s", LABEL, text);
}

/* A block for each checkpoint, from nothing at pre's value to a full one at the farthest value of the row's run. */
static void print_blocks(const struct qk_track_report *report, const struct qk_track_run *run, size_t row)
{
    static const char *const eighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char ascii[] = " .:-=+*#@";
    bool plain = report->ascii || !qk_print_utf8();
    double pre = pre_of(report, row), most = 0;
    for (size_t i = 0; i < run->n; i++) {
        double way = fabs(value_of(report, run->first + i, row) - pre);
        most = way > most ? way : most;
    }
    qk_print("%*s", GAP, "");
    for (size_t i = 0; i < run->n; i++) {
        double part = fabs(value_of(report, run->first + i, row) - pre) / most;
        int eighth = part >= 0 && part <= 1 ? (int)lround(8 * part) : 0;
        if (plain)
            qk_print("%c", ascii[eighth]);
        else
            qk_print("%s", eighths[eighth]);
    }
}

struct columns {
    size_t first, n; /* of the run's points */
    bool pre, last;  /* begins with pre's own numbers; ends with the step that passes */
};

static void print_row(const struct qk_track_report *report, const struct qk_track_run *run,
    const struct columns *columns, size_t row)
{
    const struct qk_track_metric_info *info = qk_track_metric(report->metric);
    print_row_label(report, row);
    if (columns->pre)
        qk_print_number(CELL, info->digits, info->scale * pre_of(report, row), info->unit);
    for (size_t i = 0; i < columns->n; i++)
        qk_print_number(CELL, info->digits,
            info->scale * value_of(report, run->first + columns->first + i, row), info->unit);
    if (columns->last) {
        const struct qk_track_point *point = passing(report, run, row);
        if (point != NULL)
            print_label(point, PASSES);
        else
            qk_print("%*s", PASSES, "-");
        print_blocks(report, run, row);
    }
    qk_print("\n");
}

static void print_part(
    const struct qk_track_report *report, const struct qk_track_run *run, const struct columns *columns)
{
    const struct qk_track *track = report->track;
    char passes[32];
    snprintf(passes, sizeof passes, "%g%% at", 100 * report->part);
    qk_print("%-*s", LABEL, "layer kind");
    if (columns->pre)
        qk_print("%*s", CELL, "pre");
    for (size_t i = 0; i < columns->n; i++)
        print_label(&track->point[run->first + columns->first + i], CELL);
    qk_print("%*s\n", columns->last ? PASSES : 0, columns->last ? passes : "");
    for (size_t row = 0; row < track->n_rows; row++)
        if (in_table(report, row))
            print_row(report, run, columns, row);
    print_row(report, run, columns, track->n_rows);
}

static void print_run(const struct qk_track_report *report, const struct qk_track_run *run)
{
    bool pre = isnan(qk_track_metric(report->metric)->pre);
    int width = qk_print_width() - LABEL, ending = PASSES + GAP + (int)run->n;
    for (size_t done = 0; done < run->n;) {
        struct columns columns = {.first = done, .n = run->n - done, .pre = pre && done == 0, .last = true};
        int room = width - (columns.pre ? CELL : 0);
        if (columns.n > 1 && (int)columns.n * CELL + ending > room) {
            size_t fit = room > CELL ? (size_t)(room / CELL) : 1;
            columns.n = fit < columns.n ? fit : columns.n - 1;
            columns.last = false;
        }
        if (done > 0)
            qk_print("\n");
        print_part(report, run, &columns);
        done += columns.n;
    }
}

void qk_track_table(const struct qk_track_report *report)
{
    const struct qk_track *track = report->track;
    for (size_t i = 0; i < track->n_runs; i++) {
        const struct qk_track_run *run = &track->run[i];
        if (i > 0)
            qk_print("\n");
        qk_print("%s%s%s", report->role >= 0 ? qk_role_name((enum qk_role)report->role) : "",
            report->role >= 0 ? ": " : "", qk_track_metric(report->metric)->heading);
        if (run->folder != NULL) {
            qk_print("; ");
            qk_print_name(run->folder);
        }
        qk_print(", %zu checkpoint%s\n", run->n, run->n == 1 ? "" : "s");
        print_run(report, run);
    }
}

/* --- CSV --- */

void qk_track_csv(const struct qk_track_report *report)
{
    const struct qk_track *track = report->track;
    qk_print("checkpoint,step,layer,kind,role,head");
    for (int m = 0; m < QK_TRACK_METRICS; m++)
        qk_print(",%s", qk_track_metric(m)->name);
    qk_print("\n");
    for (size_t p = 0; p < track->n; p++) {
        for (size_t r = 0; r < track->n_rows; r++) {
            const struct qk_track_row *row = &track->row[r];
            if (!report->track->wanted[row->layer] || (row->head >= 0 && !report->heads))
                continue;
            qk_print_csv_name(track->point[p].operand);
            if (track->point[p].step >= 0)
                qk_print(",%ld", track->point[p].step);
            else
                qk_print(",");
            qk_print(",%d,%s,%s,", track->index[row->layer], qk_kind_name(track->kind[row->layer]),
                row->role >= 0 ? qk_role_name((enum qk_role)row->role) : "");
            if (row->head >= 0)
                qk_print("%d", row->head);
            for (int m = 0; m < QK_TRACK_METRICS; m++)
                qk_print_csv_number(qk_track_value(track, p, r, m));
            qk_print("\n");
        }
    }
}

/* --- JSON --- */

static void add_numbers(
    cJSON *object, const struct qk_track_report *report, size_t row, const double *value, bool pre)
{
    const struct qk_track *track = report->track;
    int end = track->ranges ? QK_TRACK_METRICS : QK_METRIC_COUNT;
    for (int m = pre ? QK_TRACK_MEAN : 0; m < end; m++)
        if (qk_track_has(&track->row[row], m))
            qk_json_add_number(object, qk_track_metric(m)->name, value[m]);
}

/* The layers with their roles and heads; of pre, the numbers that it has of its own. */
static void add_layers(cJSON *parent, const struct qk_track_report *report, const double *value, bool pre)
{
    const struct qk_track *track = report->track;
    cJSON *layers = cJSON_AddArrayToObject(parent, "layers"), *layer = NULL, *heads = NULL;
    for (size_t r = 0; r < track->n_rows; r++, value += QK_TRACK_METRICS) {
        const struct qk_track_row *row = &track->row[r];
        if (!report->track->wanted[row->layer])
            continue;
        if (row->role < 0) {
            layer = qk_json_append_object(layers);
            cJSON_AddNumberToObject(layer, "index", track->index[row->layer]);
            cJSON_AddStringToObject(layer, "kind", qk_kind_name(track->kind[row->layer]));
            add_numbers(layer, report, r, value, pre);
        } else if (row->head < 0) {
            cJSON *role = cJSON_AddObjectToObject(layer, qk_role_name((enum qk_role)row->role));
            add_numbers(role, report, r, value, pre);
            heads = cJSON_AddArrayToObject(role, "heads");
        } else {
            add_numbers(qk_json_append_object(heads), report, r, value, pre);
        }
    }
}

static void add_run(cJSON *runs, const struct qk_track_report *report, const struct qk_track_run *run)
{
    const struct qk_track *track = report->track;
    cJSON *object = qk_json_append_object(runs);
    if (run->folder != NULL)
        qk_json_add_text(object, "folder", run->folder);
    cJSON *points = cJSON_AddArrayToObject(object, "checkpoints");
    for (size_t i = run->first; i < run->first + run->n; i++) {
        cJSON *point = qk_json_append_object(points);
        qk_json_add_text(point, "path", track->point[i].operand);
        if (track->point[i].step >= 0)
            cJSON_AddNumberToObject(point, "step", (double)track->point[i].step);
        else
            cJSON_AddNullToObject(point, "step");
        add_layers(point, report, track->point[i].value, false);
    }
    cJSON *passes = cJSON_AddArrayToObject(object, "passes");
    for (size_t r = 0; r < track->n_rows; r++) {
        if (track->row[r].head >= 0 || track->row[r].role != report->role ||
            !report->track->wanted[track->row[r].layer])
            continue;
        cJSON *layer = qk_json_append_object(passes);
        const struct qk_track_point *point = passing(report, run, r);
        cJSON_AddNumberToObject(layer, "index", track->index[track->row[r].layer]);
        if (point != NULL)
            qk_json_add_text(layer, "path", point->operand);
        else
            cJSON_AddNullToObject(layer, "path");
    }
}

enum qk_code qk_track_json(const struct qk_track_report *report, struct qk_error *err)
{
    const struct qk_track *track = report->track;
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "qkscope", PACKAGE_VERSION);
    cJSON_AddStringToObject(root, "metric", qk_track_metric(report->metric)->key);
    cJSON_AddNumberToObject(root, "part", report->part);
    cJSON *pre = cJSON_AddObjectToObject(root, "pre");
    qk_json_add_text(pre, "path", track->pre);
    if (track->ranges)
        add_layers(pre, report, track->pre_value, true);
    cJSON *runs = cJSON_AddArrayToObject(root, "runs");
    for (size_t i = 0; i < track->n_runs; i++)
        add_run(runs, report, &track->run[i]);
    return qk_print_json(root, err);
}
