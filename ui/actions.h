/* actions.h - the one table of what a user can do: keys, help, footer and manual all come from it. */
#ifndef QK_UI_ACTIONS_H
#define QK_UI_ACTIONS_H

#include "ui/action_list.h"

#include <stddef.h>

struct qk_action_info {
    const char *name;  /* for the ":" line: "undo", "export" */
    const char *group; /* heading of help and manual: "Layers", "Choices" ... */
    const char *keys;  /* for people, separated by blanks: "u", "Ctrl-R", "Space" */
    const char *hint;  /* footer word(s), short; "" when it has no place there */
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

/* Where an action acts. */
enum {
    ON_LIST = 1,
    ON_DETAIL = 2,
    ON_EXPORT = 4,
    ON_TEXT = 8,
    ON_ATTENTION = 16,
    ON_EVAL = 32,
    ON_LAYERS = ON_LIST | ON_DETAIL,
    ON_CHOOSING = ON_LAYERS | ON_ATTENTION, /* choices can be made */
    ON_ALL = ON_LAYERS | ON_ATTENTION | ON_EVAL | ON_EXPORT | ON_TEXT
};

/* What must be the case for it. */
enum {
    NEEDS_LAYER = 1, /* a row is selected */
    NEEDS_QK = 2,    /* and its layer (or a marked one) has q and k on both sides */
    NEEDS_PARAM = 4, /* and its mode has a parameter */
    NEEDS_UNDO = 8,  /* there is something to undo */
    NEEDS_REDO = 16,
    NEEDS_SEARCH = 32,       /* something has been searched for */
    NEEDS_NORM = 64,         /* some layer has q/k norms */
    NEEDS_WRITE = 128,       /* not --readonly */
    NEEDS_IDLE = 256,        /* no export or verification runs */
    NEEDS_TASK = 512,        /* one does */
    NEEDS_MANIFEST = 1024,   /* the export can be done */
    NEEDS_EXPORTED = 2048,   /* there is an export at the target */
    NEEDS_RANGE = 4096,      /* the selected layer has attention ranges */
    NEEDS_PROBE = 8192,      /* a pass over the probe text runs */
    NEEDS_FRONT = 16384,     /* a search has found a front */
    NEEDS_NO_SEARCH = 32768, /* no search runs */
    NEEDS_A_SEARCH = 65536   /* one does */
};

struct action_traits {
    int rank;             /* place in the footer, 0: none */
    const char *argument; /* NULL: takes none; "[X]": may take one */
    unsigned where, needs;
};
const struct action_traits *action_traits(enum action action);

/* The n-th (from 0) action that the key means on these screens, or ACTION_NONE. A key means a second action
 * where the first one's needs are not met. */
enum action action_of_key(int key, unsigned where, int n);
/* The action of that name on these screens (else on any), or ACTION_NONE. */
enum action action_of_name(const char *name, size_t length, unsigned where);
/* Length of the first key's name in the action's keys; 0 when it has no key. */
int action_first_key(enum action action);

#endif
