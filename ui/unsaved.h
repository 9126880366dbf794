/* unsaved.h - choices that were left neither exported nor saved, kept for the next screen on the same pair. Nothing
 * here reports a failure: without the file there is nothing to offer. */
#ifndef QK_UI_UNSAVED_H
#define QK_UI_UNSAVED_H

struct app;

/* Looks for choices kept for this pair and shows how to load them. */
void unsaved_offer(struct app *app);
/* Keeps unsaved choices; without any, removes those that were offered and loaded. */
void unsaved_keep(struct app *app);

#endif
