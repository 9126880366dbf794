/* steps.h - lists of simple steps, read from a tokenizer.json (steps_read.c) and carried out (steps.c). The
 * normalizer and pre_tokenizer act on text before the model sees it, and the decoder on tokens' text afterwards. */
#ifndef QK_TOKEN_STEPS_H
#define QK_TOKEN_STEPS_H

#include "base/error.h"
#include "base/json.h"
#include "token/pieces.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_step;
/* Zero-initialise. */
struct qk_steps {
    struct qk_step *step;
    size_t n, capacity;
};

/* These append the steps of one part, which may be null. QK_INPUT names the part that is not supported. Freed with
 * qk_steps_free, on failure too. */
enum qk_code qk_steps_read_normalizer(
    const char *path, const cJSON *part, struct qk_steps *steps, struct qk_error *err);
enum qk_code qk_steps_read_pre_tokenizer(
    const char *path, const cJSON *part, struct qk_steps *steps, struct qk_error *err);
enum qk_code qk_steps_read_decoder(
    const char *path, const cJSON *part, struct qk_steps *steps, struct qk_error *err);
void qk_steps_free(struct qk_steps *steps);

/* Applies the steps to every piece that is text, and replaces the list by the result. `inside`: the pieces are within
 * a text, so the steps for its two ends are left out. */
enum qk_code qk_steps_run(
    const struct qk_steps *steps, bool inside, struct qk_pieces *pieces, struct qk_error *err);

/* --- between the two files that make steps of this --- */

enum qk_step_kind {
    QK_STEP_NORMAL_FORM,
    QK_STEP_PREPEND,
    QK_STEP_PREFIX, /* prepend unless it is there */
    QK_STEP_REPLACE,
    QK_STEP_SPLIT,
    QK_STEP_TO_BYTES, /* GPT-2's: writes every byte as a character */
    QK_STEP_FROM_BYTES,
    QK_STEP_SPACES, /* Metaspace's decoder */
    QK_STEP_BYTE_FALLBACK,
    QK_STEP_FUSE,
    QK_STEP_STRIP
};

struct qk_pattern;
struct qk_step {
    enum qk_step_kind kind;
    struct qk_pattern *pattern; /* REPLACE, SPLIT; owned */
    char *text;                 /* PREPEND, PREFIX, REPLACE (with it), SPACES, STRIP; owned */
    int form;                   /* NORMAL_FORM: utf8proc's options */
    int split;                  /* SPLIT: enum qk_split */
    bool invert;                /* SPLIT */
    bool first;                 /* PREFIX: only where the text begins; SPACES: none there */
    size_t start, stop;         /* STRIP: at most so many */
};

/* The character that stands for the byte in GPT-2's alphabet, as UTF-8 in out; returns its length (1 or 2). */
size_t qk_byte_character(unsigned char byte, char out[2]);

#endif
