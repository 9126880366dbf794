/* actions.h - the one table of what a user can do: keys, help, footer and manual all come from it. */
#ifndef QK_UI_ACTIONS_H
#define QK_UI_ACTIONS_H

#include "ui/action_list.h"

#include <stddef.h>

struct qk_action_info {
    const char *name;  /* for the ":" line: "undo", "export" */
    const char *group; /* heading of help and manual: "Layers", "Choices" ... */
    const char *keys;  /* separated by blanks: "u", "Ctrl-R", "Space" */
    const char *hint;  /* footer word(s), short; "" without a place there */
    const char *help;  /* one sentence without a full stop */
};

/* Row i of the table in the order of groups; NULL past the end. */
const struct qk_action_info *qk_action_info(int i);

/* --- for the screen itself --- */

enum action {
#define X(id, ...) ACTION_##id,
    QK_ACTIONS(X)
#undef X
        ACTION_COUNT,
    ACTION_NONE = -1
};

enum screen_id {
#define X(id, ops) SCREEN_##id,
    QK_SCREENS(X)
#undef X
        SCREEN_COUNT
};

/* Where an action acts: a bit for each row of QK_SCREENS. */
enum {
#define X(id, ops) ON_##id = 1 << SCREEN_##id,
    QK_SCREENS(X)
#undef X
        ON_TEXT = ON_HELP | ON_MESSAGES,
    ON_LAYERS = ON_LIST | ON_DETAIL,
    ON_CHOOSING = ON_LAYERS | ON_ATTENTION | ON_MAP, /* choices can be made */
    ON_UNDOING = ON_CHOOSING | ON_EVAL | ON_SUGGEST | ON_COMPARE,
    ON_ALL = (1 << SCREEN_COUNT) - 1
};

/* Preconditions of an action: a bit for each row of QK_PRECONDITIONS. */
enum precondition {
#define X(id, ...) PRECONDITION_##id,
    QK_PRECONDITIONS(X)
#undef X
        PRECONDITION_COUNT
};
enum {
#define X(id, ...) NEEDS_##id = 1 << PRECONDITION_##id,
    QK_PRECONDITIONS(X)
#undef X
};

struct action_traits {
    int rank;             /* place in the footer, 0: none */
    const char *argument; /* NULL: takes none; "[X]": may take one */
    unsigned where, needs;
};
const struct action_traits *action_traits(enum action action);

/* The n-th (from 0) action of the key on these screens, or ACTION_NONE. The second one counts where the needs of the
 * first are not met. */
enum action action_of_key(int key, unsigned where, int n);
/* The action of that name on these screens (else on any), or ACTION_NONE. */
enum action action_of_name(const char *name, size_t length, unsigned where);
/* Length of the first key's name in the action's keys; 0 when it has no key. */
int action_first_key(enum action action);

#endif
