/* http.h - parts of files over HTTP: what a file is, and ranges of its bytes, with retries.
 *
 * One client a process, between qk_http_start and qk_http_stop; its functions may be called from any thread, and
 * at most QK_HTTP_CONNECTIONS requests are under way at a time. Tried again with growing pauses: refused, broken
 * and stalled connections, and the answers 429, 500, 502, 503 and 504, after Retry-After where one is told. A
 * transfer that broke goes on where it broke, and only failures without progress in between count. Redirects are
 * followed here and not by libcurl: the token goes to the endpoint's scheme, host and port alone, and from https
 * none leads to http. Messages name the address. QK_IO: the network, and answers that refuse; QK_INPUT: answers
 * that make no sense; QK_CANCELLED. */
#ifndef QK_TENSOR_HUB_HTTP_H
#define QK_TENSOR_HUB_HTTP_H

#include "base/error.h"
#include "base/progress.h"

#include <stdbool.h>
#include <stdint.h>

enum { QK_HTTP_CONNECTIONS = 8, QK_HTTP_IDENTITY = 256, QK_HTTP_COMMIT = 65 };

/* What a file was when it was first asked for. */
struct qk_http_file {
    const char *url; /* borrowed; all its characters are allowed in a URL */
    uint64_t size;
    char identity[QK_HTTP_IDENTITY]; /* X-Linked-ETag of a hub, else ETag, else Last-Modified */
    char commit[QK_HTTP_COMMIT]; /* X-Repo-Commit of a hub: what the revision stood for; "" when not told */
};

/* `endpoint`: http or https, a host, perhaps a port and a path, and no slash at the end; QK_USAGE otherwise.
 * `token`: what "Authorization: Bearer" tells it, or NULL; QK_USAGE when it is no word. `retries`: how often
 * a request that failed is tried again. Both are copied. Before any thread is started. */
enum qk_code qk_http_start(const char *endpoint, const char *token, int retries, struct qk_error *err);
void qk_http_stop(void);

/* Whose cancel flag ends what is under way and to come with QK_CANCELLED; NULL: nobody's. */
void qk_http_watch(struct qk_progress *progress);

/* Fills in size, identity and commit of file->url; *found = false when it is not there (404). */
enum qk_code qk_http_examine(struct qk_http_file *file, bool *found, struct qk_error *err);

/* Takes n bytes that lie at `offset` of the file; any other code than QK_OK ends the transfer with it. */
typedef enum qk_code qk_http_sink(
    void *context, uint64_t offset, const void *bytes, size_t n, struct qk_error *err);

/* Hands bytes [begin, end) of the file to the sink, in order and each once. 0 <= begin < end <=
 * file->size. An answer that holds other bytes than those, or of another file than was examined, is
 * refused before the sink sees any of it. */
enum qk_code qk_http_get(const struct qk_http_file *file, uint64_t begin, uint64_t end, qk_http_sink *sink,
    void *context, struct qk_error *err);

/* Bytes of content that came, repeated ones included, and requests that were answered. */
void qk_http_traffic(uint64_t *bytes, uint64_t *requests);

#endif
