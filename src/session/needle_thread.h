/* needle_thread.h - one measurement of needles in a session (run.h). Shared by needles.c (the front end's thread:
 * requests and publishing) and needle_thread.c (the threads). */
#ifndef QK_SESSION_NEEDLE_THREAD_H
#define QK_SESSION_NEEDLE_THREAD_H

#include "session/needles.h"
#include "session/run.h"
#include "session/token_texts.h"

struct needle_event {
    struct run_event base;
    struct qk_needle_layer same;   /* RUN_SAME */
    struct qk_needle_layer *exact; /* RUN_EXACT: n_exact, or NULL on failure; owned */
    int n_exact;
};

struct needle_run {
    struct run base;
    char *file; /* NULL: made prompts; owned */

    /* The first thread writes these before `ready`; all read them after it. */
    struct qk_needle_prompts prompts;
    struct qk_needle_pair measured;
    struct qk_needle_states states;
    struct qk_head_numbers *numbers; /* n_layers */
    struct qk_token_texts texts;     /* of the shown needle */

    bool ready; /* guarded by the follow's lock */

    /* --- the front end's --- */
    struct qk_needles_state state;
    struct qk_needle_layer *same;    /* n_layers: of the choices on kept inputs */
    struct qk_needle_layer *exact;   /* n_layers, or NULL */
    struct qk_suggestion suggestion; /* verdict NULL: not asked for yet */
};

/* Number of the shown needle among those that are kept, or -1. */
int qk_needle_run_shown(const struct needle_run *run);
/* True when the layer's choices are a plain restore, whose masses are measured already. The caller holds the lock, or
 * is the front end's thread. */
bool qk_needle_run_restored(const struct needle_run *run, int layer);

/* The threads' part of the kind (run.h). */
void *qk_needle_passes(void *run);
void qk_needle_exact(struct run *run, const struct follow_job *job, struct run_event *event);
bool qk_needle_has_layer(const struct run *run, int layer);
void qk_needle_choices(struct run *run, const struct follow_job *job, struct run_event *event);
enum qk_code qk_needle_side_rows(struct run *run, int layer, enum qk_side side, const struct follow_job *job,
    size_t query, float **out, struct qk_error *err);

#endif
