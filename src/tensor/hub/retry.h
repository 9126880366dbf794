/* retry.h - the repetition of requests: which answers are repeated, and after what pause. */
#ifndef QK_TENSOR_HUB_RETRY_H
#define QK_TENSOR_HUB_RETRY_H

#include "base/error.h"

#include <stdbool.h>

enum { QK_RETRY_USUAL = 6, QK_RETRY_MOST_WAIT = 120 /* seconds that a server may ask for */ };

/* *out = the number in QKSCOPE_RETRIES, else QK_RETRY_USUAL. QK_USAGE when it is none from 0 to 100. */
enum qk_code qk_retry_limit(int *out, struct qk_error *err);

/* True for the answers of a server that may be another one later: 429, 500, 502, 503 and 504. */
bool qk_retry_status(long status);

/* The seconds of a Retry-After header, a number or a date: at most QK_RETRY_MOST_WAIT + 1, or -1 for another text.
 * libcurl is loaded. */
long qk_retry_after(const char *text);

/* Milliseconds of the pause behind so many failures: doubled each time, up to half a minute, and between three and five
 * quarters of that, so that many clients do not retry at once. `wait` seconds (-1: none) at least. */
long qk_retry_pause(int failures, long wait);

#endif
