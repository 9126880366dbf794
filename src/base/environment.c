/* environment.c - variables that are other ones for a while, and numbers in variables. */
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

enum qk_code qk_environment_number(const char *name, long least, long most, int *out, struct qk_error *err)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || text[0] == '\0')
        return QK_OK;
    long value = strtol(text, &end, 10);
    if (*end != '\0' || value < least || value > most)
        return qk_fail(err, QK_USAGE, "%s: not a number in range (found '%s', expected %ld to %ld)", name,
            text, least, most);
    *out = (int)value;
    return QK_OK;
}
