/* tokenizer.h - text to token ids and back, by a checkpoint's tokenizer.json.
 *
 * It does what Hugging Face's tokenizers library does with the file (github.com/huggingface/tokenizers, which defines
 * the steps' names and their meaning). It covers models of type BPE: byte-level (GPT-2, Llama 3, Qwen) and
 * SentencePiece's (Llama 2, Gemma). It refuses any part of another kind by name: a tokenizer that is only nearly
 * right is worse than none. The user can give token ids instead.
 *
 * The installed PCRE2 and utf8proc decide what a letter or a digit is. A character that is newer than their Unicode
 * (hieroglyphs of 2024, say) may be cut differently.
 *
 * Three things differ on purpose. First, text need not be UTF-8: other bytes become byte-level tokens or byte
 * fallbacks, and decoding gives them back, where the library puts U+FFFD. Second, tokenizer.json may have no template
 * (TemplateProcessing, BertProcessing, RobertaProcessing). Then add_bos_token and add_eos_token of
 * tokenizer_config.json count, as in transformers for Llama's class. With a template they do not count.
 * Third, an added token has the id that the file gives it. The library counts on from the size of the vocabulary, also
 * where the file leaves ids out. */
#ifndef QK_TOKEN_TOKENIZER_H
#define QK_TOKEN_TOKENIZER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qk_tokenizer;

/* Reads FOLDER/tokenizer.json, and tokenizer_config.json beside it where it is needed. QK_INPUT when the file is
 * missing, not well-formed, or holds a part that is not supported (the message names the part). QK_IO when it cannot
 * be read. *out is freed with qk_tokenizer_free, and NULL on failure. An open tokenizer never changes: threads may
 * share it. */
enum qk_code qk_tokenizer_open(const char *folder, struct qk_tokenizer **out, struct qk_error *err);
void qk_tokenizer_free(struct qk_tokenizer *tokenizer);

/* *ids = the n_ids tokens of text[0, n); the caller frees. `special` adds the tokens of the template around them (BOS
 * ...). Special tokens that the text spells out are found either way. QK_INPUT when the text is refused: a normalizer
 * needs UTF-8, a pattern takes too long, or the text grows beyond the limit. */
enum qk_code qk_tokenizer_encode(const struct qk_tokenizer *tokenizer, const char *text, size_t n,
    bool special, int32_t **ids, size_t *n_ids, struct qk_error *err);

/* How many special tokens `special` puts behind a text. A text to be continued must not have them. */
size_t qk_tokenizer_trailing(const struct qk_tokenizer *tokenizer);

/* *text = the `length` bytes that the ids stand for, with a NUL behind them; the caller frees. skip_special leaves
 * special tokens out. QK_INPUT when an id is not in this tokenizer. */
enum qk_code qk_tokenizer_decode(const struct qk_tokenizer *tokenizer, const int32_t *ids, size_t n,
    bool skip_special, char **text, size_t *length, struct qk_error *err);

/* The bytes of one token as they stand inside a text. This is like decoding it alone, but keeps what the decoder
 * removes at the ends of a text (a SentencePiece token's first space). Otherwise as qk_tokenizer_decode. */
enum qk_code qk_tokenizer_piece(
    const struct qk_tokenizer *tokenizer, int32_t id, char **text, size_t *length, struct qk_error *err);

/* The largest id plus one: the least width of a row of logits. */
size_t qk_tokenizer_size(const struct qk_tokenizer *tokenizer);

#endif
