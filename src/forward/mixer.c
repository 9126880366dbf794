/* mixer.c - the table of mixers. */
#include "forward/mixer.h"

#include <string.h>

static const struct qk_mixer_ops *const mixers[] = {&qk_softmax_mixer, &qk_latent_mixer, &qk_lightning_mixer,
    &qk_delta_mixer, &qk_channel_delta_mixer, &qk_mamba2_mixer, &qk_mamba_mixer, &qk_lru_mixer,
    &qk_short_conv_mixer};

const struct qk_mixer_ops *qk_mixer_find(const char *word)
{
    for (size_t i = 0; i < sizeof mixers / sizeof mixers[0]; i++)
        if (word == NULL ? mixers[i]->word == NULL
                         : mixers[i]->word != NULL && strcmp(word, mixers[i]->word) == 0)
            return mixers[i];
    return NULL;
}
