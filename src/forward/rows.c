/* rows.c - the attention of single queries, head by head. */
#include "forward/coefficients.h"

#include "base/mem.h"
#include "base/parallel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rows_job {
    const struct qk_row_past *past;
    const struct qk_rows *rows;
    void *context;
    size_t heads;  /* the queries whose rows are shown */
    float *row;    /* `length` a worker */
    double *w, *c; /* of the delta rule: head_dim and `length` a worker */
    size_t length;
};

static void lightning_row(const struct qk_attention *a, float slope, size_t h, size_t t, float *row)
{
    const float *q = a->q + t * a->q_stride + h * a->head_dim,
                *k = a->k + h / (a->n_q / a->n_k) * a->head_dim;
    double sum = 0;
    for (size_t s = 0; s <= t; s++) {
        double dot = 0;
        for (size_t j = 0; j < a->head_dim; j++)
            dot += (double)q[j] * (double)k[s * a->k_stride + j];
        double c = fabs(dot) * exp(-(double)slope * (double)(t - s));
        row[s] = (float)c;
        sum += c;
    }
    for (size_t s = 0; s <= t && sum > 0; s++)
        row[s] = (float)((double)row[s] / sum);
}

/* row += share * |c| / sum |c| of one value head; c is scratch of the row's length. */
static void add_delta_row(const struct qk_attention *a, const struct qk_gates *gates, size_t value_head,
    size_t t, double share, double *w, double *c, float *row)
{
    size_t dk = a->head_dim, key = value_head / (a->n_q / a->n_k);
    const float *q = a->q + t * a->q_stride + key * dk;
    double sum = 0;
    for (size_t j = 0; j < dk; j++)
        w[j] = (double)q[j];
    for (size_t s = t + 1; s-- > 0;) {
        const float *k = a->k + s * a->k_stride + key * dk,
                    *g = gates->g + (s * a->n_q + value_head) * (gates->channels ? dk : 1);
        double dot = 0, decay = exp((double)g[0]);
        for (size_t j = 0; j < dk; j++)
            dot += w[j] * (double)k[j];
        c[s] = (double)gates->beta[s * a->n_q + value_head] * dot;
        sum += fabs(c[s]);
        for (size_t j = 0; j < dk; j++)
            w[j] = (gates->channels ? exp((double)g[j]) : decay) * (w[j] - c[s] * (double)k[j]);
    }
    for (size_t s = 0; s <= t && sum > 0; s++)
        row[s] += (float)(share * fabs(c[s]) / sum);
}

/* Computes the mean over the value heads that share the query head. */
static void delta_row(const struct rows_job *job, const struct qk_attention *a, const struct qk_gates *gates,
    size_t h, size_t t, size_t worker, float *row)
{
    size_t shared = a->n_q / a->n_k;
    memset(row, 0, (t + 1) * sizeof *row);
    for (size_t v = 0; v < shared; v++)
        add_delta_row(a, gates, h * shared + v, t, 1.0 / (double)shared, job->w + worker * a->head_dim,
            job->c + worker * job->length, row);
}

/* Item: a head of a query. */
static void show_row(void *context, size_t item, size_t worker)
{
    const struct rows_job *job = context;
    const struct qk_row_past *past = job->past;
    size_t i = item / job->heads, h = item % job->heads, t = job->rows->query[i].t,
           sequence = job->rows->query[i].sequence;
    const struct qk_attention *a = &past->a[sequence];
    float *row = job->row + worker * job->length;
    if (past->gates != NULL)
        delta_row(job, a, &past->gates[sequence], h, t, worker, row);
    else if (past->slope != NULL)
        lightning_row(a, past->slope[h], h, t, row);
    else
        qk_attention_row(a, h, t, row);
    job->rows->show(job->context, h, i, row);
}

enum qk_code qk_rows_show(const struct qk_row_past *past, const struct qk_rows *rows, void *context,
    struct qk_progress *progress, struct qk_error *err)
{
    struct rows_job job = {.past = past, .rows = rows, .context = context};
    job.heads = qk_past_heads(past);
    size_t items = rows->n * job.heads, workers = qk_parallel_workers(items);
    for (size_t i = 0; i < rows->n; i++)
        job.length = rows->query[i].t + 1 > job.length ? rows->query[i].t + 1 : job.length;
    QK_TRY(qk_alloc_aligned(&job.row, workers * job.length, sizeof *job.row, err));
    enum qk_code code = qk_alloc(&job.w, workers * past->a->head_dim, sizeof *job.w, err);
    if (code == QK_OK)
        code = qk_alloc(&job.c, workers * job.length, sizeof *job.c, err);
    if (code == QK_OK) {
        qk_parallel_for(items, show_row, &job, progress);
        code = qk_progress_check(progress, err);
    }
    free(job.c);
    free(job.w);
    free(job.row);
    return code;
}
