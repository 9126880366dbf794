/* names.h - the tensor names of a checkpoint without what trainers and adapters wrap around them,
 * and where its layers are.
 *
 * These parts are removed wherever they stand between dots: _orig_mod, _fsdp_wrapped_module,
 * _checkpoint_wrapped_module, _forward_module, base_layer, student_model, student_layer, modules_to_save. So is the
 * name of an adapter behind lora_A, lora_B, lora_embedding_A, lora_embedding_B and modules_to_save ("default"). In
 * front these are: module, base_model.model, all but one of several "model"s. Names with a part teacher_... or
 * original_module are left out. */
#ifndef QK_TENSOR_NAMES_H
#define QK_TENSOR_NAMES_H

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
    char *
        prefix; /* the text before the layer number in plain names: "model.layers."; NULL without one; owned */
    int n_layers; /* highest layer number plus one */
};

/* Reads the names of a checkpoint, which must outlive them. QK_INPUT when two names differ by wrappers
 * alone, or when no name has a layer number. Freed with qk_names_close. */
enum qk_code qk_names_open(
    const struct qk_checkpoint *checkpoint, struct qk_names *names, struct qk_error *err);
/* The same, also without layers: then there is no prefix. */
enum qk_code qk_names_open_any(
    const struct qk_checkpoint *checkpoint, struct qk_names *names, struct qk_error *err);
void qk_names_close(struct qk_names *names);

/* The tensor of that plain name, or NULL. */
const struct qk_tensor *qk_names_plain(const struct qk_names *names, const char *plain);
/* The number of the layer to which a plain name belongs, or -1. */
int qk_names_layer(const struct qk_names *names, const char *plain);

/* The tensor "PREFIX LAYER . below suffix", or NULL. With "*.rest" for below: the one tensor of the layer
 * that ends in ".rest suffix", NULL when there are several. */
const struct qk_tensor *qk_names_find(
    const struct qk_names *names, int layer, const char *below, const char *suffix);
/* The names below a layer, *n of them; none when no layer has that number. */
const struct qk_name *qk_names_of_layer(const struct qk_names *names, int layer, size_t *n);
/* The tensor "name suffix" beside the layers, else the next one outwards to the root, or NULL. There is a prefix. */
const struct qk_tensor *qk_names_outwards(const struct qk_names *names, const char *name, const char *suffix);
/* The length of the first n characters of a prefix without their last part: that of "model." in "model.layers.". */
size_t qk_names_outer(const char *prefix, size_t n);
/* The end of a plain name behind those parts in front that it shares with the prefix: "norm.weight" of
 * "model.norm.weight". */
const char *qk_names_inner(const struct qk_names *names, const char *plain);

/* The tensor that has the place of `plain`, a plain name of `from`, or NULL: the same name, else what follows the
 * layers' prefix. The classes of one model differ in this prefix. */
const struct qk_tensor *qk_names_match(
    const struct qk_names *names, const struct qk_names *from, const char *plain);

#endif
