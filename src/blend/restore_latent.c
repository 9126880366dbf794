/* restore_latent.c - the mode restore-latent: restore, and the latent that latent attention makes values of, too. */
#include "blend/mode.h"

static struct qk_choice choose(struct qk_choice choice, enum qk_role role, enum qk_part part)
{
    (void)choice;
    (void)role;
    (void)part;
    return (struct qk_choice){QK_RESTORE, 0};
}

const struct qk_mode_ops qk_mode_restore_latent = {
    .info = {.name = "restore-latent",
        .symbol = "",
        .ascii = "",
        .placeholder = "",
        .help = "restore with the latent that latent attention makes keys and values of: values move, too",
        .copies = true,
        .takes_latent = true},
    .part = choose,
};
