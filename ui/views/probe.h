/* probe.h - the passes over the probe text, from which attention ranges come. */
#ifndef QK_UI_VIEWS_PROBE_H
#define QK_UI_VIEWS_PROBE_H

#include <stdbool.h>

struct app;

/* True while a model runs over the probe text. */
bool probe_busy(const struct app *app);
/* Starts the default probe, once. */
void probe_start(struct app *app);
/* Starts the last probe again, if there was one. */
void probe_again(struct app *app);
/* Reports the progress of the probe since the last call. */
void probe_report(struct app *app);

#endif
