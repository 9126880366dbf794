/* action_list.h - the views, every action of the screen and what it needs, one row each: the list macros behind
 * dispatch, footer, help, the ":" line and the manual.
 *
 *   X(ID, group, name, keys, rank, hint, help, argument, where, needs, run)
 *   keys      names of key.h, separated by blanks; the first is the one the footer shows
 *   rank      place in the footer (1 first), 0: not there
 *   argument  text after the name on the ":" line, NULL: none
 *   where     views where it acts; in other views a key may mean another action
 *   needs     preconditions, or'ed: NEEDS_ and the id of their row; the key of an unmet one shows the reason
 *   run       the handler; handlers.h declares it */
#ifndef QK_UI_ACTION_LIST_H
#define QK_UI_ACTION_LIST_H

#include "ui/column_list.h"

/* The views: X(ID, ops), ops being its struct screen_ops. */
#define QK_SCREENS(X)                                                                                        \
    X(LIST, list_screen)                                                                                     \
    X(DETAIL, detail_screen)                                                                                 \
    X(EXPORT, export_screen)                                                                                 \
    X(HELP, help_screen)                                                                                     \
    X(MESSAGES, messages_screen)                                                                             \
    X(ATTENTION, attention_screen)                                                                           \
    X(EVAL, eval_screen)                                                                                     \
    X(SUGGEST, suggest_screen)                                                                               \
    X(MAP, map_screen)                                                                                       \
    X(COMPARE, compare_screen)

/* The preconditions. The first unmet row gives the reason: its message, or the text that `why` returns.
 *
 *   X(ID, met, message, why)   preconditions.h declares both functions; why: NULL where the message is enough */
#define QK_PRECONDITIONS(X)                                                                                  \
    X(WRITE, may_write, "read-only: nothing is written", NULL)                                               \
    X(LAYER, layer_is_selected, "no layer is selected", NULL)                                                \
    X(QK, layer_has_qk, "no layer with q and k is selected", why_no_qk)                                      \
    X(HEADS, heads_have_keys, "the list has the keys: Tab gives them to the heads, Enter opens the layer",   \
        NULL)                                                                                                \
    X(PARAM, choice_has_param, "this choice has no parameter: m shows the modes that have one", NULL)        \
    X(UNDO, can_undo, "nothing to undo", NULL)                                                               \
    X(REDO, can_redo, "nothing to redo", NULL)                                                               \
    X(SEARCH, has_searched, "nothing has been searched for: / starts", NULL)                                 \
    X(NORM, has_norms, "no layer has q/k norms", NULL)                                                       \
    X(IDLE, no_task_runs, "an export is running: Esc stops it", why_busy)                                    \
    X(TASK, task_runs, "nothing is running", NULL)                                                           \
    X(MANIFEST, export_has_manifest, "the export cannot be done", why_no_export)                             \
    X(EXPORTED, target_holds_export, "there is no export at the target yet", NULL)                           \
    X(ATTENTION, layer_has_attention, "no layer is selected", why_no_attention)                              \
    X(NEEDLE, has_needle_text, "no needle has been measured yet", why_no_needle)                             \
    X(MASSES, has_masses, "needle masses are being measured: proposals need them", why_no_masses)            \
    X(PROPOSAL, has_proposal, "there is nothing to propose: no softmax layer can be restored", NULL)         \
    X(PASSES, passes_run, "no pass over the probe text or over needles is running", NULL)                    \
    X(FRONT, search_has_points, "no search has found a front yet: s begins one", NULL)                       \
    X(NO_SEARCH, no_search_runs, "a search is running: X stops it", NULL)                                    \
    X(A_SEARCH, search_runs, "no search is running", NULL)

