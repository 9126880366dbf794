/* bench_forward.c - what a pass of the demo model costs: seconds at 2,048 tokens beside a plain sgemm of as
 * many operations, and memory at 8,192. Prints rows of a Markdown table; exit 1 when a limit of the design is
 * missed. */
#include "base/parallel.h"
#include "linalg/linalg.h"
#include "probe/forward.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RUNS = 9, SECONDS_TOKENS = 2048, MEMORY_TOKENS = 8192, MOST_MEBIBYTES = 300, SQUARE = 512 };
static const double MOST_SECONDS = 2.0;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

static void fail(const struct qk_error *err)
{
    fprintf(stderr, "bench_forward: %s\n", err->text);
    exit(1);
}

static double run_pass(const struct qk_model *model, size_t T)
{
    struct qk_error err = {0};
    int32_t *ids = calloc(T, sizeof *ids);
    float *logits = malloc(T * qk_forward_vocabulary(model) * sizeof *logits);
    if (ids == NULL || logits == NULL)
        exit(1);
    for (size_t t = 0; t < T; t++)
        ids[t] = (int32_t)(t * t * 31 % 251);
    double start = now();
    if (qk_forward(model, NULL, ids, T, NULL, logits, T, NULL, &err) != QK_OK)
        fail(&err);
    double seconds = now() - start;
    free(ids);
    free(logits);
    return seconds;
}

/* Multiplications and additions: every matrix below the layers once a token, the logits, and what the heads
 * do. */
static double operations(const struct qk_model *model, double T)
{
    double sum = 0;
    for (size_t i = 0; i < model->checkpoint->n_tensors; i++) {
        const struct qk_tensor *tensor = model->checkpoint->by_name[i];
        if (tensor->n_dims == 2) /* the embedding is the output head, too */
            sum += 2 * T * (double)tensor->shape[0] * (double)tensor->shape[1];
    }
    for (int i = 0; i < model->n_layers; i++) {
        const struct qk_layer *layer = &model->layer[i];
        double hd = layer->head_dim, heads = layer->role[QK_Q].n_heads;
        if (layer->kind == QK_FULL)
            sum += heads * 4 * hd * T * (T + 1) / 2; /* scores and values of the past alone */
        else
            sum += heads * T * (4 * hd * 64 + 4 * hd * hd); /* chunks of 64, and the state */
    }
    return sum;
}

static void multiply(void *context, size_t item, size_t worker)
{
    (void)item;
    float *c = (float *)context + (2 + worker) * SQUARE * SQUARE, *a = context, *b = a + SQUARE * SQUARE;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, SQUARE, SQUARE, SQUARE, 1.0f, a, SQUARE, b, SQUARE,
        0.0f, c, SQUARE);
}

/* Seconds of square products on all processors, scaled to `work` operations. */
static double run_sgemm(float *matrices, double work)
{
    double one = 2.0 * SQUARE * SQUARE * SQUARE;
    size_t n = (size_t)ceil(work / one);
    double start = now();
    qk_parallel_for(n, multiply, matrices, NULL);
    return (now() - start) * work / (one * (double)n);
}

/* Peak memory in MiB of a process that does nothing but open the model and run it. */
static double peak_memory(const char *path)
{
    struct rusage usage;
    struct qk_model *model;
    struct qk_error err = {0};
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        if (qk_model_open(path, &model, &err) != QK_OK)
            fail(&err);
        run_pass(model, MEMORY_TOKENS);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        exit(1);
    getrusage(RUSAGE_CHILDREN, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static const char *mark(bool met)
{
    return met ? "" : " **(missed)**";
}

int main(void)
{
    const char *root = getenv("QK_DEMO_DATA");
    char path[4096];
    struct qk_model *model;
    struct qk_error err = {0};
    double pass[RUNS], plain[RUNS];
    qk_linalg_init();
    snprintf(path, sizeof path, "%s/post", root != NULL ? root : "data/tiny-hypenet");
    double mebibytes = peak_memory(path);
    if (qk_model_open(path, &model, &err) != QK_OK)
        fail(&err);
    size_t workers = qk_parallel_workers(1000);
    float *matrices = calloc((2 + workers) * SQUARE * SQUARE, sizeof *matrices);
    if (matrices == NULL)
        return 1;
    double work = operations(model, SECONDS_TOKENS);
    run_pass(model, SECONDS_TOKENS); /* files and kernels are warm from here on */
    for (int i = 0; i < RUNS; i++) {
        pass[i] = run_pass(model, SECONDS_TOKENS);
        plain[i] = run_sgemm(matrices, work);
    }
    double seconds = median(pass, RUNS), sgemm = median(plain, RUNS);
    printf("| figure | value | limit |\n|---|---|---|\n");
    printf("| %d tokens, %zu processors | %.3f s, %.1f GFLOP/s%s | less than %.1f s |\n", SECONDS_TOKENS,
        workers, seconds, work / seconds * 1e-9, mark(seconds < MOST_SECONDS), MOST_SECONDS);
    printf("| sgemm of as many operations (%.1f GFLOP) | %.3f s, %.1f GFLOP/s | |\n", work * 1e-9, sgemm,
        work / sgemm * 1e-9);
    printf("| the pass's rate : sgemm's | %.2f | |\n", sgemm / seconds);
    printf("| peak memory at %d tokens | %.0f MiB%s | less than %d MiB |\n", MEMORY_TOKENS, mebibytes,
        mark(mebibytes < MOST_MEBIBYTES), MOST_MEBIBYTES);
    free(matrices);
    qk_model_close(model);
    return seconds < MOST_SECONDS && mebibytes < MOST_MEBIBYTES ? 0 : 1;
}
