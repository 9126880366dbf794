/* bench_drift.c - the cost of the drift of a pair, in ratios to the speed of this machine: norms beside reading
 * the same bytes, all numbers beside sgemm, and the memory of `qkscope diff`. Prints rows of a Markdown table.
 *
 * bench_drift PRE POST [ROUNDS]; the program is $QKSCOPE (./qkscope without it). Exit 1 when a limit of the design
 * is missed. A round measures everything once, in turn. A ratio is taken within its round: a machine that slows down
 * slows both of its sides. */
#include "base/blas.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "drift/drift.h"
#include "linalg/linalg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 5, MOST_ROUNDS = 99, SMALL_PIECE = 64 << 10, LARGE_PIECE = 1 << 20, MOST_MEBIBYTES = 400 };
static const double MOST_READS = 1.5, LEAST_RATE = 0.5;

static void fail(const char *why)
{
    fprintf(stderr, "bench_drift: %s\n", why);
    exit(1);
}

static void must(enum qk_code code, const struct qk_error *err)
{
    if (code != QK_OK)
        fail(err->text);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, size_t n)
{
    double sorted[MOST_ROUNDS];
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* --- memory --- */

/* Peak memory in MiB of `qkscope diff PRE POST`. Called before this process holds anything itself: the peak
 * of a child is never less than what its parent had when it was split off. */
static double peak_memory(const char *pre, const char *post)
{
    const char *program = getenv("QKSCOPE") != NULL ? getenv("QKSCOPE") : "./qkscope";
    struct rusage usage;
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (null >= 0 && dup2(null, STDOUT_FILENO) >= 0)
            execl(program, program, "diff", pre, post, (char *)NULL);
        fprintf(stderr, "bench_drift: %s: %s\n", program, strerror(errno));
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0)
        fail("qkscope diff failed");
    return (double)usage.ru_maxrss / 1024;
}

/* --- reading alone --- */

struct head {
    enum qk_side side;
    int layer;
    enum qk_role role;
    int head;
};
struct reading {
    const struct qk_pair *pair;
    struct head *head;
    size_t n_heads, room;
    size_t piece;
    char *buffer; /* LARGE_PIECE a worker */
};

static void list_heads(struct reading *r)
{
    struct qk_error err = {0};
    for (int i = 0; i < r->pair->n_layers; i++) {
        const struct qk_pair_layer *layer = &r->pair->layer[i];
        if (!layer->has_qk)
            continue;
        for (int role = 0; role < QK_ROLE_COUNT; role++)
            for (int h = 0; h < layer->side[QK_POST]->role[role].n_heads; h++)
                for (int s = 0; s < QK_SIDE_COUNT; s++) {
                    must(qk_grow(&r->head, &r->room, r->n_heads + 1, sizeof *r->head, &err), &err);
                    r->head[r->n_heads++] = (struct head){(enum qk_side)s, i, (enum qk_role)role, h};
                }
    }
    must(qk_alloc_aligned(&r->buffer, qk_parallel_workers(r->n_heads), LARGE_PIECE, &err), &err);
}

static void read_head(void *context, size_t item, size_t worker)
{
    const struct reading *r = context;
    const struct head *head = &r->head[item];
    const struct qk_layer *layer = r->pair->layer[head->layer].side[head->side];
    const struct qk_checkpoint *checkpoint = r->pair->model[head->side]->checkpoint;
    const struct qk_tensor *tensor = layer->role[head->role].weight;
    const struct qk_source *source = &checkpoint->shard[tensor->shard].file.source;
    char *buffer = r->buffer + worker * LARGE_PIECE;
    uint64_t first, stride, length, count;
    qk_view_ranges(layer, head->role, head->head, &first, &stride, &length, &count);
    for (uint64_t i = 0; i < count; i++)
        for (uint64_t done = 0; done < length;) {
            size_t n = length - done < r->piece ? (size_t)(length - done) : r->piece;
            ssize_t got = pread(source->fd, buffer, n, (off_t)(tensor->offset + first + i * stride + done));
            if (got <= 0)
                fail("a file cannot be read");
            done += (uint64_t)got;
        }
}

