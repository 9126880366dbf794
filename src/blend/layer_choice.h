/* layer_choice.h - the choices of a layer: one for each role, or one for each head of it. */
#ifndef QK_BLEND_LAYER_CHOICE_H
#define QK_BLEND_LAYER_CHOICE_H

#include "blend/choice.h"

struct qk_head_choices; /* one for each head; copies of a layer's choices share it, and it never changes */

/* The form is canonical: `head` is NULL where all heads of a role agree, and `role` is keep where they do not. A
 * literal {.role = {q, k}} needs no free. */
struct qk_layer_choice {
    struct qk_choice role[QK_ROLE_COUNT];        /* of every head of the role */
    struct qk_head_choices *head[QK_ROLE_COUNT]; /* NULL: `role` holds for every head; owned in part */
};

/* A copy, which costs no memory and cannot fail. Freed with qk_layer_choice_free. Thread-safe. */
struct qk_layer_choice qk_layer_choice_copy(const struct qk_layer_choice *choice);
void qk_layer_choice_free(struct qk_layer_choice *choice); /* leaves keep */
/* Frees what `to` held and makes it a copy of `from`, which may be the same. */
void qk_layer_choice_assign(struct qk_layer_choice *to, const struct qk_layer_choice *from);

/* Sets one choice for all heads of a role. */
void qk_layer_choice_set(struct qk_layer_choice *choice, enum qk_role role, struct qk_choice of);
/* Sets the choices of the n heads (n >= 1) of a role. QK_IO when there is no memory; then nothing changed. */
enum qk_code qk_layer_choice_set_heads(struct qk_layer_choice *choice, enum qk_role role,
    const struct qk_choice *of, int n, struct qk_error *err);

/* How many choices a role holds: 1 when its heads agree, else their number. */
int qk_layer_choice_count(const struct qk_layer_choice *choice, enum qk_role role);
/* The choice of a head. Where the heads agree every number names one. */
struct qk_choice qk_layer_choice_of(const struct qk_layer_choice *choice, enum qk_role role, int head);
/* True when some head of a role differs from another one. */
bool qk_layer_choice_by_head(const struct qk_layer_choice *choice);
/* True when every head is kept. */
bool qk_layer_choice_keeps(const struct qk_layer_choice *choice);
bool qk_layer_choice_equal(const struct qk_layer_choice *a, const struct qk_layer_choice *b);
/* True when every head of q and of k has the same choice. */
bool qk_layer_choice_alike(const struct qk_layer_choice *choice);

/* Writes a role's choice in words: "restore", or "q0-1 restore, q3 lerp 0.5" where its heads differ, without those that
 * are kept. What does not fit ends in "...". Returns out. */
enum { QK_ROLE_CHOICE_TEXT = 96 };
char *qk_layer_choice_text(
    char out[QK_ROLE_CHOICE_TEXT], const struct qk_layer_choice *choice, enum qk_role role);
/* How many heads of a role have choices of their own; 0 where they agree. */
int qk_layer_choice_singles(const struct qk_layer_choice *choice, enum qk_role role);
/* True when an earlier one of them, all of q's before k's, has the same choice as this one. */
bool qk_layer_choice_repeats(const struct qk_layer_choice *choice, enum qk_role role, int head);
/* How many heads of a role are not kept, where they differ; 0 where they agree. */
int qk_layer_choice_chosen(const struct qk_layer_choice *choice, enum qk_role role);
/* The mode of the role's first head that is not kept, else keep. */
enum qk_mode qk_layer_choice_mode(const struct qk_layer_choice *choice, enum qk_role role);

#endif
