/* bench_range.c - the time from a choice to its histogram, in a live session on the demo pair: median and
 * worst over toggles of every softmax layer. Prints rows of a Markdown table; exit 1 when the median
 * misses the design's limit. */
#include "base/blas.h"
#include "session/choices.h"
#include "session/layers.h"
#include "session/ranges.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 10, MOST_MILLISECONDS = 100, LAYERS = 4, WAIT = 60000 };
static const int SOFTMAX[LAYERS] = {1, 4, 7, 10};

static void fail(const char *why)
{
    fprintf(stderr, "bench_range: %s\n", why);
    exit(1);
}

static void wait_for_event(struct qk_session *session)
{
    struct pollfd fd = {.fd = qk_session_event_fd(session), .events = POLLIN};
    if (poll(&fd, 1, WAIT) <= 0)
        fail("nothing came");
    qk_session_poll(session);
}

static struct qk_session *open_demo(size_t tokens, double *seconds)
{
    const char *root = getenv("QK_DEMO_DATA");
    char pre[4096], post[4096];
    struct qk_session *session;
    struct qk_error err = {0};
    const struct qk_probe_options options = {.length = tokens};
    snprintf(pre, sizeof pre, "%s/pre", root != NULL ? root : "data/tiny-hypenet");
    snprintf(post, sizeof post, "%s/post", root != NULL ? root : "data/tiny-hypenet");
    if (qk_session_open(pre, post, 0, &session, &err) != QK_OK ||
        qk_session_probe(session, &options, &err) != QK_OK)
        fail(err.text);
    while (qk_session_probe_state(session)->stage == QK_PROBE_RUNNING)
        wait_for_event(session);
    if (qk_session_probe_state(session)->stage != QK_PROBE_READY)
        fail("the probe did not come to its end");
    *seconds = qk_session_probe_state(session)->seconds;
    return session;
}

/* Milliseconds from the key press to the numbers. */
static double toggle(struct qk_session *session, int layer, enum qk_mode mode, double param)
{
    struct timespec start;
    struct qk_session_range range;
    struct qk_error err = {0};
    qk_session_want(session, layer, &layer, 1);
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (qk_session_choose(session, &layer, 1, -1, (struct qk_choice){mode, param}, NULL, &err) != QK_OK)
        fail(err.text);
    while (qk_session_range(session, layer, &range) && range.current_is == QK_CURRENT_PENDING)
        wait_for_event(session);
    return 1000 * qk_seconds_since(&start);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* False when the median misses the limit `most`; 0: no limit. */
static bool measure(size_t tokens, int most)
{
    double seconds, times[ROUNDS * LAYERS * 2];
    size_t n = 0;
    struct qk_session *session = open_demo(tokens, &seconds);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < LAYERS; i++) {
            times[n++] = toggle(session, SOFTMAX[i], QK_RESTORE, 0);
            times[n++] = toggle(session, SOFTMAX[i], QK_QKPRO, 0.1 + round);
        }
    qk_session_close(session);
    qsort(times, n, sizeof *times, compare_doubles);
    bool missed = most > 0 && times[n / 2] >= most;
    printf("| %zu tokens: probe of both models | %.2f s | |\n", tokens, seconds);
    printf("| %zu tokens: from a choice to its histogram, median of %zu | %.1f ms%s |", tokens, n,
        times[n / 2], missed ? " **(missed)**" : "");
    if (most > 0)
        printf(" less than %d ms", most);
    printf(" |\n| %zu tokens: worst of them | %.1f ms | |\n", tokens, times[n - 1]);
    return !missed;
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    printf("| figure | value | limit |\n|---|---|---|\n");
    bool met = measure(512, MOST_MILLISECONDS);
    measure(2048, 0);
    return met ? 0 : 1;
}
