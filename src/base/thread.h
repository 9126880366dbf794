/* thread.h - threads, each with a second stack for handlers of signals. */
#ifndef QK_BASE_THREAD_H
#define QK_BASE_THREAD_H

#include "base/error.h"

#include <pthread.h>
#include <signal.h>

/* Starts a thread that runs main(argument); the caller joins it. A handler with SA_ONSTACK runs on the second stack
 * even when the thread's own stack has overflowed. QK_IO when the system refuses; then no thread runs. */
enum qk_code qk_thread_start(pthread_t *thread, void *(*main)(void *), void *argument, struct qk_error *err);

/* Gives the calling thread its second stack; *before is the one that it had. A thread of qk_thread_start already has
 * one. */
void qk_signal_stack_take(stack_t *before);
/* Takes it away again; `before` as the same thread filled it in. */
void qk_signal_stack_return(const stack_t *before);

#endif
