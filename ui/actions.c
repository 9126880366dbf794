/* actions.c - the table of actions as data, and its look-ups. */
#include "ui/actions.h"

#include "ui/key.h"

#include <stdbool.h>
#include <string.h>

static const struct qk_action_info INFO[ACTION_COUNT] = {
#define X(id, group_, name_, keys_, rank_, hint_, help_, argument_, where_, needs_, run_)                    \
    {.name = name_, .group = group_, .keys = keys_, .hint = hint_, .help = help_},
    QK_ACTIONS(X)
#undef X
};

static const struct action_traits TRAITS[ACTION_COUNT] = {
#define X(id, group_, name_, keys_, rank_, hint_, help_, argument_, where_, needs_, run_)                    \
    {.rank = rank_, .argument = argument_, .where = where_, .needs = needs_},
    QK_ACTIONS(X)
#undef X
};

const struct qk_action_info *qk_action_info(int i)
{
    return i >= 0 && i < ACTION_COUNT ? &INFO[i] : NULL;
}

const struct action_traits *action_traits(enum action action)
{
    return &TRAITS[action];
}

static bool has_key(const char *keys, int key)
{
    while (*keys != '\0') {
        size_t n = strcspn(keys, " ");
        if (key_of_name(keys, n) == key)
            return true;
        keys += n + strspn(keys + n, " ");
    }
    return false;
}

enum action action_of_key(int key, unsigned where, int n)
{
    for (int i = 0; i < ACTION_COUNT; i++)
        if ((TRAITS[i].where & where) != 0 && has_key(INFO[i].keys, key) && n-- == 0)
            return (enum action)i;
    return ACTION_NONE;
}

enum action action_of_name(const char *name, size_t length, unsigned where)
{
    enum action elsewhere = ACTION_NONE;
    for (int i = 0; i < ACTION_COUNT; i++) {
        if (strlen(INFO[i].name) != length || strncmp(INFO[i].name, name, length) != 0)
            continue;
        if ((TRAITS[i].where & where) != 0)
            return (enum action)i;
        elsewhere = (enum action)i;
    }
    return elsewhere;
}

int action_first_key(enum action action)
{
    return (int)strcspn(INFO[action].keys, " ");
}
