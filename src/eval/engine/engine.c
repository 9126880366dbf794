/* engine.c - the table of engines. */
#include "eval/engine/engine.h"

const struct qk_engine_ops *qk_engine_find(enum qk_engine_kind kind)
{
    static const struct qk_engine_ops *const engines[] = {[QK_ENGINE_BUILT_IN] = &qk_engine_built_in,
        [QK_ENGINE_COMMAND] = &qk_engine_command,
        [QK_ENGINE_TASKS] = &qk_engine_tasks,
        [QK_ENGINE_SERVER] = &qk_engine_server};
    return engines[kind];
}
