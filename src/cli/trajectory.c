/* trajectory.c - checkpoints found and ordered, and what their numbers mean. */
#include "cli/trajectory.h"

#include "base/folder.h"
#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --- the metrics --- */

static const struct qk_track_metric_info METRICS[] = {
    [QK_METRIC_REL_FRO] = {"rel_fro", "rel_fro", "Frobenius distance of W_Q or W_K, relative to pre", "%",
        100, 2, 0},
    [QK_METRIC_COSINE] = {"cosine", "cosine", "cosine between the weights", "", 1, 4, 1},
    [QK_METRIC_NORM_RATIO] = {"norm_ratio", "norm_ratio", "Frobenius norm, relative to pre", "", 1, 3, 1},
    [QK_METRIC_ANGLE_MEAN] = {"angle", "angle_mean_deg", "mean principal angle, degrees", "", 1, 2, 0},
    [QK_METRIC_ANGLE_MAX] = {"angle_max", "angle_max_deg", "largest principal angle, degrees", "", 1, 2, 0},
    [QK_METRIC_ROUTING] = {"routing", "routing_rel_fro", "routing drift, W_Q^T W_K", "%", 100, 2, 0},
    [QK_TRACK_SHIFT] = {"shift", "shift", "shift of attention, nats", "", 1, 4, 0},
    [QK_TRACK_MEAN] = {"mean", "mean", "mean distance of attention, tokens", "", 1, 1, NAN},
    [QK_TRACK_LONG] = {"long", "long_mass", "attention on far tokens", "%", 100, 2, NAN},
};
static_assert(sizeof METRICS / sizeof METRICS[0] == QK_TRACK_METRICS, "a row for every metric");

const struct qk_track_metric_info *qk_track_metric(int metric)
{
    return &METRICS[metric];
}

bool qk_track_metric_parse(const char *key, int *metric)
{
    enum qk_metric drift;
    if (qk_metric_parse(key, &drift)) { /* with its longer names */
        *metric = (int)drift;
        return true;
    }
    for (int i = QK_METRIC_COUNT; i < QK_TRACK_METRICS; i++) {
        if (strcmp(key, METRICS[i].key) == 0) {
            *metric = i;
            return true;
        }
    }
    return false;
}

/* --- the checkpoints --- */

/* "runs/a/checkpoint-50/" gives "checkpoint-50", "org/name@step50" gives "step50". */
static void last_part(const char *operand, const char **start, size_t *n)
{
    size_t end = strlen(operand), begin;
    while (end > 1 && operand[end - 1] == '/')
        end--;
    for (begin = end; begin > 0 && operand[begin - 1] != '/' && operand[begin - 1] != '@';)
        begin--;
    *start = operand + begin;
    *n = end - begin;
}

/* The number with the last digits of a label, -1 without one or where it is too large. */
static long last_number(const char *label)
{
    enum { MOST_DIGITS = 12 };
    size_t end = strlen(label), begin;
    while (end > 0 && !isdigit((unsigned char)label[end - 1]))
        end--;
    for (begin = end; begin > 0 && isdigit((unsigned char)label[begin - 1]);)
        begin--;
    return end == begin || end - begin > MOST_DIGITS ? -1 : strtol(label + begin, NULL, 10);
}

static enum qk_code add_point(struct qk_track *track, const char *operand, struct qk_error *err)
{
    const char *label;
    size_t n;
    QK_TRY(qk_grow(&track->point, &track->capacity, track->n + 1, sizeof *track->point, err));
    struct qk_track_point *point = &track->point[track->n++];
    QK_TRY(qk_strdup_to(&point->operand, operand, err));
    last_part(operand, &label, &n);
    QK_TRY(qk_strndup_to(&point->label, label, n, err));
    point->step = last_number(point->label);
    return QK_OK;
}

static bool has_file(const char *folder, const char *name)
{
    char path[4096];
    struct stat info;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && stat(path, &info) == 0;
}

