/* verify.h - the comparison of an exported folder with its recipe, pre and post. */
#ifndef QK_EXPORT_VERIFY_H
#define QK_EXPORT_VERIFY_H

#include "base/progress.h"
#include "base/text.h"

/* Compares every file and every byte of an exported folder. Paths of pre and post come from the recipe unless given.
 * QK_DIFFERS with the first difference (file, tensor, byte) in err, and every differing tensor or file as a line of
 * `differences` (may be NULL). Blended values are compared with the recorded digest, and with a recomputation to one
 * unit in the last place: another BLAS kernel may round a tie the other way. progress counts bytes read. */
enum qk_code qk_verify(const char *folder, const char *pre, const char *post, struct qk_progress *progress,
    struct qk_lines *differences, struct qk_error *err);

#endif
