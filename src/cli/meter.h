/* meter.h - the frame around long work: a line of progress, and the signals that stop it. */
#ifndef QK_CLI_METER_H
#define QK_CLI_METER_H

#include "base/progress.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

enum { QK_METER_SIGNALS = 3 };

struct qk_meter {
    struct qk_progress progress; /* the progress for the work */
    /* --- meter.c's own --- */
    const char *_Atomic verb;
    _Atomic double limit; /* seconds; 0: the line shows how much of the work is done */
    bool bytes, painting, stop;
    int width; /* length of the line on the screen */
    struct timespec start;
    pthread_t painter;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct sigaction before[QK_METER_SIGNALS];
};

/* Starts a meter. Until qk_meter_stop, SIGINT, SIGTERM and SIGHUP stop the work (progress.cancel). A terminal on
 * standard error shows a line "VERB 42 % 118 MB/s 8 s left". `bytes`: the progress counts bytes. Once one of the
 * signals came, work under a later meter stops from its start. One meter at a time. It never fails: without a line
 * the work goes on. */
void qk_meter_start(struct qk_meter *meter, const char *verb, bool bytes);

/* For work with a time limit: the line shows how many of these seconds are gone. */
void qk_meter_limit(struct qk_meter *meter, double seconds);

/* Replaces VERB in the line; borrowed. */
void qk_meter_turn(struct qk_meter *meter, const char *verb);

/* Removes the line and restores the signals. */
void qk_meter_stop(struct qk_meter *meter);

#endif