/* The folder has a file that only checkpoints and adapters have. */
static bool is_checkpoint(const char *folder)
{
    static const char *const names[] = {"config.json", "adapter_config.json", "model.safetensors",
        "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (has_file(folder, names[i]))
            return true;
    return false;
}

/* "checkpoint-50", "global_step50": a word and a number. */
static bool is_numbered(const char *name)
{
    size_t n = strlen(name), end = n;
    while (end > 0 && isdigit((unsigned char)name[end - 1]))
        end--;
    return end < n && end > 0 && name[0] != '.';
}

static int by_step(const void *a, const void *b)
{
    const struct qk_track_point *one = a, *other = b;
    if (one->step != other->step)
        return one->step < other->step ? -1 : 1;
    return strcmp(one->label, other->label);
}

static enum qk_code add_run(struct qk_track *track, const char *folder, struct qk_error *err)
{
    QK_TRY(qk_grow(&track->run, &track->run_capacity, track->n_runs + 1, sizeof *track->run, err));
    track->run[track->n_runs++] = (struct qk_track_run){.folder = folder, .first = track->n};
    return QK_OK;
}

static enum qk_code add_folder(struct qk_track *track, const char *folder, struct qk_error *err)
{
    struct qk_lines names;
    QK_TRY(qk_folder_names(folder, NULL, &names, err));
    enum qk_code code = add_run(track, folder, err);
    for (size_t i = 0; i < names.n && code == QK_OK; i++) {
        char *path = NULL;
        code = qk_path_join(folder, names.line[i], &path, err);
        if (code == QK_OK && is_numbered(names.line[i]) && is_checkpoint(path))
            code = add_point(track, path, err);
        free(path);
    }
    qk_lines_free(&names);
    if (code != QK_OK)
        return code;
    struct qk_track_run *run = &track->run[track->n_runs - 1];
    run->n = track->n - run->first;
    if (run->n == 0)
        return qk_fail(err, QK_INPUT,
            "%s: neither a checkpoint nor a folder of checkpoints (expected config.json, or folders such as "
            "checkpoint-100 that have one)",
            folder);
    qsort(track->point + run->first, run->n, sizeof *track->point, by_step);
    return QK_OK;
}

/* A folder that holds no checkpoint itself. */
static bool is_run(const char *operand)
{
    struct stat info;
    return stat(operand, &info) == 0 && S_ISDIR(info.st_mode) && !is_checkpoint(operand);
}

enum qk_code qk_track_find(const struct qk_arguments *arguments, struct qk_track *out, struct qk_error *err)
{
    *out = (struct qk_track){.pre = arguments->operand[0]};
    bool open = false; /* the last run takes another operand */
    for (size_t i = 1; i < arguments->n_operands; i++) {
        const char *operand = arguments->operand[i];
        if (is_run(operand)) {
            QK_TRY(add_folder(out, operand, err));
            open = false;
            continue;
        }
        if (!open)
            QK_TRY(add_run(out, NULL, err));
        open = true;
        QK_TRY(add_point(out, operand, err));
        out->run[out->n_runs - 1].n++;
    }
    return QK_OK;
}

void qk_track_free(struct qk_track *track)
{
    for (size_t i = 0; i < track->n; i++) {
        free(track->point[i].operand);
        free(track->point[i].label);
        free(track->point[i].value);
    }
    free(track->point);
    free(track->run);
    free(track->index);
    free(track->kind);
    free(track->wanted);
    free(track->row);
    free(track->pre_value);
    *track = (struct qk_track){0};
}

/* --- the numbers --- */

bool qk_track_has(const struct qk_track_row *row, int metric)
{
    bool layer = row->role < 0, query = row->role == QK_Q && row->head >= 0;
    return metric < QK_METRIC_ROUTING || layer || (query && metric != QK_TRACK_SHIFT);
}

double qk_track_value(const struct qk_track *track, size_t point, size_t row, int metric)
{
    return track->point[point].value[row * QK_TRACK_METRICS + (size_t)metric];
}
