/* meter.c - the progress line, and the signals that cancel work. */
#include "cli/meter.h"

#include "base/text.h"
#include "base/thread.h"
#include "tensor/hub/remote.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 160 };

static const int SIGNALS[QK_METER_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

/* What a signal cancels. Atomic, because a handler may run in any thread. */
static struct qk_progress *_Atomic watched;

/* Set when one of the signals came. Work that was at its end may not have seen it, and the next must not begin. */
static atomic_bool interrupted;

static void cancel_watched(int number)
{
    (void)number;
    atomic_store(&interrupted, true);
    struct qk_progress *progress = atomic_load(&watched);
    if (progress != NULL)
        atomic_store(&progress->cancel, true);
}

/* --- the line --- */

static int format_line(const struct qk_meter *meter, char *out, size_t n)
{
    double done = (double)atomic_load(&meter->progress.done);
    double total = (double)atomic_load(&meter->progress.total), seconds = qk_seconds_since(&meter->start);
    double limit = atomic_load(&meter->limit);
    int used = snprintf(out, n, "%s", atomic_load(&meter->verb));
    if (limit > 0) {
        done = seconds < limit ? seconds : limit;
        total = limit;
    }
    if (total > 0)
        used += snprintf(out + used, n - (size_t)used, "  %3.0f %%", 100 * (done < total ? done / total : 1));
    if (meter->bytes && seconds > 0) {
        char rate[QK_BYTES_TEXT];
        qk_format_bytes(rate, (uint64_t)(done / seconds));
        used += snprintf(out + used, n - (size_t)used, "  %s/s", rate);
    }
    if (total > done && done > 0)
        used += snprintf(out + used, n - (size_t)used, "  %.0f s left", seconds * (total - done) / done);
    return used;
}

/* Spaces wipe the rest of a longer line, without an escape sequence that a simple terminal would show. */
static void paint(struct qk_meter *meter, const char *line, int width)
{
    int rest = meter->width > width ? meter->width - width : 0;
    char visible[4 * LINE];
    fprintf(
        stderr, "\r%s%*s%s", qk_printable(visible, sizeof visible, line), rest, "", width == 0 ? "\r" : "");
    fflush(stderr);
    meter->width = width;
}

static void *painter_main(void *argument)
{
    enum { FIRST_MS = 300, EVERY_MS = 100 };
    struct qk_meter *meter = argument;
    char line[LINE];
    struct timespec until = meter->start;
    long pause = FIRST_MS; /* short work shows no line */
    pthread_mutex_lock(&meter->mutex);
    while (!meter->stop) {
        until.tv_nsec += pause * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        while (!meter->stop && pthread_cond_timedwait(&meter->wake, &meter->mutex, &until) == 0)
            continue;
        if (!meter->stop)
            paint(meter, line, format_line(meter, line, sizeof line));
        pause = EVERY_MS;
        clock_gettime(CLOCK_MONOTONIC, &until);
    }
    if (meter->width > 0)
        paint(meter, "", 0);
    pthread_mutex_unlock(&meter->mutex);
    return NULL;
}

/* --- starting and stopping --- */

static void catch_signals(struct qk_meter *meter)
{
    struct sigaction action = {.sa_handler = cancel_watched, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    atomic_store(&watched, &meter->progress);
    qk_remote_watch(&meter->progress);
    for (int i = 0; i < QK_METER_SIGNALS; i++) {
        sigaction(SIGNALS[i], NULL, &meter->before[i]);
        /* Signals that nohup and shells made the program ignore stay ignored. */
        if (meter->before[i].sa_handler != SIG_IGN)
            sigaction(SIGNALS[i], &action, NULL);
    }
}

void qk_meter_start(struct qk_meter *meter, const char *verb, bool bytes)
{
    memset(meter, 0, sizeof *meter);
    atomic_store(&meter->progress.cancel, atomic_load(&interrupted));
    atomic_store(&meter->verb, verb);
    meter->bytes = bytes;
    clock_gettime(CLOCK_MONOTONIC, &meter->start);
    catch_signals(meter);
    if (!isatty(STDERR_FILENO))
        return;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&meter->mutex, NULL);
    pthread_cond_init(&meter->wake, &clock);
    pthread_condattr_destroy(&clock);
    meter->painting = qk_thread_start(&meter->painter, painter_main, meter, NULL) == QK_OK;
}

void qk_meter_limit(struct qk_meter *meter, double seconds)
{
    atomic_store(&meter->limit, seconds);
}

void qk_meter_turn(struct qk_meter *meter, const char *verb)
{
    atomic_store(&meter->verb, verb);
}

void qk_meter_stop(struct qk_meter *meter)
{
    if (meter->painting) {
        pthread_mutex_lock(&meter->mutex);
        meter->stop = true;
        pthread_cond_signal(&meter->wake);
        pthread_mutex_unlock(&meter->mutex);
        pthread_join(meter->painter, NULL);
        pthread_cond_destroy(&meter->wake);
        pthread_mutex_destroy(&meter->mutex);
    }
    for (int i = 0; i < QK_METER_SIGNALS; i++)
        sigaction(SIGNALS[i], &meter->before[i], NULL);
    atomic_store(&watched, NULL);
    qk_remote_watch(NULL);
}
