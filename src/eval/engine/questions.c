/* questions.c - limits, costs and keys of cases without tokens. */
#include "eval/engine/questions.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum qk_code qk_questions_open(const struct qk_cases *cases, struct qk_questions *out, struct qk_error *err)
{
    *out = (struct qk_questions){.cases = cases};
    QK_TRY(qk_alloc(&out->digest, cases->n, sizeof *out->digest, err));
    for (size_t i = 0; i < cases->n; i++)
        qk_case_digest(&cases->item[i], out->digest[i]);
    return QK_OK;
}

void qk_questions_close(struct qk_questions *questions)
{
    free(questions->digest);
    *questions = (struct qk_questions){0};
}

size_t qk_question_limit(const struct qk_case *item)
{
    enum { ANYWHERE = 256 };
    size_t longest = 1;
    const char *answer;
    if (item->max_new_tokens > 0)
        return item->max_new_tokens;
    if (item->after != NULL || item->contains)
        return ANYWHERE;
    for (size_t i = 0; (answer = qk_case_answer(item, i)) != NULL; i++)
        longest = strlen(answer) > longest ? strlen(answer) : longest;
    return longest;
}

size_t qk_question_cost(const struct qk_case *item)
{
    const char *text = item->messages != NULL ? item->messages : item->prompt;
    return strlen(text) + qk_question_limit(item);
}

void qk_questions_identify(const struct qk_model *model, struct qk_digest *digest)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path;
        struct stat info;
        if (qk_path_join(model->checkpoint->folder, names[i], &path, NULL) != QK_OK)
            continue;
        if (stat(path, &info) == 0) {
            qk_digest_add(digest, &info.st_size, sizeof info.st_size);
            qk_digest_add(digest, &info.st_ino, sizeof info.st_ino);
            qk_digest_add(digest, &info.st_ctim.tv_sec, sizeof info.st_ctim.tv_sec);
            qk_digest_add(digest, &info.st_ctim.tv_nsec, sizeof info.st_ctim.tv_nsec);
        }
        free(path);
    }
}
