/* group.c - the path of a control group. */
#include "base/group.h"

#include <stdio.h>
#include <string.h>

bool qk_group_read(const char *groups, char *path, size_t size)
{
    FILE *file = fopen(groups, "r");
    bool found = false;
    while (file != NULL && !found && fgets(path, (int)size, file) != NULL)
        found = strncmp(path, "0::", 3) == 0;
    if (file != NULL)
        fclose(file);
    if (!found)
        return false;
    path[strcspn(path, "\n")] = '\0';
    memmove(path, path + 3, strlen(path + 3) + 1);
    return true;
}

bool qk_group_up(char *path)
{
    char *end = strrchr(path, '/');
    if (end == NULL)
        return false;
    *end = '\0';
    return true;
}