static double run_reading(struct reading *r, size_t piece)
{
    struct timespec start;
    r->piece = piece;
    clock_gettime(CLOCK_MONOTONIC, &start);
    qk_parallel_for(r->n_heads, read_head, r, NULL);
    return qk_seconds_since(&start);
}

static double bytes_of(const struct reading *r)
{
    double bytes = 0;
    for (size_t i = 0; i < r->n_heads; i++) {
        const struct head *head = &r->head[i];
        uint64_t first, stride, length, count;
        qk_view_ranges(r->pair->layer[head->layer].side[head->side], head->role, head->head, &first, &stride,
            &length, &count);
        bytes += (double)length * (double)count;
    }
    return bytes;
}

/* --- the drift --- */

struct task {
    struct qk_drift_run *run;
    int group;
};
struct comparing {
    const struct qk_pair *pair;
    struct task *task;
    size_t n_tasks, room;
    struct qk_drift_work **work; /* one a worker */
};

static bool is_wanted(const struct qk_pair_layer *layer, bool full_alone)
{
    return layer->has_qk && (!full_alone || layer->kind == QK_FULL);
}

static void compare_group(void *context, size_t item, size_t worker)
{
    const struct comparing *c = context;
    struct qk_error err = {0};
    if (c->work[worker] == NULL)
        must(qk_drift_work_new(&c->work[worker], &err), &err);
    must(qk_drift_run_group(c->task[item].run, c->task[item].group, c->work[worker], NULL, &err), &err);
}

/* Seconds for all that is asked, scratch and results made and freed as the program does. */
static double run_drift(const struct qk_pair *pair, enum qk_drift_stage stage, bool full_alone)
{
    struct comparing c = {.pair = pair};
    struct qk_error err = {0};
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < pair->n_layers; i++) {
        struct qk_drift_run *run;
        if (!is_wanted(&pair->layer[i], full_alone))
            continue;
        must(qk_drift_run_new(pair, i, false, stage, &run, &err), &err);
        for (int g = 0; g < qk_drift_run_groups(run); g++) {
            must(qk_grow(&c.task, &c.room, c.n_tasks + 1, sizeof *c.task, &err), &err);
            c.task[c.n_tasks++] = (struct task){run, g};
        }
    }
    size_t workers = qk_parallel_workers(c.n_tasks);
    must(qk_alloc(&c.work, workers, sizeof(struct qk_drift_work *), &err), &err);
    qk_parallel_for(c.n_tasks, compare_group, &c, NULL);
    for (size_t i = 0; i < workers; i++)
        qk_drift_work_free(c.work[i]);
    for (size_t i = 0; i < c.n_tasks; i++)
        if (c.task[i].group == 0) {
            struct qk_layer_drift drift;
            must(qk_drift_run_take(c.task[i].run, &drift, &err), &err);
            qk_layer_drift_free(&drift);
            qk_drift_run_free(c.task[i].run);
        }
    free(c.work);
    free(c.task);
    return qk_seconds_since(&start);
}

/* What the method needs of a pair of heads (m, d): the lower half of the Gram matrix of [A; E], and of its
 * (m, m) blocks two Cholesky factors (m^3 / 3 each), four triangular solves (m^3 each), one symmetric update
 * (m^3) and the eigenvalues (4/3 m^3). Bounds of the rounding and repeated work do not count. */
struct operations {
    double heads, grams, squares;
};
static struct operations operations_of(const struct qk_pair *pair, bool full_alone)
{
    struct operations sum = {0};
    for (int i = 0; i < pair->n_layers; i++) {
        const struct qk_layer *layer = pair->layer[i].side[QK_POST];
        if (!is_wanted(&pair->layer[i], full_alone))
            continue;
        double heads = layer->role[QK_Q].n_heads + layer->role[QK_K].n_heads;
        double m = layer->head_dim, d = (double)layer->d;
        sum.heads += heads;
        sum.grams += heads * 2 * m * (2 * m + 1) * d;
        sum.squares += heads * (2.0 / 3 + 4 + 1 + 4.0 / 3) * m * m * m;
    }
    return sum;
}

