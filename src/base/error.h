/* error.h - the one error idiom: functions return a code, and the detecting function writes the text.
 *
 * The function that detects a fault calls qk_fail() with the whole message ("FILE: TENSOR: what is wrong (found X,
 * expected Y)"). Every caller returns the code unchanged (QK_TRY). Only main prints, only main exits, and the codes
 * are its exit codes. */
#ifndef QK_BASE_ERROR_H
#define QK_BASE_ERROR_H

#include <stddef.h>

enum qk_code {
    QK_OK = 0,
    QK_DIFFERS = 1,     /* a check found a difference */
    QK_USAGE = 2,       /* wrong command line, --set, choice or parameter */
    QK_INPUT = 3,       /* the content of a file is wrong */
    QK_IO = 4,          /* the operating system refused: open, read, write, memory, threads */
    QK_CANCELLED = 130, /* the user asked to stop */
};

enum { QK_ERROR_TEXT = 1024 };

/* Owned by the caller of the outermost function; text is "" until a failure. */
struct qk_error {
    enum qk_code code;
    char text[QK_ERROR_TEXT];
};

/* Writes the message (control characters made visible, cut at QK_ERROR_TEXT) and returns `code`.
 * err may be NULL: then only the code is returned. */
enum qk_code qk_fail(struct qk_error *err, enum qk_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The message, or NULL when there was no failure; borrowed. */
const char *qk_error_text(const struct qk_error *error);

/* Writes "PATH: cannot VERB: strerror(errno)"; returns QK_IO, also for EINTR. */
enum qk_code qk_fail_errno(struct qk_error *err, const char *path, const char *verb);

/* Writes "out of memory (N bytes)"; returns QK_IO. */
enum qk_code qk_fail_memory(struct qk_error *err, size_t bytes);

/* Writes "interrupted"; returns QK_CANCELLED. */
enum qk_code qk_fail_cancelled(struct qk_error *err);

#define QK_TRY(call)                                                                                         \
    do {                                                                                                     \
        enum qk_code qk_try_code = (call);                                                                   \
        if (qk_try_code != QK_OK)                                                                            \
            return qk_try_code;                                                                              \
    } while (0)

#endif
