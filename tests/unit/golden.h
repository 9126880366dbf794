/* golden.h - the pass of a model beside what other software computed of it: hidden states, logits, attention maps. */
#ifndef QK_TESTS_UNIT_GOLDEN_H
#define QK_TESTS_UNIT_GOLDEN_H

#include "helper.h"

#include "model/model.h"

struct golden {
    struct qk_checkpoint *file;
    int32_t *ids;
    size_t T;
};

/* The tensor NAME.i (i < 0: NAME), or NULL. */
const struct qk_tensor *golden_tensor(const struct golden *golden, const char *name, int i);
/* Its values; the caller frees. */
float *golden_values(const struct golden *golden, const struct qk_tensor *tensor);
void open_golden(const char *path, struct golden *golden);
void close_golden(struct golden *golden);

/* The largest errors, as parts of the largest entry. */
struct comparison {
    double state, logits, map;
};
/* Raises `total` to the errors of the model's pass over the golden's ids. trained: the golden's last state is the
 * output of the last layer, else it follows the final norm. thinned: the golden holds some states and no maps. */
void compare_golden(const struct qk_model *model, const struct golden *golden, bool trained, bool thinned,
    struct comparison *total);

#endif