/* --- sgemm --- */

struct product {
    size_t rows, d, n;
    float *block; /* a worker's: (rows, d), (d, rows), (rows, rows) */
};

static size_t floats_of(const struct product *p)
{
    return p->rows * (2 * p->d + p->rows);
}

static void multiply(void *context, size_t item, size_t worker)
{
    const struct product *p = context;
    int rows = (int)p->rows, d = (int)p->d;
    float *a = p->block + worker * floats_of(p), *b = a + p->rows * p->d, *c = b + p->rows * p->d;
    (void)item;
    qk_blas.sgemm(
        CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, rows, d, 1.0F, a, d, b, rows, 0.0F, c, rows);
}

/* Products of the shape of the first layer that is compared, as many as the heads that are. */
static struct product make_product(const struct qk_pair *pair, const struct operations *work)
{
    struct product p = {.n = (size_t)work->heads};
    struct qk_error err = {0};
    for (int i = pair->n_layers - 1; i >= 0; i--)
        if (pair->layer[i].has_qk) {
            p.rows = 2 * (size_t)pair->layer[i].side[QK_POST]->head_dim;
            p.d = (size_t)pair->layer[i].side[QK_POST]->d;
        }
    size_t all = qk_parallel_workers(p.n) * floats_of(&p);
    must(qk_alloc_aligned(&p.block, all, sizeof *p.block, &err), &err);
    for (size_t i = 0; i < all; i++)
        p.block[i] = (float)(i * 7919 % 1009) / 1009 - 0.5F;
    return p;
}

static double run_product(struct product *p)
{
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    qk_parallel_for(p->n, multiply, p, NULL);
    return qk_seconds_since(&start);
}

/* --- rounds --- */

enum measure { READ_SMALL, READ_LARGE, NORMS, SGEMM, FULL, ALL, N_MEASURES };
struct rounds {
    size_t n;
    double seconds[N_MEASURES][MOST_ROUNDS];
};

static void run_rounds(struct rounds *rounds, struct reading *reading, struct product *product, bool has_full)
{
    const struct qk_pair *pair = reading->pair;
    run_reading(reading, LARGE_PIECE); /* the page cache and the kernels are warm from here on */
    run_drift(pair, QK_DRIFT_ALL, has_full);
    for (size_t i = 0; i < rounds->n; i++) {
        rounds->seconds[READ_SMALL][i] = run_reading(reading, SMALL_PIECE);
        rounds->seconds[NORMS][i] = run_drift(pair, QK_DRIFT_NORMS, false);
        rounds->seconds[READ_LARGE][i] = run_reading(reading, LARGE_PIECE);
        rounds->seconds[FULL][i] = has_full ? run_drift(pair, QK_DRIFT_ALL, true) : 0;
        rounds->seconds[SGEMM][i] = run_product(product);
        rounds->seconds[ALL][i] = run_drift(pair, QK_DRIFT_ALL, false);
    }
}

/* --- the table --- */

static bool missed;

/* What follows the value in its row. */
static const char *limit_met(bool met)
{
    missed = missed || !met;
    return met ? "" : " **(missed)**";
}