#define QK_ACTIONS(X)                                                                                         \
    X(UP, "Moving", "up", "Up k", 0, "", "Go up one row; on the probe text, to the previous head", NULL,      \
        ON_ALL, 0, run_move)                                                                                  \
    X(DOWN, "Moving", "down", "Down j", 0, "", "Go down one row; on the probe text, to the next head", NULL,  \
        ON_ALL, 0, run_move)                                                                                  \
    X(LEFT, "Moving", "left", "Left h", 0, "", "Go to the head on the left", NULL, ON_LAYERS | ON_MAP, 0,     \
        run_move)                                                                                             \
    X(RIGHT, "Moving", "right", "Right l", 0, "", "Go to the head on the right", NULL, ON_LAYERS | ON_MAP,    \
        0, run_move)                                                                                          \
    X(PAGE_UP, "Moving", "page-up", "PgUp Ctrl-B", 0, "", "Go up one page", NULL, ON_ALL, 0, run_move)        \
    X(PAGE_DOWN, "Moving", "page-down", "PgDn Ctrl-F", 0, "", "Go down one page", NULL, ON_ALL, 0, run_move)  \
    X(HALF_UP, "Moving", "half-up", "Ctrl-U", 0, "", "Go up half a page", NULL, ON_ALL, 0, run_move)          \
    X(HALF_DOWN, "Moving", "half-down", "Ctrl-D", 0, "", "Go down half a page", NULL, ON_ALL, 0, run_move)    \
    X(FIRST, "Moving", "first", "g Home", 0, "", "Go to the first row, or head when heads have the keys",     \
        NULL, ON_ALL, 0, run_move)                                                                            \
    X(LAST, "Moving", "last", "G End", 0, "", "Go to the last row, or head when heads have the keys", NULL,   \
        ON_ALL, 0, run_move)                                                                                  \
    X(LAYER, "Moving", "layer", "#", 0, "", "Go to the layer of that number; the key behind it acts there",   \
        "NUMBER", ON_CHOOSING, 0, run_layer)                                                                  \
    X(NEXT_PANEL, "Moving", "next-panel", "Tab", 0, "", "Give the keys to the next panel", NULL, ON_LAYERS,   \
        0, run_panel)                                                                                         \
    X(PREVIOUS_PANEL, "Moving", "previous-panel", "Shift-Tab", 0, "", "Give the keys to the previous panel",  \
        NULL, ON_LAYERS, 0, run_panel)                                                                        \
    X(OPEN, "Moving", "open", "Enter", 14, "open",                                                            \
        "Show the selected layer on the whole screen, or go back", NULL, ON_CHOOSING, NEEDS_LAYER, run_open)  \
                                                                                                              \
    X(MAP, "Map", "map", "M", 7, "map", "Show every head of every layer at once, coloured by one number",     \
        NULL, ON_LAYERS, 0, run_map)                                                                          \
    X(HOTTEST, "Map", "hottest", "n", 1, "next hottest", "Go to the hottest head, then to the next one",      \
        NULL, ON_MAP, 0, run_hottest)                                                                         \
    X(HOTTER, "Map", "hotter", "N", 0, "", "Go to the head that is the next hotter one", NULL, ON_MAP, 0,     \
        run_hottest)                                                                                          \
    X(METRIC, "Map", "metric", "M Tab", 1, "metric",                                                          \
        "Colour heads by the next number, or the named one: rel, angle, max-angle, routing, drop, mass, "     \
        "shift, long-mass, effect",                                                                           \
        "[NAME]", ON_MAP, 0, run_metric)                                                                      \
    X(METRIC_BACK, "Map", "metric-back", "Shift-Tab", 0, "", "Colour heads by the number before", NULL,       \
        ON_MAP, 0, run_metric)                                                                                \
                                                                                                              \
    X(RESTORE_HEAD, "Choices", "restore-head", "Space", 2, "head",                                            \
        "Where heads have the keys: restore the selected head of q or k, or keep post's if it is restored",   \
        NULL, ON_CHOOSING, NEEDS_QK | NEEDS_HEADS, run_toggle_head)                                           \
    X(RESTORE_GROUP, "Choices", "restore-group", "3", 5, "group",                                             \
        "The same with the head's group: its key head and all query heads of that", NULL, ON_CHOOSING,        \
        NEEDS_QK | NEEDS_HEADS, run_toggle_head)                                                              \
    X(RESTORE, "Choices", "restore", "Space", 2, "restore",                                                   \
        "Restore q and k from pre, or keep post's if both are restored, and go down", NULL, ON_CHOOSING,      \
        NEEDS_QK, run_toggle)                                                                                 \
    X(RESTORE_Q, "Choices", "restore-q", "1", 3, "Q", "Restore q alone, or keep post's if it is restored",    \
        NULL, ON_CHOOSING, NEEDS_QK, run_toggle)                                                              \
    X(RESTORE_K, "Choices", "restore-k", "2", 4, "K", "Restore k alone, or keep post's if it is restored",    \
        NULL, ON_CHOOSING, NEEDS_QK, run_toggle)                                                              \
    X(KEEP, "Choices", "keep", "0 Backspace", 0, "", "Keep post's q and k", NULL, ON_CHOOSING, NEEDS_QK,      \
        run_keep)                                                                                             \
    X(MODE, "Choices", "mode", "m", 5, "mode",                                                                \
        "Ask for a mode, with what each would do, or set the named one; of a head where heads have the keys", \
        "[NAME[:PARAMETER]]", ON_CHOOSING, NEEDS_QK, run_mode)                                                \
    X(LESS, "Choices", "less", "- _", 6, "less", "Lower the parameter of the mode by a step", NULL,           \
        ON_CHOOSING, NEEDS_PARAM, run_step)                                                                   \
    X(MORE, "Choices", "more", "+", 7, "more", "Raise the parameter of the mode by a step", NULL,             \
        ON_CHOOSING, NEEDS_PARAM, run_step)                                                                   \
    X(PARAM, "Choices", "param", "p", 0, "", "Ask for the parameter's exact value", "VALUE", ON_LAYERS,       \
        NEEDS_PARAM, run_param)                                                                               \
    X(ROLE, "Choices", "role", "x", 0, "", "Keys that choose act on q and k, on q, or on k", NULL,            \
        ON_CHOOSING, 0, run_role)                                                                             \
    X(SET, "Choices", "set", "", 0, "",                                                                       \
        "Set choices as --set does: full=restore, 3,5-8:q=lerp:0.5, routing>0.15=qk-pro:0.3", "SPEC",         \
        ON_LAYERS, 0, run_set)                                                                                \
    X(SUGGEST, "Choices", "suggest", "!", 18, "suggest",                                                      \
        "Show which heads fetch needles, and choices that put them back, or go back", NULL,                   \
        ON_CHOOSING | ON_SUGGEST, NEEDS_MASSES, run_suggest)                                                  \
    X(TAKE, "Choices", "take", "Enter", 2, "choose", "Choose what the selected proposal chooses", NULL,       \
        ON_SUGGEST, NEEDS_PROPOSAL, run_take)                                                                 \
    X(KEEP_A, "Choices", "keep-a", "&", 0, "", "Keep the choices as A, to compare others with them", NULL,    \
        ON_CHOOSING | ON_EVAL | ON_COMPARE, 0, run_keep_a)                                                    \
    X(COMPARE, "Choices", "compare", "=", 19, "compare",                                                      \
        "Compare A with the present choices, or go back: numbers, answers and bytes", NULL,                   \
        ON_CHOOSING | ON_EVAL | ON_COMPARE, 0, run_compare)                                                   \
    X(SWAP, "Choices", "swap", "Enter", 2, "swap", "Choose what A has, and make A of what is chosen", NULL,   \
        ON_COMPARE, 0, run_swap)                                                                              \
    X(UNDO, "Choices", "undo", "u", 9, "undo", "Undo the last change of choices", NULL, ON_UNDOING,           \
        NEEDS_UNDO, run_undo)                                                                                 \
    X(REDO, "Choices", "redo", "Ctrl-R", 15, "redo", "Redo what was undone", NULL, ON_UNDOING, NEEDS_REDO,    \
        run_undo)                                                                                             \
                                                                                                              \
    X(RANGE, "Several layers", "range", "v", 10, "range", "Start or end a range of rows that keys act on",    \
        NULL, ON_LAYERS, NEEDS_LAYER, run_range)                                                              \
    X(MARK, "Several layers", "mark", "a", 0, "",                                                             \
        "Add the layer to the marked ones or take it out, and go down", NULL, ON_LAYERS, NEEDS_LAYER,         \
        run_mark)                                                                                             \
    X(MARK_ALL, "Several layers", "mark-all", "A", 0, "", "Mark every layer in view, or none", NULL,          \
        ON_LAYERS, NEEDS_LAYER, run_mark)                                                                     \
    X(MARK_BY, "Several layers", "mark-by", "b", 13, "by",                                                    \
        "Ask what to mark: a kind, all, or by list or number: 3,5-8, routing>0.15, q.angle>=4", "SELECTOR",   \
        ON_LAYERS, 0, run_mark_by)                                                                            \
                                                                                                              \
    X(SEARCH, "Finding", "search", "/", 11, "find", "Find a word, or layers by kind, list or number",         \
        "TEXT", ON_LAYERS | ON_ATTENTION | ON_TEXT, 0, run_search)                                            \
    X(NEXT, "Finding", "next", "n", 0, "", "Next place found", NULL, ON_LAYERS | ON_ATTENTION | ON_TEXT,      \
        NEEDS_SEARCH, run_search_on)                                                                          \
    X(PREVIOUS, "Finding", "previous", "N", 0, "", "Previous place found", NULL,                              \
        ON_LAYERS | ON_ATTENTION | ON_TEXT, NEEDS_SEARCH, run_search_on)                                      \
    X(FILTER, "Finding", "filter", "\\", 0, "", "Show only layers with a word, of a kind, list or number",    \
        "TEXT", ON_LAYERS, 0, run_filter)                                                                     \
    X(SORT, "Finding", "sort", "s", 12, "sort",                                                               \
        "Ask what to sort by: " QK_COLUMN_NAMES "or sort by the named one", "[COLUMN]", ON_LAYERS, 0,         \
        run_sort)                                                                                             \
    X(SORT_REVERSE, "Finding", "reverse", "S", 0, "", "Turn the order around", NULL, ON_LAYERS, 0, run_sort)  \
                                                                                                              \
    X(PLOT, "Attention", "plot", "R", 0, "", "Show attention ranges in the detail, or the angles alone",      \
        NULL, ON_LAYERS, 0, run_plot)                                                                         \
    X(ATTENTION, "Attention", "attention", "f", 16, "attention",                                              \
        "Show on a text where a head's attention goes, or go back: on a needle prompt once there is one",     \
        NULL, ON_CHOOSING, NEEDS_ATTENTION, run_attention)                                                    \
    X(TEXT, "Attention", "text", "T", 1, "text", "Go to the probe text, or to the needle prompt", NULL,       \
        ON_ATTENTION, NEEDS_NEEDLE, run_text)                                                                 \
    X(EARLIER, "Attention", "earlier", "Left h", 1, "earlier", "Look from the token before", NULL,            \
        ON_ATTENTION, 0, run_move)                                                                            \
    X(LATER, "Attention", "later", "Right l", 1, "later", "Look from the token after", NULL, ON_ATTENTION,    \
        0, run_move)                                                                                          \
    X(QUERY, "Attention", "query", "", 0, "", "Look from the token of that number", "NUMBER", ON_ATTENTION,   \
        0, run_query)                                                                                         \
    X(SIDE, "Attention", "side", "Tab", 1, "side",                                                            \
        "Shade the text by the attention of pre, post or current", NULL, ON_ATTENTION, 0, run_side)           \
    X(PROBE, "Attention", "probe", "T", 0, "",                                                                \
        "Run a text through both checkpoints for attention ranges; without a name the built-in one",          \
        "[FILE]", ON_LAYERS, 0, run_probe)                                                                    \
    X(IDS, "Attention", "ids", "", 0, "", "The same with token ids, in decimal, separated by white space",    \
        "FILE", ON_LAYERS, 0, run_probe)                                                                      \
    X(STATES, "Attention", "states", "", 0, "",                                                               \
        "Attention ranges from post's hidden states in a safetensors file, and pre's own in a second one",    \
        "POST [PRE]", ON_LAYERS, 0, run_probe)                                                                \
    X(NEEDLES, "Attention", "needles", "", 0, "",                                                             \
        "Measure needle masses on a file of cases, the answer in the prompt; without a name on made prompts", \
        "[FILE]", ON_LAYERS, 0, run_needles)                                                                  \
    X(PROBE_STOP, "Attention", "stop", "X", 0, "", "Stop the passes over the probe text and over needles",    \
        NULL, ON_CHOOSING, NEEDS_PASSES, run_probe_stop)                                                      \
                                                                                                              \
    X(EVALUATE, "Evaluation", "evaluate", "t", 17, "test",                                                    \
        "Show how many cases pre, post and the current model answer right, or go back", NULL,                 \
        ON_CHOOSING | ON_EVAL | ON_COMPARE, 0, run_evaluate)                                                  \
    X(FRONT, "Evaluation", "front", "s", 2, "search",                                                         \
        "Search for the selections that answer most, for 'N minutes' or 'N evaluations'", "LIMIT", ON_EVAL,   \
        NEEDS_NO_SEARCH, run_front)                                                                           \
    X(FRONT_STOP, "Evaluation", "stop-search", "X", 2, "stop", "Stop the search; what it found stays", NULL,  \
        ON_EVAL, NEEDS_A_SEARCH, run_front_stop)                                                              \
    X(POINT_LEFT, "Evaluation", "point-left", "Left h", 0, "",                                                \
        "Go to the next point of the front on the left", NULL, ON_EVAL, NEEDS_FRONT, run_move)                \
    X(POINT_RIGHT, "Evaluation", "point-right", "Right l", 0, "",                                             \
        "Go to the next point of the front on the right", NULL, ON_EVAL, NEEDS_FRONT, run_move)               \
    X(POINT, "Evaluation", "point", "Enter", 3, "load",                                                       \
        "Choose what the selected point of the front chooses", NULL, ON_EVAL, NEEDS_FRONT, run_point)         \
                                                                                                              \
    X(DETAIL, "View", "detail", "d", 0, "", "Show or hide the detail panel", NULL, ON_LIST, 0, run_detail)    \
    X(CURRENT, "View", "current", "c", 0, "",                                                                 \
        "Show the heads of post with the choices applied, or of post as it is", NULL, ON_LIST | ON_MAP, 0,    \
        run_current)                                                                                          \
    X(EFFECTIVE, "View", "effective", "E", 0, "", "Multiply the gains of q/k norms into the rows, or not",    \
        NULL, ON_LAYERS, NEEDS_NORM, run_effective)                                                           \
    X(RECOMPUTE, "View", "recompute", "r", 0, "", "Compute all numbers again", NULL, ON_LAYERS, 0,            \
        run_recompute)                                                                                        \
    X(REDRAW, "View", "redraw", "F5 Ctrl-L", 0, "", "Draw the screen again", NULL, ON_ALL, 0, run_redraw)     \
    X(POINTER, "View", "mouse", "P", 0, "",                                                                   \
        "Use the mouse (hold Shift to select text then), or leave it to the terminal", NULL, ON_ALL, 0,       \
        run_pointer)                                                                                          \
    X(COPY, "View", "copy", "y", 0, "", "Copy the selected layer's tensor names to the clipboard (OSC 52)",   \
        NULL, ON_LAYERS, NEEDS_LAYER, run_copy)                                                               \
    X(MESSAGES, "View", "messages", "W", 0, "", "List earlier messages", NULL, ON_ALL, 0, run_view)           \
                                                                                                              \
    X(LOAD, "Files", "load", "o", 0, "", "Load choices from a recipe", "FILE", ON_LAYERS, 0, run_load)        \
    X(SAVE, "Files", "save", "w", 0, "", "Save the choices as a recipe", "FILE", ON_LAYERS, 0, run_save)      \
    X(EXPORT, "Files", "export", "e", 8, "export", "Look at what an export would change, then write it",      \
        "[FOLDER]", ON_LAYERS, NEEDS_WRITE, run_export)                                                       \
                                                                                                              \
    X(EXPORT_WRITE, "Export", "write", "w", 2, "write", "Write the checkpoint", NULL, ON_EXPORT,              \
        NEEDS_WRITE | NEEDS_IDLE | NEEDS_MANIFEST, run_write)                                                 \
    X(EXPORT_TARGET, "Export", "target", "t", 3, "target", "Change the folder to write to", "FOLDER",         \
        ON_EXPORT, NEEDS_WRITE | NEEDS_IDLE, run_target)                                                      \
    X(EXPORT_LINK, "Export", "link", "L", 4, "link", "Hard-link files that do not change, or copy them",      \
        NULL, ON_EXPORT, NEEDS_WRITE | NEEDS_IDLE, run_export_option)                                         \
    X(EXPORT_FORCE, "Export", "force", "F", 5, "force", "Replace an export that is there, or refuse to",      \
        NULL, ON_EXPORT, NEEDS_WRITE | NEEDS_IDLE, run_export_option)                                         \
    X(EXPORT_PATCH, "Export", "patch-only", "O", 6, "patch", "Write only the changed tensors, or all", NULL,  \
        ON_EXPORT, NEEDS_WRITE | NEEDS_IDLE, run_export_option)                                               \
    X(EXPORT_NORMS, "Export", "norms", "N", 7, "norms", "Take the gains of q/k norms along, or leave them",   \
        NULL, ON_EXPORT, NEEDS_WRITE | NEEDS_IDLE, run_export_option)                                         \
    X(EXPORT_EVERYTHING, "Export", "everything", "A", 7, "all files",                                         \
        "Copy what trainers keep to go on, too, or leave it out", NULL, ON_EXPORT, NEEDS_WRITE | NEEDS_IDLE,  \
        run_export_option)                                                                                    \
    X(EXPORT_LINKS, "Export", "follow-links", "S", 0, "",                                                     \
        "Copy what links lead to that go out of post's folder, or refuse them", NULL, ON_EXPORT,              \
        NEEDS_WRITE | NEEDS_IDLE, run_export_option)                                                          \
    X(EXPORT_VERIFY, "Export", "verify", "v", 2, "verify", "Read the export again and compare every byte",    \
        NULL, ON_EXPORT, NEEDS_IDLE | NEEDS_EXPORTED, run_verify)                                             \
    X(EXPORT_CANCEL, "Export", "cancel", "Esc Ctrl-C", 8, "cancel",                                           \
        "Stop what is running; nothing is left behind", NULL, ON_EXPORT, NEEDS_TASK, run_cancel)              \
                                                                                                              \
    X(HELP, "Program", "help", "? F1", 1, "help", "Show every key, those of this view first", NULL, ON_ALL,   \
        0, run_view)                                                                                          \
    X(SIGNS, "Program", "signs", "Tab", 2, "signs", "Show what numbers and signs mean, or the keys again",    \
        NULL, ON_HELP, 0, run_signs)                                                                          \
    X(COMMAND, "Program", "command", ":", 0, "", "Run an action by its name, with Tab to complete it", NULL,  \
        ON_ALL, 0, run_command)                                                                               \
    X(BACK, "Program", "back", "Esc", 0, "",                                                                  \
        "One step back: range, marks, filter, view, a pass over the probe text", NULL, ON_ALL, 0, run_back)   \
    X(CLOSE, "Program", "close", "q", 1, "quit", "Close the view, or leave from the first one", NULL,         \
        ON_ALL, 0, run_close)                                                                                 \
    X(QUIT, "Program", "quit", "Q Ctrl-C", 0, "", "Leave; asks if choices are unsaved or work is running",    \
        NULL, ON_ALL, 0, run_quit)                                                                            \
    X(SUSPEND, "Program", "suspend", "Ctrl-Z", 0, "", "Stop the program; fg brings it back", NULL, ON_ALL,    \
        0, run_suspend)

#endif
