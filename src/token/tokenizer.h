/* tokenizer.h - text to token ids and back, by a checkpoint's tokenizer.json.
 *
 * What Hugging Face's tokenizers library does with the file is what is done here
 * (github.com/huggingface/tokenizers: the steps' names and their meaning are its own), for models of type
 * BPE: byte-level (GPT-2, Llama 3, Qwen) and SentencePiece's (Llama 2, Gemma). Any part of another kind is
 * refused by name: a tokenizer that is only nearly right is worse than none, and token ids can always be
 * given instead.
 *
 * What a letter or a digit is, the installed PCRE2 and utf8proc tell: a character that is newer than their
 * Unicode (hieroglyphs of 2024, say) may be cut differently.
 *
 * Two things differ on purpose. Text need not be UTF-8: bytes that are none stay what they are, as byte-level
 * tokens or byte fallbacks, and decoding gives bytes back, where the library puts U+FFFD. And where tokenizer.json
 * has no template (TemplateProcessing, BertProcessing, RobertaProcessing), tokenizer_config.json's add_bos_token
 * and add_eos_token are heeded, as transformers does for Llama's class; where it has one, the template is all. */
#ifndef QK_TOKEN_TOKENIZER_H
#define QK_TOKEN_TOKENIZER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qk_tokenizer;

/* Reads FOLDER/tokenizer.json, and tokenizer_config.json beside it where that is needed. QK_INPUT when the
 * file is missing, not well-formed, or holds a part that is not supported (the message names the part); QK_IO
 * when it cannot be read. *out is freed with qk_tokenizer_free, and NULL on failure. A tokenizer is never
 * changed after it was opened: threads may share it. */
enum qk_code qk_tokenizer_open(const char *folder, struct qk_tokenizer **out, struct qk_error *err);
void qk_tokenizer_free(struct qk_tokenizer *tokenizer);

/* *ids = the n_ids tokens of text[0, n); the caller frees. `special`: with the tokens of the template around them
 * (BOS ...). Special tokens that are spelled out in the text are found either way. QK_INPUT when the text cannot
 * be taken: a normalizer that needs UTF-8, a pattern that does not come to an end, growth beyond all measure. */
enum qk_code qk_tokenizer_encode(const struct qk_tokenizer *tokenizer, const char *text, size_t n,
    bool special, int32_t **ids, size_t *n_ids, struct qk_error *err);

/* How many special tokens `special` puts behind a text: those that a text which is to be
 * continued must do without. */
size_t qk_tokenizer_trailing(const struct qk_tokenizer *tokenizer);

/* *text = the `length` bytes that the ids stand for, with a NUL behind them; the caller frees. skip_special
 * leaves special tokens out. QK_INPUT when an id is none of this tokenizer's. */
enum qk_code qk_tokenizer_decode(const struct qk_tokenizer *tokenizer, const int32_t *ids, size_t n,
    bool skip_special, char **text, size_t *length, struct qk_error *err);

/* The bytes of one token as they stand inside a text: like decoding it alone, but what the decoder
 * would take off the beginning or the end of a text (a SentencePiece token's first space) stays.
 * Otherwise as qk_tokenizer_decode. */
enum qk_code qk_tokenizer_piece(
    const struct qk_tokenizer *tokenizer, int32_t id, char **text, size_t *length, struct qk_error *err);

/* The largest id and one: what a row of logits must at least be wide for. */
size_t qk_tokenizer_size(const struct qk_tokenizer *tokenizer);

#endif
