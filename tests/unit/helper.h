/* helper.h - the shared part of the unit tests: paths of the data, temporary folders, files made from a few words,
 * and checks of failures by the words of their message. */
#ifndef QK_TESTS_UNIT_HELPER_H
#define QK_TESTS_UNIT_HELPER_H

/* cmocka.h wants these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* cmocka's own prints "not ok" for a test left out, which Automake counts as a failure. */
#undef skip
/* Ends a test whose rest cannot run on this machine or in this build, and prints why. */
#define not_here(why)                                                                                        \
    do {                                                                                                     \
        print_message("# not run: %s\n", why);                                                               \
        return;                                                                                              \
    } while (0)

#include "base/error.h"
#include "forward/attention.h"
#include "model/pair.h"

#include <stdbool.h>

enum { PATH_SIZE = 4096 };

/* "ROOT/name" for tests/data and for the demo pair; both return out. */
char *data_path(char out[PATH_SIZE], const char *name);
char *demo_path(char out[PATH_SIZE], const char *name);
/* The same of any trained pair: "tiny-hypenet", "tiny-jet-nemotron". */
char *trained_path(char out[PATH_SIZE], const char *pair, const char *name);
/* The families that there are checkpoints of: hypenet is the demo pair, the others are fixtures. */
enum { N_FAMILIES = 15 };
extern const char *const FAMILIES[N_FAMILIES];
struct qk_pair *open_family(const char *family);

/* QK_TEST_BRIEF is set: another build runs the same tests in full (scripts/test), so that a few of many alike do. */
bool test_is_brief(void);

/* row (t0 + i + 1) = the attention of the map's row i; zeros before its window. */
void map_row(const struct qk_attention_map *map, size_t i, float *row);

/* "FOLDER/name"; returns out. */
char *path_in(char out[PATH_SIZE], const char *folder, const char *name);

/* Setup and teardown of a test that wants a folder of its own: *state is its path, gone afterwards. */
int scratch_setup(void **state);
int scratch_teardown(void **state);
#define test_in_folder(function) cmocka_unit_test_setup_teardown(function, scratch_setup, scratch_teardown)

/* A folder (and its parents below an existing one). */
void make_folder(const char *path);
/* Removes a file or a folder with all that is in it. */
void remove_all(const char *path);

void write_bytes(const char *path, const void *bytes, size_t n);
void write_text(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The whole file, with a NUL behind it; the caller frees. n may be NULL. */
char *read_bytes(const char *path, size_t *n);

/* A tensor to be written. values: one number an element, converted to the dtype (a writable one); NULL: bytes
 * of a fixed pseudo-random stream, for floats of F64 F32 F16 BF16 numbers of -0.5 to 0.5. */
struct test_tensor {
    const char *name, *dtype;
    int n_dims;
    uint64_t shape[4];
    const double *values;
};
/* A well-formed file of these tensors, in this order; `seed` starts the stream. */
void write_safetensors(const char *path, const struct test_tensor *tensors, size_t n, uint64_t seed);
/* A file of this header text (its true length before it) and n bytes of data. */
void write_header(const char *path, const char *header, size_t n_data);

/* FOLDER with a llama of some layers: 2 query heads and 1 key head of 4 rows, width 6, F32, named PREFIX i.;
 * another seed gives other weights. */
void write_llama(const char *folder, const char *prefix, int layers, uint64_t seed);

/* A fixed 64-bit generator (Steele, Lea, Flood 2014), so that every run sees the same numbers. */
uint64_t random_bits(uint64_t *state);
/* In [-1, 1). */
double random_uniform(uint64_t *state);

/* Fails the test with the message when the call did not succeed. */
void expect_ok(enum qk_code code, const struct qk_error *err);
/* Fails the test unless the call failed with this code and a message that holds every word of `words`
 * (separated by '|'). */
void expect_failure(enum qk_code code, const struct qk_error *err, enum qk_code expected, const char *words);

#endif
