/* thread.c - threads that start with a second stack for handlers of signals. */
#include "base/thread.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* The kernel's frame of a signal takes up to 12 kB (AMX registers); a sanitizer's handler takes the most. */
enum { SIGNAL_STACK = 1 << 16 };
static _Thread_local char signal_stack[SIGNAL_STACK];

/* Of a thread, whatever ulimit -s says; its thread-local arrays are in it. Address space alone, until it is used. */
enum { STACK = 8 << 20 };

struct start {
    void *(*main)(void *);
    void *argument;
};

static void *run(void *argument)
{
    struct start start = *(struct start *)argument;
    stack_t before;
    free(argument);
    qk_signal_stack_take(&before);
    void *result = start.main(start.argument);
    qk_signal_stack_return(&before); /* a sanitizer unmaps its own stack at the thread's end */
    return result;
}

enum qk_code qk_thread_start(pthread_t *thread, void *(*main)(void *), void *argument, struct qk_error *err)
{
    struct start *start;
    pthread_attr_t attributes;
    QK_TRY(qk_alloc(&start, 1, sizeof *start, err));
    *start = (struct start){main, argument};
    int failure = pthread_attr_init(&attributes);
    if (failure == 0) {
        pthread_attr_setstacksize(&attributes, STACK);
        failure = pthread_create(thread, &attributes, run, start);
        pthread_attr_destroy(&attributes);
    }
    if (failure == 0)
        return QK_OK;
    free(start);
    return qk_fail(err, QK_IO, "cannot start a thread: %s", strerror(failure));
}

void qk_signal_stack_take(stack_t *before)
{
    const stack_t own = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    sigaltstack(&own, before);
}

void qk_signal_stack_return(const stack_t *before)
{
    sigaltstack(before, NULL);
}
