/* library.h - shared libraries that are loaded when they are needed, and their functions. */
#ifndef QK_BASE_LIBRARY_H
#define QK_BASE_LIBRARY_H

#include "base/error.h"

#include <stdbool.h>

/* A function to be found. `pointer` is the address of the function pointer that receives it. */
struct qk_symbol {
    const char *name;
    void *pointer;
};

/* Loads a library by its shared name ("libz.so.1"), with all that it needs, and finds n functions. `global`: other
 * libraries that are loaded later find its functions before their own. *library stays loaded until
 * qk_library_close. QK_IO: it cannot be loaded, or lacks a function; *library is then NULL. */
enum qk_code qk_library_open(void **library, const char *file, bool global, const struct qk_symbol *symbol,
    size_t n, struct qk_error *err);

/* Finds one function more. False when the library lacks it; its pointer is then NULL. */
bool qk_library_find(void *library, const struct qk_symbol *symbol);

/* Unloads the library and sets *library to NULL; a NULL is left alone. */
void qk_library_close(void **library);

#endif
