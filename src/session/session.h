/* session.h - a live pair for a front end: opened, polled, closed. Knows nothing of any screen.
 *
 * Each kind of work has a header: layers.h drift and the current model, choices.h choices with undo, ranges.h
 * attention ranges, needles.h needle masses. evaluation.h has cases, search.h a search for selections, task.h export
 * and verification, trials.h what choices would do.
 *
 * Threads: only the front end's thread calls these functions. Threads of the session put finished results into an
 * inbox, and qk_session_poll moves them to the getters. So the result of a getter is valid until the next
 * qk_session_poll, and drawing never takes a lock or waits. */
#ifndef QK_SESSION_SESSION_H
#define QK_SESSION_SESSION_H

#include "model/pair.h"

struct qk_session;

/* Opens the pair (headers only) and starts `threads` workers (0: as many as processors). */
enum qk_code qk_session_open(
    const char *pre, const char *post, int threads, struct qk_session **out, struct qk_error *err);
/* Stops the workers (within one head's work) and frees everything; a running task is cancelled. NULL allowed. */
void qk_session_close(struct qk_session *session);

const struct qk_pair *qk_session_pair(const struct qk_session *session);

/* A descriptor that is readable whenever qk_session_poll has something to fetch: for poll(2). */
int qk_session_event_fd(const struct qk_session *session);
/* Fetches finished results; true when anything changed. Never blocks. */
bool qk_session_poll(struct qk_session *session);

#endif
