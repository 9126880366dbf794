/* mem.c - checked allocation, with errors through struct qk_error. */
#include "base/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20, HUGE_FROM = 2 * HUGE_PAGE };

static enum qk_code total_bytes(size_t n, size_t size, size_t *bytes, struct qk_error *err)
{
    if (size != 0 && n > (SIZE_MAX - ALIGNMENT) / size)
        return qk_fail(err, QK_IO, "out of memory (%zu elements of %zu bytes)", n, size);
    *bytes = n * size == 0 ? 1 : n * size;
    return QK_OK;
}

enum qk_code qk_alloc(void *out, size_t n, size_t size, struct qk_error *err)
{
    size_t bytes = 0;
    void *block = NULL;
    enum qk_code code = total_bytes(n, size, &bytes, err);
    if (code == QK_OK && (block = calloc(1, bytes)) == NULL)
        code = qk_fail_memory(err, bytes);
    memcpy(out, &block, sizeof block);
    return code;
}

enum qk_code qk_alloc_aligned(void *out, size_t n, size_t size, struct qk_error *err)
{
    size_t bytes = 0;
    void *block = NULL;
    enum qk_code code = total_bytes(n, size, &bytes, err);
    if (code == QK_OK) {
        size_t alignment = bytes >= HUGE_FROM ? HUGE_PAGE : ALIGNMENT;
        bytes = (bytes + alignment - 1) / alignment * alignment;
        if ((block = aligned_alloc(alignment, bytes)) == NULL)
            code = qk_fail_memory(err, bytes);
        else if (alignment == HUGE_PAGE)
            madvise(block, bytes, MADV_HUGEPAGE); /* one fault for 512 pages, where the kernel can */
    }
    memcpy(out, &block, sizeof block);
    return code;
}

void qk_keep_pages(void)
{
    enum { KEPT = 256 << 20 };
    mallopt(M_ARENA_MAX, 1); /* else each of many threads keeps as much */
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, KEPT);
}

enum qk_code qk_grow(void *array, size_t *capacity, size_t need, size_t size, struct qk_error *err)
{
    if (need <= *capacity)
        return QK_OK;
    size_t wanted = *capacity < 8 ? 8 : *capacity, bytes = 0;
    while (wanted < need)
        wanted = wanted > SIZE_MAX / 2 ? need : wanted * 2;
    QK_TRY(total_bytes(wanted, size, &bytes, err));
    char *block;
    memcpy(&block, array, sizeof block);
    char *grown = realloc(block, bytes);
    if (grown == NULL)
        return qk_fail_memory(err, bytes);
    memset(grown + *capacity * size, 0, (wanted - *capacity) * size);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return QK_OK;
}

enum qk_code qk_strndup_to(char **out, const char *text, size_t n, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, n + 1, 1, err));
    memcpy(*out, text, n);
    return QK_OK;
}

enum qk_code qk_strdup_to(char **out, const char *text, struct qk_error *err)
{
    return qk_strndup_to(out, text, strlen(text), err);
}
