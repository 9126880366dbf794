/* rope.h - the rotary frequencies of a layer, scaled for long contexts as its config says. */
#ifndef QK_MODEL_ROPE_H
#define QK_MODEL_ROPE_H

#include "model/model.h"

/* Fills frequency[j], rotary_dims / 2 values, of a layer with rotary positions and T tokens: theta^(-2j / rope_width),
 * scaled. *factor multiplies cosines and sines. *score multiplies the scores of latent attention besides (DeepSeek-AI
 * 2024), and is 1 elsewhere. The scalings are linear (Chen et al. 2023), dynamic (bloc97 2023), llama3 (Grattafiori et
 * al. 2024), YaRN (Peng et al. 2023) and longrope (Ding et al. 2024); proportional turns the first pairs alone. The
 * frequencies of dynamic and longrope depend on T. QK_INPUT for another scaling, and for numbers that are missing or
 * out of range. */
enum qk_code qk_rope_scaled(const struct qk_config *config, const struct qk_layer *layer, size_t T,
    double *frequency, double *factor, double *score, struct qk_error *err);

#endif
