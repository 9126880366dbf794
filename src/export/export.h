/* export.h - an export of post with a selection applied: the whole folder under its final name, or nothing.
 *
 * States: (1) nothing; (2) a temporary sibling ".NAME.qkscope-PID-N" is filled, every file fsynced;
 * (3) one rename gives it its name; the parent folder is fsynced. A crash in 2 leaves a sibling that is not
 * DIR, which the next export to DIR removes; inputs are only ever opened for reading.
 *
 * Files are filled part by part on all processors (fill.h); the result does not depend on their number.
 *
 * An export is post's folder, in which only rows of chosen roles differ, and the recipe. What trainers keep to go on
 * (side_files.h) and a left-over adapter_config.json stay out, unless everything is copied. For a post that is an
 * adapter, it is pre's folder with the merged tensors. With factors it is the adapter's own folder, with the rows of
 * chosen roles in B multiplied by 1 - alpha (lerp) or 0 (restore). The folder of a post named by a single file may
 * hold other things: then an export is that file and the small files of a checkpoint beside it (*.json, *.txt,
 * *.model, *.py, *.jinja, *.md), with everything also what trainers keep. */
#ifndef QK_EXPORT_EXPORT_H
#define QK_EXPORT_EXPORT_H

#include "base/progress.h"
#include "export/manifest.h"

/* Writes the export. progress counts bytes written. After any failure or cancellation the temporary folder is
 * removed. */
enum qk_code qk_export(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_export_options *options, struct qk_progress *progress, struct qk_error *err);

#endif
