/* rope_tables.h - the angles of rotary positions that several layers share. */
#ifndef QK_FORWARD_ROPE_TABLES_H
#define QK_FORWARD_ROPE_TABLES_H

#include "base/error.h"

#include <stddef.h>

struct qk_layer_weights; /* forward/layer.h */

/* Angles that several layers share; zero-initialise. */
struct qk_rope_tables {
    struct {
        float *frequency, *cosines, *sines;
        size_t pairs, positions;
        float factor;
    } table[4];
    size_t n;
};
/* Returns cos and sin (positions, pairs) of a layer. It makes them when no layer before it had the same frequencies
 * for as many positions. NULL without RoPE. */
enum qk_code qk_rope_tables_find(struct qk_rope_tables *tables, const struct qk_layer_weights *weights,
    size_t positions, const float **cosines, const float **sines, struct qk_error *err);
void qk_rope_tables_free(struct qk_rope_tables *tables);

#endif
