/* keep.c - the mode keep: post's bytes. */
#include "blend/mode.h"

static double alpha(double param)
{
    (void)param;
    return 0;
}

const struct qk_mode_ops qk_mode_keep = {
    .info = {.name = "keep",
        .symbol = "",
        .ascii = "",
        .placeholder = "",
        .help = "post's weights, as fine-tuned",
        .copies = true},
    .alpha = alpha,
};
