/* mem.h - checked allocation: zeroed and overflow-tested, with errors through struct qk_error. */
#ifndef QK_BASE_MEM_H
#define QK_BASE_MEM_H

#include "base/error.h"

#include <stddef.h>

/* *out = zeroed array of n elements of `size` bytes (n = 0 gives a valid, freeable pointer).
 * The caller frees with free(). Fails with QK_IO on overflow or exhaustion, *out = NULL then. */
enum qk_code qk_alloc(void *out, size_t n, size_t size, struct qk_error *err);

/* Like qk_alloc, aligned to 64 bytes and not zeroed: for numeric buffers. From 4 MiB on they are aligned to 2 MiB and
 * in huge pages, where the kernel has some. free() frees it. */
enum qk_code qk_alloc_aligned(void *out, size_t n, size_t size, struct qk_error *err);

/* Called once at the start: big arrays that are freed stay with the process for the next layer, up to 256 MiB. Fresh
 * pages would cost a pass up to a fifth of its time in the kernel. */
void qk_keep_pages(void);

/* Makes the array at *array (*capacity elements of `size` bytes) hold at least `need` elements. It grows
 * geometrically, and new elements are zeroed. After a failure the old array stays valid. */
enum qk_code qk_grow(void *array, size_t *capacity, size_t need, size_t size, struct qk_error *err);

/* *out = copy of text (n bytes of it for qk_strndup_to), NUL-terminated; the caller frees. */
enum qk_code qk_strdup_to(char **out, const char *text, struct qk_error *err);
enum qk_code qk_strndup_to(char **out, const char *text, size_t n, struct qk_error *err);

#endif
