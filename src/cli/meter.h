/* meter.h - the frame around long work: a line of progress for a person, and a way to stop for the signals. */
#ifndef QK_CLI_METER_H
#define QK_CLI_METER_H

#include "base/progress.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

enum { QK_METER_SIGNALS = 3 };

struct qk_meter {
    struct qk_progress progress; /* hand this to the work */
    /* --- meter.c's own --- */
    const char *_Atomic verb;
    _Atomic double limit; /* seconds; 0: the line tells how much of the work is done */
    bool bytes, painting, stop;
    int width; /* of the line on the screen */
    struct timespec start;
    pthread_t painter;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct sigaction before[QK_METER_SIGNALS];
};

/* From here to qk_meter_stop, SIGINT, SIGTERM and SIGHUP ask the work to stop (progress.cancel), and a line
 * "VERB  42 %  118 MB/s  8 s left" stands on standard error when that is a terminal. `bytes`: the progress
 * counts bytes. Once one of the signals came, what is begun under a later meter is asked to stop from its
 * start. One meter at a time. Never fails: without a line the work goes on. */
void qk_meter_start(struct qk_meter *meter, const char *verb, bool bytes);

/* For work that goes on until its time is up: the line tells how much of these seconds are gone. */
void qk_meter_limit(struct qk_meter *meter, double seconds);

/* What is done from now on, in the line's place of VERB; borrowed. */
void qk_meter_turn(struct qk_meter *meter, const char *verb);

/* Takes the line away and puts the signals back as they were. */
void qk_meter_stop(struct qk_meter *meter);

#endif
