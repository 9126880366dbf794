/* task.h - export and verification in the background, one at a time. */
#ifndef QK_SESSION_TASK_H
#define QK_SESSION_TASK_H

#include "base/text.h"
#include "export/manifest.h"
#include "session/session.h"

enum qk_task_kind { QK_TASK_NONE, QK_TASK_EXPORT, QK_TASK_VERIFY };
struct qk_task {
    enum qk_task_kind kind;
    bool running;
    uint64_t done, total;        /* bytes */
    double seconds;              /* seconds since it started, or that it took */
    char *target;                /* owned by the session */
    struct qk_error error;       /* code QK_OK: succeeded (when not running) */
    struct qk_lines differences; /* verify */
};
/* Starts a task. QK_USAGE while another one runs. The present selection is copied: later choices do not affect the
 * task. */
enum qk_code qk_session_export(
    struct qk_session *session, const struct qk_export_options *options, struct qk_error *err);
enum qk_code qk_session_verify(struct qk_session *session, const char *folder, struct qk_error *err);
/* The running or the last task (kind NONE before the first). */
const struct qk_task *qk_session_task(const struct qk_session *session);
void qk_session_cancel(struct qk_session *session);
/* Computes what an export of the present selection would do (qk_export_manifest: reads no tensor data). */
enum qk_code qk_session_manifest(struct qk_session *session, const struct qk_export_options *options,
    struct qk_export_manifest *manifest, struct qk_error *err);

#endif