static void print_norms(const struct rounds *rounds, double bytes)
{
    const double *small = rounds->seconds[READ_SMALL], *large = rounds->seconds[READ_LARGE];
    bool is_small = median(small, rounds->n) <= median(large, rounds->n);
    const double *plain = is_small ? small : large;
    double ratio[MOST_ROUNDS], gigabytes = bytes * 1e-9;
    for (size_t i = 0; i < rounds->n; i++)
        ratio[i] = rounds->seconds[NORMS][i] / plain[i];
    double read = median(plain, rounds->n), norms = median(rounds->seconds[NORMS], rounds->n),
           times = median(ratio, rounds->n);
    printf("| q and k of both sides | %.2f GB | |\n", gigabytes);
    printf("| read in pieces of %s (the faster; the other: %.3f s) | %.3f s, %.1f GB/s | |\n",
        is_small ? "64 KiB" : "1 MiB", median(is_small ? large : small, rounds->n), read, gigabytes / read);
    printf("| norms of all layers | %.3f s, %.1f GB/s | |\n", norms, gigabytes / norms);
    printf(
        "| norms : reading | %.2f%s | at most %.1f |\n", times, limit_met(times <= MOST_READS), MOST_READS);
}

static void print_all(const struct rounds *rounds, enum measure measure, const char *what,
    const struct operations *work, const struct product *product)
{
    double rate[MOST_ROUNDS], count = work->grams + work->squares, one = 2 * (double)product->rows;
    one *= (double)product->rows * (double)product->d * (double)product->n;
    for (size_t i = 0; i < rounds->n; i++)
        rate[i] = count / rounds->seconds[measure][i] / (one / rounds->seconds[SGEMM][i]);
    double seconds = median(rounds->seconds[measure], rounds->n), share = median(rate, rounds->n);
    printf("| %s: pairs of heads | %.0f | |\n", what, work->heads);
    printf("| %s: Gram matrices + (m, m) work | %.1f + %.1f GFLOP | |\n", what, work->grams * 1e-9,
        work->squares * 1e-9);
    printf("| %s: all numbers, reading included | %.2f s, %.1f GFLOP/s | |\n", what, seconds,
        count / seconds * 1e-9);
    printf("| %s: rate : sgemm's | %.2f%s | at least %.1f |\n", what, share, limit_met(share >= LEAST_RATE),
        LEAST_RATE);
}

static void print_sgemm(const struct rounds *rounds, const struct product *product)
{
    double seconds = median(rounds->seconds[SGEMM], rounds->n), rows = (double)product->rows;
    printf("| sgemm (%zu, %zu) x (%zu, %zu), a thread a processor | %.1f GFLOP/s | |\n", product->rows,
        product->d, product->d, product->rows,
        2 * rows * rows * (double)product->d * (double)product->n / seconds * 1e-9);
}

int main(int argc, char **argv)
{
    struct rounds rounds = {.n = argc > 3 ? strtoul(argv[3], NULL, 10) : ROUNDS};
    struct reading reading = {0};
    struct qk_pair *pair;
    struct qk_error err = {0};
    if (argc < 3 || argc > 4 || rounds.n < 1 || rounds.n > MOST_ROUNDS) {
        fprintf(stderr, "usage: bench_drift PRE POST [ROUNDS]\n");
        return 2;
    }
    double mebibytes = peak_memory(argv[1], argv[2]);
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    must(qk_pair_open(argv[1], argv[2], &pair, &err), &err);
    reading.pair = pair;
    list_heads(&reading);
    struct operations full = operations_of(pair, true), all = operations_of(pair, false);
    bool has_full = full.heads > 0;
    struct product product = make_product(pair, has_full ? &full : &all);
    run_rounds(&rounds, &reading, &product, has_full);
    printf("| figure | value | limit |\n|---|---|---|\n");
    print_norms(&rounds, bytes_of(&reading));
    print_sgemm(&rounds, &product);
    if (has_full)
        print_all(&rounds, FULL, "full layers", &full, &product);
    print_all(&rounds, ALL, "all layers", &all, &product);
    printf("| peak memory of `qkscope diff` | %.0f MiB%s | at most %d MiB |\n", mebibytes,
        limit_met(mebibytes <= MOST_MEBIBYTES), MOST_MEBIBYTES);
    free(product.block);
    free(reading.buffer);
    free(reading.head);
    qk_pair_close(pair);
    return missed ? 1 : 0;
}
