/* models.h - models made of the fixtures and the demo pair by changing a name, a shape or a setting. */
#ifndef QK_TESTS_UNIT_MODELS_H
#define QK_TESTS_UNIT_MODELS_H

#include "helper.h"

#include "forward/forward.h"

/* FOLDER with a copy of a family's side (hypenet: the demo pair's) whose tensor file has `from` (NULL:
 * nothing) replaced once by `to`, of the same length. */
void copy_model(const char *family, const char *side, const char *folder, const char *from, const char *to);
/* FOLDER/pre and FOLDER/post: gemma3_text with attention in both directions, which has rotary positions and no forward
 * pass. */
void copy_pair_without_pass(const char *folder);
/* Sets a key of FOLDER/config.json to a JSON text. */
void set_config(const char *folder, const char *key, const char *value);

/* Some token ids of every model's vocabulary. */
enum { N_IDS = 40, VOCABULARY = 128, MOST_VOCABULARY = 260 };
void make_ids(int32_t ids[N_IDS]);
/* Width of a row of the model's logits. */
size_t vocabulary_of(const struct qk_model *model);
/* Logits (N_IDS, the model's vocabulary) of the model at FOLDER; the caller frees. */
float *logits_of(const char *folder, const struct qk_patch *patch);
/* The pass over the model at FOLDER fails with these words. */
void expect_refused(const char *folder, const char *words);

/* Halves the values of a tensor, for a patch. */
void halve_values(const struct qk_tensor *tensor, void *bytes);

/* The largest difference, as a part of the largest entry; infinite when something found is not finite. */
double worst(const float *found, const float *expected, size_t n);

#endif
