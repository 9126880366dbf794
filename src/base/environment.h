/* environment.h - variables of the environment: numbers in them, and those that a library reads while it is loaded. */
#ifndef QK_BASE_ENVIRONMENT_H
#define QK_BASE_ENVIRONMENT_H

#include "base/error.h"

/* Sets a variable where value is not NULL. Returns what it was, or NULL without one, for qk_environment_put_back. */
char *qk_environment_replace(const char *name, const char *value);
/* Sets the variable to `value`, which is freed, or removes it where that is NULL. */
void qk_environment_put_back(const char *name, char *value);

/* *out = the variable's number; it stays as it was where the variable is not set, or empty. QK_USAGE when the text is
 * no number from least to most. */
enum qk_code qk_environment_number(const char *name, long least, long most, int *out, struct qk_error *err);

#endif
