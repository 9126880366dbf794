/* bench_export.c - the cost of an export beside a plain copy of post: `cp -r`, and exports that restore the
 * softmax layers and that blend all, in turn, on a pair of the 9B model's shapes that make_pair writes.
 *
 * `make bench`; exit 1 when a limit of the design is missed. QK_BENCH_BYTES (4e9) is about the size of post. The pair
 * and the copies take four times that size, in QK_BENCH_FOLDER, else TMPDIR, else /var/tmp. An export waits for the
 * disk and cp does not. So the limits apply to cp with syncfs ("synced"), and both are printed. It needs an idle
 * machine: cp uses one processor, an export all. */
#include "base/folder.h"
#include "base/progress.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 5, MOST_MEBIBYTES = 256 };
static const double LAYER_BYTES = 470e6,
                    OTHER_BYTES = 164e6; /* of the 9B shape, the latter with --vocab 20000 */

static const struct job {
    const char *name, *set; /* set: NULL for cp */
    double least;           /* part of cp's throughput */
} JOBS[] = {{"cp -r", NULL, 0}, {"export full=restore", "full=restore", 0.9},
    {"export all=qk-pro:0.3", "all=qk-pro:0.3", 0.7}};
enum { N_JOBS = sizeof JOBS / sizeof JOBS[0] };

struct cost {
    double seconds, synced, cpu; /* synced: until the disk has it */
    double mebibytes;
};

static char folder[4096];

static void stop(const char *why)
{
    fprintf(stderr, "bench_export: %s\n", why);
    if (folder[0] != '\0')
        qk_folder_remove(folder, NULL);
    exit(1);
}

/* Runs a program in the bench's folder, its output thrown away. */
static struct cost run(char *const *arguments)
{
    struct timespec start;
    struct rusage usage;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &start);
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (chdir(folder) != 0 || dup2(null, STDOUT_FILENO) < 0)
            _exit(127);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0)
        stop(arguments[0]);
    struct cost cost = {.seconds = qk_seconds_since(&start), .mebibytes = (double)usage.ru_maxrss / 1024};
    cost.cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || syncfs(fd) != 0)
        stop("syncfs");
    close(fd);
    cost.synced = qk_seconds_since(&start);
    return cost;
}

static struct cost run_job(const struct job *job, char *pre, char *post)
{
    char set[64], *qkscope = getenv("QKSCOPE");
    snprintf(set, sizeof set, "%s", job->set != NULL ? job->set : "");
    char *copy[] = {"cp", "-r", post, "out", NULL};
    char *export[] = {qkscope, "export", "--set", set, "--output", "out", pre, post, NULL};
    return run(job->set == NULL ? copy : export);
}

static void remove_out(void)
{
    char out[4200];
    snprintf(out, sizeof out, "%s/out", folder);
    qk_folder_remove(out, NULL);
    sync(); /* the next job does not wait for the freeing */
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const struct cost *costs, size_t offset)
{
    double values[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        memcpy(&values[i], (const char *)&costs[i] + offset, sizeof values[i]);
    qsort(values, ROUNDS, sizeof *values, compare_doubles);
    return values[ROUNDS / 2];
}
#define MEDIAN(costs, field) median(costs, offsetof(struct cost, field))

/* Bytes, and bytes of blocks, of the contents of a folder. */
static void measure(const char *name, double *bytes, double *blocks)
{
    struct qk_folder files;
    char path[8192];
    struct stat info;
    *bytes = *blocks = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (qk_folder_list(path, true, NULL, NULL, &files, NULL) != QK_OK)
        stop(path);
    for (size_t i = 0; i < files.n; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", folder, name, files.file[i].name);
        if (stat(path, &info) != 0 || S_ISDIR(info.st_mode))
            continue;
        *bytes += (double)info.st_size;
        *blocks += 512.0 * (double)info.st_blocks;
    }
    qk_folder_free(&files);
}

static void make_pair(char *layers, char *how, char *name)
{
    char *arguments[] = {
        getenv("QK_MAKE_PAIR"), "hypenet-9b", "--layers", layers, "--vocab", "20000", how, name, NULL};
    run(arguments);
}

static bool bench_dense(double wanted)
{
    char layers[32];
    struct cost cost[N_JOBS][ROUNDS];
    double bytes, blocks;
    bool met = true;
    long n = (long)((wanted - OTHER_BYTES) / LAYER_BYTES + 0.5);
    snprintf(layers, sizeof layers, "%ld", n < 1 ? 1 : n);
    make_pair(layers, "--dense", "pair");
    measure("pair/post", &bytes, &blocks);
    run_job(&JOBS[0], "pair/pre", "pair/post"); /* the cache is warm from here on */
    remove_out();
    for (int round = 0; round < ROUNDS; round++)
        for (int j = 0; j < N_JOBS; j++) {
            cost[j][round] = run_job(&JOBS[j], "pair/pre", "pair/post");
            remove_out();
        }
    printf("export: %.2f GB, medians of %d; of cp: throughput as a part of cp's\n", bytes * 1e-9, ROUNDS);
    printf("%-24s %8s %8s %8s %8s %8s %6s %9s\n", "", "seconds", "GB/s", "of cp", "synced", "of cp", "CPU s",
        "peak MiB");
    for (int j = 0; j < N_JOBS; j++) {
        double seconds = MEDIAN(cost[j], seconds), synced = MEDIAN(cost[j], synced),
               part = MEDIAN(cost[0], synced) / synced;
        double peak = MEDIAN(cost[j], mebibytes);
        printf("%-24s %8.2f %8.2f %7.0f%% %8.2f %7.0f%% %6.2f %9.0f\n", JOBS[j].name, seconds,
            bytes * 1e-9 / seconds, 100 * MEDIAN(cost[0], seconds) / seconds, synced, 100 * part,
            MEDIAN(cost[j], cpu), peak);
        met = met && part >= JOBS[j].least && (j == 0 || peak < MOST_MEBIBYTES);
    }
    return met;
}

static bool bench_sparse(void)
{
    double bytes, blocks, out_bytes, out_blocks;
    make_pair("8", "--q-k-only", "sparse");
    measure("sparse/post", &bytes, &blocks);
    run_job(&JOBS[1], "sparse/pre", "sparse/post");
    measure("out", &out_bytes, &out_blocks);
    remove_out();
    printf("a sparse post of %.2f GB in %.0f MB of blocks is exported to %.0f MB\n", bytes * 1e-9,
        blocks * 1e-6, out_blocks * 1e-6);
    return out_blocks < blocks + 1e6; /* the recipe, and where holes begin within a block */
}

int main(void)
{
    const char *base = getenv("QK_BENCH_FOLDER"), *bytes = getenv("QK_BENCH_BYTES");
    if (base == NULL && (base = getenv("TMPDIR")) == NULL)
        base = "/var/tmp";
    if (getenv("QKSCOPE") == NULL || getenv("QK_MAKE_PAIR") == NULL)
        stop("QKSCOPE and QK_MAKE_PAIR must name the programs");
    char path[4000];
    snprintf(path, sizeof path, "%s/qkscope-bench-XXXXXX", base);
    if (mkdtemp(path) == NULL)
        stop(base);
    snprintf(folder, sizeof folder, "%s", path);
    bool dense = bench_dense(bytes != NULL ? strtod(bytes, NULL) : 4e9), sparse = bench_sparse();
    qk_folder_remove(folder, NULL);
    if (!dense || !sparse)
        fprintf(stderr, "bench_export: a limit is missed\n");
    return dense && sparse ? 0 : 1;
}
