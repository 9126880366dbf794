/* place.h - the folder in which another engine works: the checkpoint that it reads, and its results.
 *
 * It is a temporary sibling (base/atomic_file.h) named ".POST.qkscope-PID-N", so that what a kill leaves is found by
 * `qkscope clean` and by the next run. The checkpoint is FOLDER/model, because Python cannot import code from a folder
 * with dots in its name. */
#ifndef QK_EVAL_ENGINE_PLACE_H
#define QK_EVAL_ENGINE_PLACE_H

#include "eval/engine/engine.h"

struct qk_place {
    char *folder; /* absolute; NULL: not open */
    char *model;  /* absolute path of the checkpoint to ask: FOLDER/model, or the subject's own folder */
    char *out;    /* an empty folder for results */
    char *log;    /* the path for what commands write; it does not exist yet */
    char *cases;  /* the path for a file of cases; it does not exist yet */
    int lock;
};

/* Makes the folder in --scratch, else beside post's folder, else (that is not writable) in the cache folder. Where the
 * subject is no folder of its own, its checkpoint is written: hard links to the shards that do not change, else their
 * blocks, else symbolic links; and the changed shards. Codes as qk_export. Closed with qk_place_close in any case. */
enum qk_code qk_place_open(const struct qk_engine_setting *setting, struct qk_subject subject,
    struct qk_progress *progress, struct qk_place *place, struct qk_error *err);
/* Removes all of it. */
void qk_place_close(struct qk_place *place);

#endif
