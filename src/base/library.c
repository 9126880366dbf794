/* library.c - shared libraries over dlopen. */
#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

bool qk_library_find(void *library, const struct qk_symbol *symbol)
{
    void *found = dlsym(library, symbol->name);
    memcpy(symbol->pointer, &found, sizeof found); /* C has no cast from an object to a function */
    return found != NULL;
}

enum qk_code qk_library_open(void **library, const char *file, bool global, const struct qk_symbol *symbol,
    size_t n, struct qk_error *err)
{
    *library = dlopen(file, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
    if (*library == NULL)
        return qk_fail(err, QK_IO, "cannot load a library: %s", dlerror());
    for (size_t i = 0; i < n; i++)
        if (!qk_library_find(*library, &symbol[i])) {
            qk_library_close(library);
            return qk_fail(err, QK_IO, "%s: the library has no function %s: install another version of it",
                file, symbol[i].name);
        }
    return QK_OK;
}

void qk_library_close(void **library)
{
    if (*library != NULL)
        dlclose(*library);
    *library = NULL;
}
