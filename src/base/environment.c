/* environment.c - variables that are other ones for a while. */
#include "base/environment.h"

#include <stdlib.h>
#include <string.h>

char *qk_environment_replace(const char *name, const char *value)
{
    const char *before = getenv(name);
    char *kept = before != NULL ? strdup(before) : NULL;
    if (value != NULL)
        setenv(name, value, 1);
    return kept;
}

void qk_environment_put_back(const char *name, char *value)
{
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
    free(value);
}
