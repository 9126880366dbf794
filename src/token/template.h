/* template.h - the special tokens that a tokenizer puts around a text (BOS, EOS ...). */
#ifndef QK_TOKEN_TEMPLATE_H
#define QK_TOKEN_TEMPLATE_H

#include "token/added_tokens.h"
#include "token/bpe.h"

/* Zero-initialise. */
struct qk_template {
    struct qk_ids before, after;
};

/* Reads the "post_processor" of a tokenizer.json. Where it does not mention special tokens, add_bos_token and
 * add_eos_token of FOLDER/tokenizer_config.json count. Freed with qk_template_free, on failure too. */
enum qk_code qk_template_read(const char *path, const char *folder, const cJSON *processor,
    const struct qk_bpe *bpe, const struct qk_added *added, struct qk_template *out, struct qk_error *err);
void qk_template_free(struct qk_template *template);

#endif
