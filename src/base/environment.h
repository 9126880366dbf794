/* environment.h - variables of the environment that libraries read while they are loaded. */
#ifndef QK_BASE_ENVIRONMENT_H
#define QK_BASE_ENVIRONMENT_H

/* Sets a variable where value is not NULL. Returns what it was, or NULL without one, for qk_environment_put_back. */
char *qk_environment_replace(const char *name, const char *value);
/* Sets the variable to `value`, which is freed, or removes it where that is NULL. */
void qk_environment_put_back(const char *name, char *value);

#endif
