/* unsaved.h - choices that were left neither exported nor saved, kept for the next screen on the same pair. Nothing
 * here reports a failure: without the file there is nothing to offer. */
#ifndef QK_UI_UNSAVED_H
#define QK_UI_UNSAVED_H

struct app;

/* Looks for choices kept for this pair and says how to get them. */
void unsaved_offer(struct app *app);
/* Keeps unsaved choices; removes those that were offered and taken when there are none to keep. */
void unsaved_keep(struct app *app);

#endif
