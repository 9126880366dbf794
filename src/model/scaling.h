/* scaling.h - the form of scales over the values of an 8-bit tensor. */
#ifndef QK_MODEL_SCALING_H
#define QK_MODEL_SCALING_H

#include "model/config.h"
#include "model/model.h"

/* Fills in how many rows and columns of `of` (rows, columns) share a number of scale->tensor. False when the two do not
 * fit: scales are one number, one for each row, one for each equal part of a row, or one for each block. Blocks may
 * begin anew in each of the model's parts. A tensor of three dimensions has such scales for each of its matrices, or
 * one number. */
bool qk_scaling_fit(const struct qk_model *model, const struct qk_tensor *of, struct qk_scaling *scale);

/* True when there is a number for each block of each of `parts` equal parts of the rows; both are matrices. */
bool qk_scaling_counts(const struct qk_config *config, const struct qk_tensor *of,
    const struct qk_tensor *numbers, uint64_t parts);

/* The rows of numbers over rows first .. first + n. False when they belong to other rows, too; of `rows` in all. */
bool qk_scaling_covers(const struct qk_scaling *scale, uint64_t first, uint64_t n, uint64_t rows);

/* The size of a block that the config says: dimension 0 rows, 1 columns. Else 128, as in DeepSeek's files. */
uint64_t qk_scaling_block(const struct qk_config *config, int dimension);

/* The row of numbers over a row, which counts on through the matrices. */
size_t qk_scaling_row(const struct qk_scaling *scale, uint64_t row);

/* The numbers over one row of `columns` values. */
size_t qk_scaling_per_row(const struct qk_scaling *scale, uint64_t columns);

#endif
