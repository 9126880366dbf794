/* side_files.c - the names of side files, in tables of patterns. */
#include "export/side_files.h"

#include <fnmatch.h>
#include <string.h>

/* What Trainer, Accelerate, DeepSpeed, FSDP and loggers keep beside a model. */
static const char *const STATE_FILES[] = {"optimizer*.pt", "optimizer*.bin", "optimizer*.pth",
    "scheduler*.pt", "scheduler*.bin", "lr_scheduler*.pt", "scaler.pt", "rng_state*.pth",
    "random_states_*.pkl", "dl_state_dict*.bin", "sampler*.bin", "training_args.bin", "trainer_state.json",
    "zero_to_fp32.py", "latest", "latest_checkpointed_iteration.txt", "*.distcp", "*_optim_states.pt",
    "*_model_states.pt", "events.out.tfevents.*", NULL};
static const char *const STATE_FOLDERS[] = {
    "global_step*", "pytorch_model_fsdp*", "optimizer_*", "checkpoint-*", "latest", "runs", "wandb", NULL};

/* What models come with. */
static const char *const MODEL_FILES[] = {"*.json", "*.txt", "*.model", "*.py", "*.jinja", "*.md",
    "*.tiktoken", "*.vocab", "*.bpe", "LICENSE*", "NOTICE*", "README*", "USE_POLICY*", ".gitattributes",
    NULL};

static bool matches(const char *const *patterns, const char *name)
{
    for (; *patterns != NULL; patterns++)
        if (fnmatch(*patterns, name, 0) == 0)
            return true;
    return false;
}

enum qk_side_kind qk_side_kind_of(const char *name, bool is_folder)
{
    char part[256]; /* longer names are those of no file system */
    bool hidden = false;
    for (const char *slash; (slash = strchr(name, '/')) != NULL; name = slash + 1) {
        size_t n = (size_t)(slash - name) < sizeof part ? (size_t)(slash - name) : sizeof part - 1;
        memcpy(part, name, n);
        part[n] = '\0';
        if (matches(STATE_FOLDERS, part))
            return QK_SIDE_STATE;
        hidden = hidden || part[0] == '.';
    }
    if (matches(is_folder ? STATE_FOLDERS : STATE_FILES, name))
        return QK_SIDE_STATE;
    if (hidden || (name[0] == '.' && !matches(MODEL_FILES, name)))
        return QK_SIDE_HIDDEN;
    return is_folder || matches(MODEL_FILES, name) ? QK_SIDE_MODEL : QK_SIDE_OTHER;
}
