/* command.c - the table of sub-commands. */
#include "cli/command.h"

#include <stddef.h>
#include <string.h>

const struct qk_option_info qk_common_options[] = {
    {"help", 'h', NULL, "print this help and leave"},
    {"version", 'V', NULL, "print the version and leave"},
    {NULL, 0, NULL, NULL},
};

static const struct qk_option_info SCREEN_OPTIONS[] = {
    {"set", 's', "SPEC",
        "begin with this choice, as in full=restore or 4:q=lerp:0.5; repeatable, later wins"},
    {"recipe", 'r', "FILE", "begin with the choices of a recipe, before any --set"},
    {"cases", 'c', "FILE",
        "evaluate on these cases, as 'qkscope eval' does; repeatable; without it on those of a folder "
        "'cases' beside the checkpoints"},
    {"color", 0, "auto|always|never", "use colours; auto leaves them out where NO_COLOR is set"},
    {"theme", 0, "auto|dark|light", "colours for a dark or a light background; auto asks COLORFGBG"},
    {"ascii", 0, NULL, "draw with ASCII characters alone"},
    {"readonly", 0, NULL, "take exporting out of the keys, the footer and the help"},
    {"threads", 'j', "N", "worker threads; one a processor without it"},
    {NULL, 0, NULL, NULL},
};

static const struct qk_command COMMANDS[] = {
    {"", "PRE POST",
        "Shows on screen how the query and key projections drifted from PRE to POST, lets you choose per "
        "layer "
        "what to put back, and exports the result; on a pipe it prints the table of 'qkscope diff'",
        SCREEN_OPTIONS, NULL},
    {"info", "CKPT", "Tells what a checkpoint is made of and what can be done with it", qk_info_options,
        qk_info_run},
    {"diff", "PRE POST", "Prints the drift of every layer from PRE to POST", qk_diff_options, qk_diff_run},
    {"range", "PRE POST",
        "Prints how far the attention of every softmax layer looks, in PRE, in POST and with a choice",
        qk_range_options, qk_range_run},
    {"cases", "needle|arithmetic",
        "Writes questions with their answers: needles in long texts, or problems in several steps",
        qk_cases_options, qk_cases_run},
    {"plan", "PRE POST", "Writes a recipe: what to put back, and for which checkpoints", qk_plan_options,
        qk_plan_run},
    {"export", "PRE POST", "Writes POST with the chosen queries and keys put back", qk_export_command_options,
        qk_export_run},
    {"verify", "DIR", "Re-reads an export against its recipe, PRE and POST, every byte of it",
        qk_verify_options, qk_verify_run},
    {"emit", "mergekit|brainsurgery PRE POST",
        "Writes a selection of restore and lerp as a file for another tool", qk_emit_options, qk_emit_run},
    {"eval", "CKPT...",
        "Puts cases to checkpoints, or (PRE POST) to POST with selections, and counts the right answers",
        qk_eval_options, qk_eval_run},
    {"search", "PRE POST",
        "Measures what each layer does to the answers, and looks for the selections that answer most",
        qk_search_options, qk_search_command_run},
    {"clean", "FOLDER", "Lists what exports and writes that were killed left in a folder, and removes it",
        qk_clean_options, qk_clean_run},
    {"doctor", "",
        "Tells versions, folders and known families, and tests the numeric kernels of this machine",
        qk_doctor_options, qk_doctor_run},
};

const struct qk_command *qk_command_info(int i)
{
    return i >= 0 && (size_t)i < sizeof COMMANDS / sizeof COMMANDS[0] ? &COMMANDS[i] : NULL;
}

const struct qk_command *qk_command_find(const char *name)
{
    for (int i = 1; qk_command_info(i) != NULL; i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}
