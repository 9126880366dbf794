/* trajectory.h - the checkpoints of fine-tuning runs in their order, and how far each is from the one before
 * fine-tuning (trajectory.c, trajectory_numbers.c). */
#ifndef QK_CLI_TRAJECTORY_H
#define QK_CLI_TRAJECTORY_H

#include "blend/spec.h"
#include "cli/arguments.h"
#include "drift/drift.h"
#include "range/probe.h"

/* The numbers of a row: the metrics of drift/drift.h, then those of attention's range. */
enum { QK_TRACK_SHIFT = QK_METRIC_COUNT, QK_TRACK_MEAN, QK_TRACK_LONG, QK_TRACK_METRICS };
struct qk_track_metric_info {
    const char *key;     /* "routing", as in --metric */
    const char *name;    /* "routing_rel_fro", as in JSON and CSV, and those of diff and range */
    const char *heading; /* above a table */
    const char *unit;    /* behind a number in the table */
    double scale;        /* of the number in the table */
    int digits;
    double pre; /* the value of no drift; NaN: pre has a number of its own */
};
const struct qk_track_metric_info *qk_track_metric(int metric);
bool qk_track_metric_parse(const char *key, int *metric);

/* A layer as a whole (role -1), its q or its k (head -1), or a head of it. */
struct qk_track_row {
    int layer, role, head;
};

struct qk_track_point {
    char *operand; /* the checkpoint's path, or its name on the hub */
    char *label;   /* the last part of that */
    long step;     /* the last number of the label; -1: it has none */
    double *value; /* (n_rows, QK_TRACK_METRICS); NaN: undefined, or not computed */
};

struct qk_track_run {
    const char *folder; /* the operand that held the checkpoints; NULL: they are operands */
    size_t first, n;    /* of the points */
};

struct qk_track {
    const char *pre;
    struct qk_track_point *point; /* n */
    size_t n, capacity;
    struct qk_track_run *run; /* n_runs */
    size_t n_runs, run_capacity;
    bool ranges; /* shift, mean and long are known */
    int n_layers;
    int *index; /* n_layers */
    enum qk_kind *kind;
    bool *wanted;             /* those to print */
    struct qk_track_row *row; /* n_rows: each layer, followed by its q, its k and their heads */
    size_t n_rows, row_capacity;
    double *pre_value; /* (n_rows, QK_TRACK_METRICS): pre's own numbers */
};

/* What to compute. */
struct qk_track_options {
    const struct qk_spec *layers; /* a list or a kind, for `wanted`; NULL: all. Borrowed */
    bool effective, ranges, cached;
    int threads;
    struct qk_probe_options probe;
};

/* Finds the checkpoints of the operands behind the first, which is pre. A folder that holds no checkpoint, but folders
 * with a number at the end of their names that do, is a run: its checkpoints come in the order of the numbers. The
 * other operands form a run in the order given. QK_INPUT names a folder with neither. Borrows the operands. Freed with
 * qk_track_free, also after a failure. */
enum qk_code qk_track_find(const struct qk_arguments *arguments, struct qk_track *out, struct qk_error *err);
void qk_track_free(struct qk_track *track);

/* Computes the numbers of every point, one pair after the other, with options->threads workers. It takes from the
 * cache what an earlier call kept of the same pair and options, and keeps the rest there. QK_INPUT when a checkpoint
 * has other layers or heads than the first. It shows progress and can be interrupted (meter.h). */
enum qk_code qk_track_compute(
    struct qk_track *track, const struct qk_track_options *options, struct qk_error *err);

/* The row has that number: heads of k have no routing and no range, and shift is a layer's. */
bool qk_track_has(const struct qk_track_row *row, int metric);
double qk_track_value(const struct qk_track *track, size_t point, size_t row, int metric);

#endif
