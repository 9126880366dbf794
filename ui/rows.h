/* rows.h - the layers in the order and choice in which the list shows them: sort, filter, search, marks,
 * range, and which of them a key acts on. Draws nothing. */
#ifndef QK_UI_ROWS_H
#define QK_UI_ROWS_H

#include "session/session.h"
#include "ui/columns.h"

enum { MATCH_TEXT = 256 };

struct rows {
    int *layer; /* n layer numbers, from top to bottom; owned, room for all layers */
    int n;
    int selected; /* layer number, or -1 when nothing is in view */
    int lost;     /* layer that was selected before it went out of view */
    int top;      /* first row shown */
    int height;   /* rows shown; set by rows_scroll */
    bool *marked; /* by layer number; owned */
    int anchor;   /* layer where a range began, or -1 */
    enum column_id sort;
    bool reverse;
    bool ordered;            /* by the user, or by the first needle masses: no number changes `sort` again */
    char filter[MATCH_TEXT]; /* "": everything */
    char search[MATCH_TEXT];
    int *found; /* scratch for layer numbers; owned */
};

enum qk_code rows_init(struct rows *rows, int n_layers, struct qk_error *err);
void rows_free(struct rows *rows);

/* Brings the rows up to date with numbers, choices, filter and order; the selected layer stays selected while
 * it is in view, else its neighbour becomes it. */
void rows_update(struct rows *rows, const struct qk_session *session);
/* Place of the selected layer among the rows, or -1. */
int rows_at(const struct rows *rows);
/* Selects the row `at`, brought into range. */
void rows_select(struct rows *rows, int at);
/* Makes the selected row one of `height` shown. */
void rows_scroll(struct rows *rows, int height);
/* True when row i lies between anchor and selection. */
bool rows_in_range(const struct rows *rows, int i);
int rows_marked(const struct rows *rows);
/* Layers in view that a key acts on, ascending, into out (n_layers entries): the range and the marked ones,
 * or else the selected one. Returns how many. */
int rows_targets(const struct rows *rows, int *out);

/* Why a selector may not mean what it says (static), or NULL. */
const char *selector_doubt(const char *selector);
/* Selects the next (or previous) row that matches rows->search, from `from` on; false when no row does. */
bool rows_find(struct rows *rows, const struct qk_session *session, int from, bool backwards);

#endif
