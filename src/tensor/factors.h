/* factors.h - the factors of a low-rank change as float64, kept between the reads of one tensor. A weight is read a
 * few rows at a time, and each row takes the whole of lora_A. */
#ifndef QK_TENSOR_FACTORS_H
#define QK_TENSOR_FACTORS_H

#include "base/error.h"
#include "tensor/file.h"

#include <stdbool.h>

/* The limit in bytes for the values that are kept, including those in use. */
enum { QK_FACTORS_MAX = 64 << 20 };

struct qk_factor_cache;

struct qk_factors {
    double *a, *b; /* in the shapes of their tensors, all finite */
};

/* *out is freed with qk_factor_cache_free, after every release. */
enum qk_code qk_factor_cache_new(struct qk_factor_cache **out, struct qk_error *err);
void qk_factor_cache_free(struct qk_factor_cache *cache);

/* *out = the two tensors of `file`, which must be readable, as numbers, from the cache or the file. They stay until
 * qk_factors_release. QK_INPUT names a tensor with a value that is not finite. Thread-safe. */
enum qk_code qk_factors_hold(struct qk_factor_cache *cache, const struct qk_tensor_file *file,
    const struct qk_tensor *a, const struct qk_tensor *b, const struct qk_factors **out,
    struct qk_error *err);
/* Releases the factors. With `again`, another read of the same is likely, and the cache keeps them. Thread-safe. */
void qk_factors_release(struct qk_factor_cache *cache, const struct qk_factors *factors, bool again);

/* *out = n elements of a readable tensor from `first` on; the caller frees. QK_INPUT when one is not finite. */
enum qk_code qk_finite_read(const struct qk_tensor_file *file, const struct qk_tensor *tensor, uint64_t first,
    size_t n, double **out, struct qk_error *err);

#endif
