/* masses.c - needle masses for selectors. */
#include "cli/masses.h"

#include "cli/needle_work.h"
#include "tensor/hub/remote.h"

enum qk_code qk_masses_compute(const struct qk_pair *pair, struct qk_head_numbers **out, struct qk_error *err)
{
    struct qk_needle_work work = {.length = QK_NEEDLE_LENGTH, .n_prompts = QK_NEEDLE_PROMPTS};
    *out = NULL;
    if (qk_remote_endpoint() != NULL)
        return qk_fail(err, QK_USAGE,
            "--remote: needle masses need a forward pass, which reads every tensor: download the checkpoints");
    enum qk_code code = qk_needle_work_prompts(pair, &work, err);
    if (code == QK_OK)
        code = qk_needle_work_measure(pair, NULL, false, &work, err);
    if (code == QK_OK)
        code = qk_needle_numbers(&work.measured, out, err);
    qk_needle_work_free(&work);
    return code;
}
