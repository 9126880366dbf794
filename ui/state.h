/* state.h - choices that were neither exported nor saved are kept when the screen is left, and offered the
 * next time the same pair is opened. Nothing here ever fails loudly: it is a courtesy. */
#ifndef QK_UI_STATE_H
#define QK_UI_STATE_H

struct app;

/* Looks for choices kept for this pair and says how to get them. */
void state_offer(struct app *app);
/* Keeps unsaved choices; forgets those that were offered when there are none to keep. */
void state_keep(struct app *app);

#endif
