/* fused.h - the order of fused rows that only a file's scales tell: one [q; k; v], or one for each part of a model that
 * was split over devices. */
#ifndef QK_MODEL_FUSED_H
#define QK_MODEL_FUSED_H

#include "model/build.h"

/* Reads into how many parts the file's tensors were split, and whether its fused tensors hold q, k and v part by part.
 * Blocks of scales begin anew in each part. So the rows of scales over q, k and v of any layer may tell the two orders
 * apart, and they hold for all layers. Sets the model's n_parts and fused. QK_INPUT when the number of parts is out of
 * range. */
enum qk_code qk_fused_read(struct qk_builder *b, struct qk_error *err);

/* The word for the order of the mixer's rows, with "block" or "parts" in place of "by_scales"; NULL where the scales do
 * not tell which. */
const char *qk_fused_rows(const struct qk_model *model, const cJSON *mixer, const struct qk_config *config);

/* Sets the layer's problem: its order is not known. */
enum qk_code qk_fused_refuse(
    const struct qk_builder *b, struct qk_layer *layer, const cJSON *mixer, struct qk_error *err);

#endif
