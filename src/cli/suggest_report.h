/* suggest_report.h - a suggestion in words for people and as JSON, from the same numbers. */
#ifndef QK_CLI_SUGGEST_REPORT_H
#define QK_CLI_SUGGEST_REPORT_H

#include "cli/recipe_folder.h"
#include "drift/drift.h"
#include "eval/needle_prompt.h"
#include "eval/suggest.h"

/* All borrowed. */
struct qk_suggest_report {
    const struct qk_pair *pair;
    const char *operand[QK_SIDE_COUNT]; /* PRE and POST as they were given, for commands to type */
    const struct qk_needle_prompts *prompts;
    const char *source; /* of the prompts, for people */
    const struct qk_suggestion *suggestion;
    const struct qk_layer_drift *drift;     /* n_layers; of the layers of the heads that are listed */
    const struct qk_recipe_folder *recipes; /* one for each proposal, or none */
};

/* How many heads the text lists, the first of the suggestion's; JSON has all. */
size_t qk_suggest_listed(const struct qk_suggestion *suggestion);
/* The verdict, the heads, the rule, the proposals, and commands to go on with. */
void qk_suggest_text(const struct qk_suggest_report *report);
/* QK_IO when memory ran out. */
enum qk_code qk_suggest_json(const struct qk_suggest_report *report, struct qk_error *err);

#endif
