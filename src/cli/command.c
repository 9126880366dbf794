/* command.c - the table of sub-commands. */
#include "cli/command.h"

#include <stddef.h>
#include <string.h>

#define POINTER(name) &qk_##name##_command,
static const struct qk_command *const COMMANDS[] = {QK_COMMANDS(POINTER) NULL};

const struct qk_command *qk_command_info(int i)
{
    return i >= 0 && (size_t)i < sizeof COMMANDS / sizeof COMMANDS[0] ? COMMANDS[i] : NULL;
}

const struct qk_command *qk_command_find(const char *name)
{
    for (int i = 1; COMMANDS[i] != NULL; i++)
        if (strcmp(COMMANDS[i]->name, name) == 0)
            return COMMANDS[i];
    return NULL;
}
