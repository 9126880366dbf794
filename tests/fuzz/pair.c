/* pair.c - tiny pairs of checkpoints for targets that need a whole model: one that can be run, with cases
 * beside it, and one that cannot and has a layer whose shapes differ.
 *
 * The numbers are a fixed generator's; only that they are finite and that pre and post differ matters. */
#include "fuzz.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { D = 8, HEAD_DIM = 4, INNER = 12, LAYERS = 4, BYTES = 256, MOST = 16384 };

static const char RUN_CONFIG[] =
    "{\"model_type\":\"hypenet\",\"hidden_size\":8,\"head_dim\":4,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"lightning_nh\":2,\"lightning_nkv\":2,\"lightning_head_dim\":4,"
    "\"lightning_use_rope\":true,\"attn_logits_scaling\":\"hype 500\",\"num_hidden_layers\":4,"
    "\"mixer_types\":[\"lightning-attn\",\"attn\",\"attn\",\"lightning-attn\"],\"intermediate_size\":12,"
    "\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-6,\"rope_theta\":10000.0,\"tie_word_embeddings\":true,"
    "\"vocab_size\":256,\"max_position_embeddings\":512}";
static const char MIXED_CONFIG[] =
    "{\"model_type\":\"jamba\",\"hidden_size\":8,\"head_dim\":4,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"attn_layer_period\":2,\"attn_layer_offset\":1,\"num_hidden_layers\":6}";
static const char CASES[] =
    "{\"task\":\"a\",\"prompt\":\"ab\",\"answer\":\"c\",\"max_new_tokens\":2}\n"
    "{\"task\":\"b\",\"prompt\":\"of the\",\"answer\":\"x\",\"answer_after\":\"y\",\"answer_until\":\".\","
    "\"max_new_tokens\":4}\n";

static const char IDS[] = "116 104 101 32 119 97 121 32 111 102 10 97 108 108 32 195 169";

/* One file of weights in the making. */
struct weights {
    struct qk_text header;
    float data[MOST];
    size_t n;
    uint32_t state;
};

static void add(struct weights *w, const char *name, size_t rows, size_t columns)
{
    size_t n = rows * (columns > 0 ? columns : 1);
    char shape[48];
    fuzz_check(w->n + n <= MOST, "few numbers");
    snprintf(shape, sizeof shape, columns > 0 ? "[%zu,%zu]" : "[%zu]", rows, columns);
    qk_text_add(&w->header, "%s\"%s.weight\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
        w->n > 0 ? "," : "{", name, shape, 4 * w->n, 4 * (w->n + n));
    for (size_t i = 0; i < n; i++) {
        w->state = w->state * 1664525u + 1013904223u; /* Knuth's ranqd1, as in Numerical Recipes */
        w->data[w->n++] = (float)(w->state >> 8) / (float)(1u << 24) - 0.5f;
    }
}

static void add_layer(struct weights *w, int layer, const char *name, size_t rows, size_t columns)
{
    char whole[96];
    snprintf(whole, sizeof whole, "model.layers.%d.%s", layer, name);
    add(w, whole, rows, columns);
}

static void write_weights(struct weights *w, const char *folder)
{
    char name[64], *bytes;
    qk_text_add(&w->header, "}");
    size_t n = w->header.length, size = 8 + n + 4 * w->n;
    fuzz_check((bytes = malloc(size)) != NULL, "memory");
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, w->header.s, n);
    memcpy(bytes + 8 + n, w->data, 4 * w->n);
    snprintf(name, sizeof name, "%s/model.safetensors", folder);
    fuzz_write_file(name, bytes, size);
    free(bytes);
    qk_text_free(&w->header);
}

static void make_folder(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    fuzz_check(mkdir(path, 0700) == 0, "a folder");
}

static void write_config(const char *folder, const char *file, const char *text)
{
    char name[64];
    snprintf(name, sizeof name, "%s/%s", folder, file);
    fuzz_write_file(name, text, strlen(text));
}

/* Every byte is a token. */
static void write_tokenizer(const char *folder)
{
    struct qk_text text = {0};
    qk_text_add(&text, "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"merges\":[],\"vocab\":{");
    for (unsigned i = 0; i < BYTES; i++)
        qk_text_add(&text, "%s\"<0x%02X>\":%u", i > 0 ? "," : "", i, i);
    qk_text_add(&text, "}},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},"
                       "{\"type\":\"Fuse\"}]}}");
    write_config(folder, "tokenizer.json", text.s);
    qk_text_free(&text);
}

static void write_run(const char *folder, uint32_t seed)
{
    static struct weights w;
    w = (struct weights){.state = seed};
    make_folder(folder);
    write_config(folder, "config.json", RUN_CONFIG);
    write_tokenizer(folder);
    add(&w, "model.embed_tokens", BYTES, D);
    add(&w, "model.norm", D, 0);
    for (int i = 0; i < LAYERS; i++) {
        bool full = i == 1 || i == 2;
        size_t key_rows = full ? HEAD_DIM : D;
        add_layer(&w, i, "input_layernorm", D, 0);
        add_layer(&w, i, "post_attention_layernorm", D, 0);
        add_layer(&w, i, "mlp.gate_proj", INNER, D);
        add_layer(&w, i, "mlp.up_proj", INNER, D);
        add_layer(&w, i, "mlp.down_proj", D, INNER);
        add_layer(&w, i, "self_attn.q_proj", D, D);
        add_layer(&w, i, "self_attn.k_proj", key_rows, D);
        add_layer(&w, i, "self_attn.v_proj", key_rows, D);
        add_layer(&w, i, "self_attn.o_proj", D, D);
        add_layer(&w, i, "self_attn.q_norm", HEAD_DIM, 0);
        add_layer(&w, i, "self_attn.k_norm", HEAD_DIM, 0);
        add_layer(&w, i, full ? "self_attn.o_gate" : "self_attn.z_proj", D, D);
        if (!full)
            add_layer(&w, i, "self_attn.o_norm", D, 0);
    }
    write_weights(&w, folder);
}

static void write_mixed(const char *folder, uint32_t seed, size_t last_width)
{
    static struct weights w;
    w = (struct weights){.state = seed};
    make_folder(folder);
    write_config(folder, "config.json", MIXED_CONFIG);
    for (int i = 1; i <= 5; i += 2) {
        add_layer(&w, i, "self_attn.q_proj", D, i == 5 ? last_width : D);
        add_layer(&w, i, "self_attn.k_proj", HEAD_DIM, i == 5 ? last_width : D);
    }
    write_weights(&w, folder);
}

void fuzz_write_pairs(void)
{
    make_folder("run");
    write_run("run/pre", 1);
    write_run("run/post", 2);
    make_folder("run/cases");
    fuzz_write_file("run/ids", IDS, sizeof IDS - 1);
    fuzz_write_file("run/cases/cases.jsonl", CASES, sizeof CASES - 1);
    make_folder("mixed");
    write_mixed("mixed/pre", 3, D);
    write_mixed("mixed/post", 4, D + 2);
}
