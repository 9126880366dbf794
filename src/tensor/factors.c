/* factors.c - the reader of factors, and the list of those that it keeps, the last one held first. */
#include "tensor/factors.h"

#include "base/mem.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

struct kept {
    struct qk_factors factors; /* first: callers hold a pointer to it */
    const struct qk_tensor *a; /* the tensors of these values */
    size_t bytes, users;
    struct kept *next;
};

struct qk_factor_cache {
    pthread_mutex_t mutex; /* guards the fields below and what they point to, except the values */
    struct kept *first;
    size_t bytes;
};

enum qk_code qk_factor_cache_new(struct qk_factor_cache **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    pthread_mutex_init(&(*out)->mutex, NULL);
    return QK_OK;
}

static void free_kept(struct kept *kept)
{
    free(kept->factors.a);
    free(kept->factors.b);
    free(kept);
}

void qk_factor_cache_free(struct qk_factor_cache *cache)
{
    if (cache == NULL)
        return;
    for (struct kept *kept = cache->first, *next; kept != NULL; kept = next) {
        next = kept->next;
        free_kept(kept);
    }
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

/* --- reading --- */

enum qk_code qk_finite_read(const struct qk_tensor_file *file, const struct qk_tensor *tensor, uint64_t first,
    size_t n, double **out, struct qk_error *err)
{
    size_t size = qk_dtype_bits(tensor->dtype) / 8;
    char *bytes;
    QK_TRY(qk_alloc_aligned(out, n, sizeof **out, err));
    enum qk_code code = qk_alloc_aligned(&bytes, n, size, err);
    if (code == QK_OK)
        code = qk_source_read(&file->source, tensor->offset + first * size, bytes, n * size, err);
    if (code == QK_OK) {
        qk_dtype_to_f64(tensor->dtype, bytes, n, *out);
        for (size_t i = 0; i < n && code == QK_OK; i++)
            if (!isfinite((*out)[i]))
                code = qk_fail(err, QK_INPUT, "%s: %s: holds a value that is not finite", file->source.path,
                    tensor->name);
    }
    free(bytes);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}

static enum qk_code read_both(const struct qk_tensor_file *file, const struct qk_tensor *a,
    const struct qk_tensor *b, struct kept **out, struct qk_error *err)
{
    size_t n_a = (size_t)(a->shape[0] * a->shape[1]), n_b = (size_t)(b->shape[0] * b->shape[1]);
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    **out = (struct kept){.a = a, .bytes = (n_a + n_b) * sizeof(double), .users = 1};
    enum qk_code code = qk_finite_read(file, a, 0, n_a, &(*out)->factors.a, err);
    if (code == QK_OK)
        code = qk_finite_read(file, b, 0, n_b, &(*out)->factors.b, err);
    if (code != QK_OK) {
        free_kept(*out);
        *out = NULL;
    }
    return code;
}

/* --- the list --- */

static void put_first(struct qk_factor_cache *cache, struct kept *kept)
{
    kept->next = cache->first;
    cache->first = kept;
}

/* Frees unused entries, the one held longest ago first, until the rest fits. */
static void trim(struct qk_factor_cache *cache)
{
    while (cache->bytes > QK_FACTORS_MAX) {
        struct kept **last = NULL;
        for (struct kept **at = &cache->first; *at != NULL; at = &(*at)->next)
            if ((*at)->users == 0)
                last = at;
        if (last == NULL)
            return;
        struct kept *kept = *last;
        *last = kept->next;
        cache->bytes -= kept->bytes;
        free_kept(kept);
    }
}

enum qk_code qk_factors_hold(struct qk_factor_cache *cache, const struct qk_tensor_file *file,
    const struct qk_tensor *a, const struct qk_tensor *b, const struct qk_factors **out, struct qk_error *err)
{
    struct kept *found, **at = &cache->first;
    pthread_mutex_lock(&cache->mutex);
    while (*at != NULL && (*at)->a != a)
        at = &(*at)->next;
    found = *at;
    if (found != NULL) {
        *at = found->next;
        put_first(cache, found);
        found->users++;
    }
    pthread_mutex_unlock(&cache->mutex);
    if (found ==
        NULL) { /* reads without the lock: two threads may read the same, and one of the two is trimmed */
        QK_TRY(read_both(file, a, b, &found, err));
        pthread_mutex_lock(&cache->mutex);
        put_first(cache, found);
        cache->bytes += found->bytes;
        trim(cache);
        pthread_mutex_unlock(&cache->mutex);
    }
    *out = &found->factors;
    return QK_OK;
}

void qk_factors_release(struct qk_factor_cache *cache, const struct qk_factors *factors, bool again)
{
    pthread_mutex_lock(&cache->mutex);
    struct kept **at = &cache->first;
    while (&(*at)->factors != factors)
        at = &(*at)->next;
    struct kept *kept = *at;
    if (--kept->users == 0 && !again) {
        *at = kept->next;
        cache->bytes -= kept->bytes;
        free_kept(kept);
    }
    trim(cache);
    pthread_mutex_unlock(&cache->mutex);
}
