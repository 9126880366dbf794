/* restore.c - the mode restore: pre's bytes, converted only where the dtypes differ. */
#include "blend/mode.h"

static double alpha(double param)
{
    (void)param;
    return 1;
}

const struct qk_mode_ops qk_mode_restore = {
    .info = {.name = "restore",
        .symbol = "",
        .ascii = "",
        .placeholder = "",
        .help = "pre's weights, byte for byte",
        .copies = true},
    .alpha = alpha,
};
