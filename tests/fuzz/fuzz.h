/* fuzz.h - the parts of a fuzz target: one function, the inputs to start from, and words that get it further.
 *
 * Linked with driver.c a target is a test of some thousand fixed inputs (make check). Configured with --enable-fuzzing
 * it is linked with a fuzzer, which looks for new ones. A target may abort on what must never be, and must not leak. */
#ifndef QK_TESTS_FUZZ_FUZZ_H
#define QK_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_seed {
    const char *bytes;
    size_t n;
};
/* Of a string literal, which may hold NUL characters. */
#define FUZZ_SEED(text)                                                                                      \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }
extern const char fuzz_name[];
extern const struct fuzz_seed fuzz_seeds[];
extern const size_t n_fuzz_seeds;
extern const char *const fuzz_words[]; /* ends with NULL */

/* Prints the words in the language of the fuzzers' dictionaries ("--words"), or writes the seeds as files into the
 * folder `argument`. Returns an exit status. */
int fuzz_start(const char *argument);

/* Aborts with the message: the target found something that must never be. */
void fuzz_check(int holds, const char *what);

/* A folder that is gone when the process ends as it should; the user's own layouts are out of reach. */
const char *fuzz_folder(void);
/* Writes a file there, over one of that name. */
void fuzz_write_file(const char *name, const void *bytes, size_t n);
/* Removes a file or a folder with all that is in it; the path lies in fuzz_folder. */
void fuzz_remove(const char *path);
/* Writes a safetensors file of this header there; it is as long as the header's last offset says, and sparse. */
void fuzz_write_weights(const char *name, const char *header, size_t n);
/* Writes an input as two files: JSON up to its first NUL, and weights whose header is what stands behind it. */
void fuzz_write_pair(const char *config, const char *weights, const char *text, size_t size);
/* Makes two pairs there. run/pre and run/post: four layers, the outer ones linear and the inner ones full, a
 * forward pass, a tokenizer of bytes, run/ids for a probe, and run/cases. mixed/pre and mixed/post: q and k
 * in layers 1, 3 and 5 of six, those of 5 of different shapes, and no forward pass. */
void fuzz_write_pairs(void);

#endif
