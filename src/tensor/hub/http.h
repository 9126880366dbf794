/* http.h - files over HTTP: their size and identity, and ranges of their bytes, with retries.
 *
 * A process has one client, between qk_http_start and qk_http_stop. Any thread may call its functions, and at most
 * QK_HTTP_CONNECTIONS requests run at a time. Refused, broken and stalled connections are retried with growing
 * pauses. So are the answers 429, 500, 502, 503 and 504, after Retry-After where the answer has it. A broken transfer
 * goes on where it broke, and only failures without progress in between count. This module follows redirects, not
 * libcurl. The token goes to the endpoint's scheme, host and port alone, and no redirect leads from https to http.
 * Messages name the address. QK_IO: the network, answers that refuse, and requests
 * that take too long. QK_INPUT: invalid answers. QK_CANCELLED. */
#ifndef QK_TENSOR_HUB_HTTP_H
#define QK_TENSOR_HUB_HTTP_H

#include "base/error.h"
#include "base/progress.h"

#include <stdbool.h>
#include <stdint.h>

enum { QK_HTTP_CONNECTIONS = 8, QK_HTTP_IDENTITY = 256, QK_HTTP_COMMIT = 65 };

/* The state of a file at its first request. */
struct qk_http_file {
    const char *url; /* borrowed; all its characters are allowed in a URL */
    uint64_t size;
    char identity[QK_HTTP_IDENTITY]; /* X-Linked-ETag of a hub, else ETag, else Last-Modified */
    char commit[QK_HTTP_COMMIT];     /* X-Repo-Commit of a hub: the commit of the revision; "" without it */
};

/* How often a failed request is repeated, and how long a request may take with redirects, repetitions and pauses. */
struct qk_http_limits {
    int retries, seconds;
};

/* Starts the client, before any thread starts. `endpoint`: http or https, a host, perhaps a port and a path, and no
 * slash at the end; QK_USAGE otherwise. `token`: for "Authorization: Bearer", or NULL; QK_USAGE when it is not one
 * word. Both are copied. */
enum qk_code qk_http_start(
    const char *endpoint, const char *token, struct qk_http_limits limits, struct qk_error *err);
void qk_http_stop(void); /* nothing where it was not started */

/* The cancel flag of this progress ends running and future requests with QK_CANCELLED; NULL: no cancelling. */
void qk_http_watch(struct qk_progress *progress);

/* Fills in size, identity and commit of file->url; *found = false when it does not exist (404). */
enum qk_code qk_http_examine(struct qk_http_file *file, bool *found, struct qk_error *err);

/* Receives n bytes at `offset` of the file; any code but QK_OK ends the transfer with it. */
typedef enum qk_code qk_http_sink(
    void *context, uint64_t offset, const void *bytes, size_t n, struct qk_error *err);

/* Passes bytes [begin, end) of the file to the sink, in order and each once. 0 <= begin < end <= file->size. An
 * answer with other bytes, or from another file than was examined, is refused before the sink gets any of it. */
enum qk_code qk_http_get(const struct qk_http_file *file, uint64_t begin, uint64_t end, qk_http_sink *sink,
    void *context, struct qk_error *err);

/* Bytes of content received, including repeated ones, and requests answered. */
void qk_http_traffic(uint64_t *bytes, uint64_t *requests);

#endif
