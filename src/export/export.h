/* export.h - post with a selection applied, written to a folder: all of it under its final name, or nothing.
 *
 * States: (1) nothing; (2) a temporary sibling ".NAME.qkscope-PID-N" is filled, every file fsynced;
 * (3) one rename gives it its name; the parent folder is fsynced. A crash in 2 leaves a sibling that is not
 * DIR, which the next export to DIR removes; inputs are only ever opened for reading.
 *
 * Files are filled part by part on all processors (fill.h): what is written does not depend on how many.
 *
 * What is written: post's folder as it is, in which only rows of chosen roles differ, and the recipe. Of a
 * post that is an adapter, it is pre's folder with the merged tensors in place, or the adapter's own folder,
 * in which the rows of chosen roles in B are multiplied by 1 - alpha (lerp) or 0 (restore). When
 * post was named by a single file, its folder is taken to hold other things, too: then that file and the
 * small files that belong to a checkpoint (*.json, *.txt, *.model, *.py, *.jinja, *.md) beside it. */
#ifndef QK_EXPORT_EXPORT_H
#define QK_EXPORT_EXPORT_H

#include "base/progress.h"
#include "export/manifest.h"

/* Does it. progress counts bytes written. On any failure or cancel the temporary folder is removed. */
enum qk_code qk_export(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_progress *progress, struct qk_error *err);

#endif
