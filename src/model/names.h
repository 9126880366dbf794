/* names.h - the tensor names of a checkpoint without what trainers and adapters wrap around them,
 * and where its layers are.
 *
 * These parts are removed wherever they stand between dots: _orig_mod, _fsdp_wrapped_module,
 * _checkpoint_wrapped_module, base_layer, student_model, student_layer. In front these are: module, base_model.model,
 * all but one of several "model"s. Names with a part teacher_... are left out. */
#ifndef QK_MODEL_NAMES_H
#define QK_MODEL_NAMES_H

#include "base/error.h"
#include "tensor/checkpoint.h"

#include <stdbool.h>
#include <stddef.h>

enum { QK_MAX_LAYERS = 1 << 16 };

struct qk_name {
    char *plain; /* the name without wrappers; owned */
    const struct qk_tensor *tensor;
};
struct qk_names {
    struct qk_name *name; /* n, sorted by strcmp of plain */
    size_t n;
    char *prefix; /* the text before the layer number in plain names: "model.layers."; owned */
    int n_layers; /* highest layer number plus one */
};

/* Reads the names of a checkpoint, which must outlive them. QK_INPUT when two names differ by wrappers alone, or when
 * no name has a layer number. */
enum qk_code qk_names_open(
    const struct qk_checkpoint *checkpoint, struct qk_names *names, struct qk_error *err);
void qk_names_close(struct qk_names *names);

/* The tensor "PREFIX LAYER . below suffix", or NULL. With "*.rest" for below: the one tensor of the layer
 * that ends in ".rest suffix", NULL when there are several. */
const struct qk_tensor *qk_names_find(
    const struct qk_names *names, int layer, const char *below, const char *suffix);

#endif
