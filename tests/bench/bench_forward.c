/* bench_forward.c - the cost of a pass of the demo model: seconds at 2,048 tokens beside a plain sgemm of as many
 * operations, and memory at 8,192. The cost of an evaluation's questions: prompts of 1,024 tokens in groups, beside
 * sgemm, and the tokens after them. Prints rows of a Markdown table; exit 1 when a limit of the design is missed.
 *
 * With MODEL PROMPTS TOKENS MADE it reads so many prompts of another model, and makes so many tokens behind each; it
 * prints the seconds of reading, of all, and of sgemm of as many operations as reading takes. */
#include "base/blas.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/forward.h"
#include "forward/generate.h"
#include "linalg/linalg.h"

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
    size_t vocabulary;
    if (qk_forward_vocabulary(model, &vocabulary, &err) != QK_OK)
        exit(1);
    float *logits = malloc(T * vocabulary * sizeof *logits);
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

/* Multiplications and additions of T tokens and the logits of some: every matrix below the layers once a
 * token, the output head, and what the heads do. */
static double operations(const struct qk_model *model, double T, double logits)
{
    double sum = 0;
    for (size_t i = 0; i < model->checkpoint->n_tensors; i++) {
        const struct qk_tensor *tensor = model->checkpoint->by_name[i];
        bool head = strstr(tensor->name, "embed") != NULL; /* the embedding is the output head, too */
        if (tensor->n_dims == 2)
            sum += 2 * (head ? logits : T) * (double)tensor->shape[0] * (double)tensor->shape[1];
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
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, SQUARE, SQUARE, SQUARE, 1.0f, a, SQUARE, b, SQUARE,
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

/* --- what an evaluation asks --- */

enum { PROMPTS = 16, PROMPT_TOKENS = 1024, MADE = 64, SMALLEST_VOCABULARY = 251 };

struct group {
    size_t prompts, tokens;
};

static bool take(void *context, size_t sequence, int32_t id)
{
    (void)sequence;
    (void)id;
    ++*(size_t *)context;
    return true;
}

/* Seconds of a group of prompts and `limit` tokens behind each. */
static double run_group(struct qk_network *network, const struct group *group, size_t limit)
{
    int32_t *ids = calloc(group->prompts * group->tokens, sizeof *ids);
    struct qk_prompt *prompt = calloc(group->prompts, sizeof *prompt);
    struct qk_error err = {0};
    size_t made = 0;
    if (ids == NULL || prompt == NULL)
        exit(1);
    for (size_t i = 0; i < group->prompts; i++) {
        int32_t *own = ids + i * group->tokens;
        for (size_t t = 0; t < group->tokens; t++)
            own[t] = (int32_t)((t * t * 31 + i * 7) % SMALLEST_VOCABULARY);
        prompt[i] = (struct qk_prompt){own, group->tokens, limit, i};
    }
    double start = now();
    if (qk_generate(network, prompt, group->prompts, NULL, take, &made, NULL, &err) != QK_OK)
        fail(&err);
    if (made != group->prompts * limit)
        exit(1);
    free(ids);
    free(prompt);
    return now() - start;
}

static void bench_generation(const struct qk_model *model, float *matrices)
{
    struct qk_network *network;
    struct qk_error err = {0};
    const struct group group = {PROMPTS, PROMPT_TOKENS};
    double prefill[RUNS], plain[RUNS], ratio[RUNS], step[RUNS];
    double work = PROMPTS * operations(model, PROMPT_TOKENS, 1);
    if (qk_network_open(model, NULL, PROMPT_TOKENS + MADE, (size_t)1 << 30, &network, &err) != QK_OK)
        fail(&err);
    run_group(network, &group, 1);
    for (int i = 0; i < RUNS; i++) {
        prefill[i] = run_group(network, &group, 1);
        plain[i] = run_sgemm(matrices, work);
        ratio[i] = plain[i] / prefill[i];
        step[i] = run_group(network, &group, MADE) - prefill[i];
    }
    double seconds = median(prefill, RUNS), steps = median(step, RUNS);
    printf(
        "| %d prompts of %d tokens, read and answered with one | %.0f tokens/s, %.1f prompts/s, %.1f GFLOP/s | |\n",
        PROMPTS, PROMPT_TOKENS, PROMPTS * PROMPT_TOKENS / seconds, PROMPTS / seconds, work / seconds * 1e-9);
    printf("| its rate : sgemm's | %.2f | |\n", median(ratio, RUNS));
    printf("| %d tokens more behind each | %.0f tokens/s | |\n", MADE - 1, PROMPTS * (MADE - 1) / steps);
    qk_network_close(network);
}

/* --- all of it --- */

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

static float *new_matrices(void)
{
    float *matrices = calloc((2 + qk_parallel_workers(1000)) * SQUARE * SQUARE, sizeof *matrices);
    if (matrices == NULL)
        exit(1);
    return matrices;
}

/* argument: MODEL PROMPTS TOKENS MADE. */
static int bench_other(char **argument)
{
    const struct group group = {strtoul(argument[1], NULL, 10), strtoul(argument[2], NULL, 10)};
    size_t limit = strtoul(argument[3], NULL, 10);
    struct qk_model *model;
    struct qk_network *network;
    struct qk_error err = {0};
    float *matrices = new_matrices();
    if (qk_model_open(argument[0], &model, &err) != QK_OK ||
        qk_network_open(model, NULL, group.tokens + limit, (size_t)1 << 33, &network, &err) != QK_OK)
        fail(&err);
    run_group(network, &(struct group){1, 1}, 1); /* weights are read and kept */
    double work = (double)group.prompts * operations(model, (double)group.tokens, 1);
    double reading = run_group(network, &group, 1), sgemm = run_sgemm(matrices, work);
    printf("%.4f %.4f %.4f\n", reading, limit > 1 ? run_group(network, &group, limit) : reading, sgemm);
    qk_network_close(network);
    qk_model_close(model);
    free(matrices);
    return 0;
}

int main(int argc, char **argv)
{
    enum { WORDS_OF_OTHER = 5 };
    const char *root = getenv("QK_DEMO_DATA");
    char path[4096];
    struct qk_model *model;
    struct qk_error err = {0};
    double pass[RUNS], plain[RUNS];
    qk_keep_pages();
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    if (argc == WORDS_OF_OTHER)
        return bench_other(argv + 1);
    snprintf(path, sizeof path, "%s/post", root != NULL ? root : "data/tiny-hypenet");
    double mebibytes = peak_memory(path);
    if (qk_model_open(path, &model, &err) != QK_OK)
        fail(&err);
    size_t workers = qk_parallel_workers(1000);
    float *matrices = new_matrices();
    double work = operations(model, SECONDS_TOKENS, SECONDS_TOKENS);
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
    bench_generation(model, matrices);
    free(matrices);
    qk_model_close(model);
    return seconds < MOST_SECONDS && mebibytes < MOST_MEBIBYTES ? 0 : 1;
}
