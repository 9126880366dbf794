/* export_view.h - the export: its state and tasks (export_view.c) and drawing (export_draw.c). */
#ifndef QK_UI_VIEWS_EXPORT_VIEW_H
#define QK_UI_VIEWS_EXPORT_VIEW_H

#include "ui/app.h"
#include "ui/page.h"
#include "ui/screen.h"

/* app->state[SCREEN_EXPORT]: options and the manifest that follows from them. */
struct export_view {
    char *target; /* owned */
    bool force, link, patch_only, everything, follow_links;
    bool has_manifest; /* manifest is filled and the export can run */
    struct qk_export_manifest manifest;
    struct qk_error refused; /* why not */
    /* The tensors that change where the target alone is refused; else 0 and NULL. */
    struct qk_change *change; /* n_changes; owned */
    size_t n_changes;
    bool of_target;              /* `refused` is about the target */
    char against[QK_ERROR_TEXT]; /* how the choices of a verified export compare with those on the screen */
    struct area target_area, manifest_area, task_area; /* of the target's row, and the rows behind it */
    struct page changes;
    bool stale;      /* `changes` must be made again */
    bool reported;   /* a message has reported the end of the last task */
    bool shows_task; /* the result of the last task is shown until the manifest changes */
    bool exported;   /* there is an export at the target: it can be verified */
    bool offered;    /* the question about left-overs of killed exports, asked once */
};

void place_export(struct app *app, const struct canvas *canvas, struct area area);
void draw_export(const struct app *app, struct canvas *canvas, struct area area);

#endif
