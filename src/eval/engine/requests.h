/* requests.h - many requests to one address of a server, some at once, repeated where they fail in passing.
 *
 * Refused and broken connections are repeated with growing pauses, and so are the answers 429, 500, 502, 503 and 504,
 * after Retry-After where the answer has it (tensor/hub/retry.h). Redirects are not followed. */
#ifndef QK_EVAL_ENGINE_REQUESTS_H
#define QK_EVAL_ENGINE_REQUESTS_H

#include "base/progress.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_requests {
    const char *url;
    const char *key; /* for "Authorization: Bearer", or NULL */
    int parallel;    /* at once; at least 1 */
    double seconds;  /* the longest wait for one answer; 0: no limit */
    void *context;
    /* *out = the JSON to post for request i; the requests free it. NULL: GET. */
    enum qk_code (*body)(void *context, size_t i, char **out, struct qk_error *err);
    /* Takes the n bytes of a good answer (status 200). Where *again is set, the answer is broken, and the request is
     * repeated; `err` then says why. */
    enum qk_code (*done)(
        void *context, size_t i, const char *text, size_t n, bool *again, struct qk_error *err);
    /* Where request i comes from, "FILE:LINE", for messages. May be NULL. */
    void (*name)(void *context, size_t i, char *out, size_t size);
};

/* Loads libcurl for the process. The key of the API is OPENAI_API_KEY; *key is NULL without it. QK_USAGE when it is
 * not one word. */
enum qk_code qk_requests_start(const char **key, struct qk_error *err);
void qk_requests_stop(void);

/* *out = the address of http or https without a slash at its end; the caller frees. QK_USAGE for another text; `what`
 * begins the message. */
enum qk_code qk_requests_address(const char *what, const char *url, char **out, struct qk_error *err);

/* Makes n requests. After a failure no new one begins, but those that were sent may still end. QK_IO: the server
 * cannot be reached, refuses, or takes too long. The codes of body and done. QK_CANCELLED. */
enum qk_code qk_requests_run(
    const struct qk_requests *requests, size_t n, struct qk_progress *progress, struct qk_error *err);

#endif
