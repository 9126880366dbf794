/* rope.c - the scalings of rotary frequencies. */
#include "model/rope.h"

#include "base/json.h"
#include "model/layout.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* A layer's frequencies, and where its scaling stands. */
struct scaling {
    const struct qk_config *config;
    const cJSON *rope;
    double width, theta; /* frequency j is theta^(-2j / width) */
    int pairs;
    double tokens;
    double *frequency, *factor;
};

static enum qk_code positive(
    const struct scaling *s, const char *key, double value, double *out, struct qk_error *err)
{
    *out = value;
    if (value > 0 && isfinite(value))
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: rope scaling: %s is missing or out of range (found %g, expected > 0)",
        s->config->path, key, value);
}

static enum qk_code rope_number(const struct scaling *s, const char *key, double *out, struct qk_error *err)
{
    return positive(s, key, qk_json_number(s->rope, key, -1), out, err);
}

static double config_number(const struct scaling *s, const char *key, double fallback)
{
    return qk_json_number(s->config->text, key, fallback);
}

/* The number of tokens before the model was stretched. */
static double original_length(const struct scaling *s, double fallback)
{
    static const char KEY[] = "original_max_position_embeddings";
    return qk_json_number(s->rope, KEY, config_number(s, KEY, fallback));
}

static enum qk_code keep(const struct scaling *s, struct qk_error *err)
{
    (void)s;
    (void)err;
    return QK_OK;
}

static enum qk_code scale_linear(const struct scaling *s, struct qk_error *err)
{
    double divisor;
    QK_TRY(rope_number(s, "factor", &divisor, err));
    for (int j = 0; j < s->pairs; j++)
        s->frequency[j] /= divisor;
    return QK_OK;
}

static void set_theta(const struct scaling *s, double theta)
{
    for (int j = 0; j < s->pairs; j++)
        s->frequency[j] = pow(theta, -2.0 * j / s->width);
}

/* Grows theta with the number of tokens, or once and for all where the config has "alpha" (Hunyuan). */
static enum qk_code scale_dynamic(const struct scaling *s, struct qk_error *err)
{
    double alpha = qk_json_number(s->rope, "alpha", 0), factor, length, power = s->width / (s->width - 2);
    if (s->width <= 2)
        return QK_OK;
    if (alpha > 0 && isfinite(alpha)) {
        set_theta(s, s->theta * pow(alpha, power));
        return QK_OK;
    }
    QK_TRY(rope_number(s, "factor", &factor, err));
    QK_TRY(positive(s, "max_position_embeddings",
        original_length(s, config_number(s, "max_position_embeddings", -1)), &length, err));
    double grown = factor * fmax(s->tokens, length) / length - (factor - 1);
    set_theta(s, s->theta * pow(grown, power));
    return QK_OK;
}

/* Stretches long waves by `factor`, keeps short ones, and blends those between. */
static enum qk_code scale_llama3(const struct scaling *s, struct qk_error *err)
{
    double factor, low, high, length;
    QK_TRY(rope_number(s, "factor", &factor, err));
    QK_TRY(rope_number(s, "low_freq_factor", &low, err));
    QK_TRY(rope_number(s, "high_freq_factor", &high, err));
    QK_TRY(rope_number(s, "original_max_position_embeddings", &length, err));
    if (!(high > low))
        return qk_fail(err, QK_INPUT, "%s: rope scaling: high_freq_factor is not above low_freq_factor",
            s->config->path);
    for (int j = 0; j < s->pairs; j++) {
        double f = s->frequency[j], turns = length * f / (2 * PI);
        double kept = turns < low ? 0 : turns > high ? 1 : (turns - low) / (high - low);
        s->frequency[j] = (1 - kept) * f / factor + kept * f;
    }
    return QK_OK;
}

/* What YaRN multiplies logits by when the context grows by `factor`. */
static double yarn_factor(double factor, double scale)
{
    return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

/* *out = how many times longer the context is than the original one. */
static enum qk_code yarn_stretch(const struct scaling *s, double *length, double *out, struct qk_error *err)
{
    double most = config_number(s, "max_position_embeddings", -1);
    QK_TRY(positive(s, "original_max_position_embeddings", original_length(s, most), length, err));
    return positive(s, "factor", qk_json_number(s->rope, "factor", most / *length), out, err);
}

/* The pair, counted with fractions, that turns so many times over the original length. */
static double pair_of(const struct scaling *s, double length, double turns)
{
    return s->width * log(length / (turns * 2 * PI)) / (2 * log(s->theta));
}

/* Keeps the pairs that turn often over the original length, stretches those that hardly turn, and goes over from the
 * one to the other along a ramp. Only the ramp's ends are whole numbers, unless "truncate" is false. */
static enum qk_code scale_yarn(const struct scaling *s, struct qk_error *err)
{
    double length, factor, scale = qk_json_number(s->rope, "mscale", 0),
                           all = qk_json_number(s->rope, "mscale_all_dim", 0);
    QK_TRY(yarn_stretch(s, &length, &factor, err));
    double fast = qk_json_number(s->rope, "beta_fast", 32), slow = qk_json_number(s->rope, "beta_slow", 1);
    QK_TRY(positive(s, "beta_fast", fast, &fast, err));
    QK_TRY(positive(s, "beta_slow", slow, &slow, err));
    if (!(s->theta > 1))
        return qk_fail(err, QK_INPUT, "%s: rope scaling: YaRN needs a rope_theta above 1 (found %g)",
            s->config->path, s->theta);
    bool whole = qk_json_bool(s->rope, "truncate", true);
    double low = pair_of(s, length, fast), high = pair_of(s, length, slow);
    low = fmax(whole ? floor(low) : low, 0);
    high = fmin(whole ? ceil(high) : high, s->width - 1);
    high = low == high ? low + 0.001 : high;
    for (int j = 0; j < s->pairs; j++) {
        double ramp = fmin(fmax((j - low) / (high - low), 0), 1), f = s->frequency[j];
        s->frequency[j] = f / factor * ramp + f * (1 - ramp);
    }
    double by_length = scale != 0 && all != 0 ? yarn_factor(factor, scale) / yarn_factor(factor, all)
                                              : yarn_factor(factor, 1);
    *s->factor = qk_json_number(s->rope, "attention_factor", by_length);
    return QK_OK;
}

/* Divides the frequency of each pair by its divisor. */
static enum qk_code scale_longrope(const struct scaling *s, struct qk_error *err)
{
    double original = original_length(s, -1), most = config_number(s, "max_position_embeddings", -1);
    bool beyond = s->tokens > original;
    const char *key = beyond ? "long_factor" : "short_factor";
    const cJSON *divisors = qk_json_get(s->rope, key);
    if (!(original > 1 && most > 0) || cJSON_GetArraySize(divisors) != s->pairs)
        return qk_fail(err, QK_INPUT,
            "%s: rope scaling: %s is not a list of %d numbers, or the lengths are missing", s->config->path,
            key, s->pairs);
    const cJSON *item = divisors->child;
    for (int j = 0; j < s->pairs; j++, item = item->next) {
        if (!cJSON_IsNumber(item) || !(item->valuedouble > 0))
            return qk_fail(
                err, QK_INPUT, "%s: rope scaling: %s[%d] is not a number above 0", s->config->path, key, j);
        s->frequency[j] /= item->valuedouble;
    }
    double stretch = most / original, by_length = stretch <= 1 ? 1 : sqrt(1 + log(stretch) / log(original));
    by_length = qk_json_number(s->rope, beyond ? "long_mscale" : "short_mscale", by_length);
    *s->factor = qk_json_number(s->rope, "attention_factor", by_length);
    return QK_OK;
}

/* Turns only the part "partial_rotary_factor" of the pairs: the fast ones, whose frequencies stay those of the whole
 * head. The others stand still. */
static enum qk_code scale_proportional(const struct scaling *s, struct qk_error *err)
{
    double part = qk_json_number(s->rope, "partial_rotary_factor", 1), divisor = 1;
    if (qk_json_get(s->rope, "factor") != NULL)
        QK_TRY(rope_number(s, "factor", &divisor, err));
    int turning = (int)fmin(floor(fmax(part, 0) * s->width / 2), s->pairs);
    for (int j = 0; j < s->pairs; j++)
        s->frequency[j] = j < turning ? s->frequency[j] / divisor : 0;
    return QK_OK;
}

static const struct {
    const char *type;
    enum qk_code (*scale)(const struct scaling *s, struct qk_error *err);
} SCALINGS[] = {{"default", keep}, {"mrope", keep}, /* a text's three positions are equal */
    {"linear", scale_linear}, {"dynamic", scale_dynamic}, {"llama3", scale_llama3}, {"yarn", scale_yarn},
    {"longrope", scale_longrope}, {"su", scale_longrope}, {"proportional", scale_proportional}};

/* What DeepSeek's latent attention multiplies its scores by, whose cosines and sines do not grow. */
static double latent_score(const struct scaling *s)
{
    double all = qk_json_number(s->rope, "mscale_all_dim", 0), length, factor;
    if (all == 0 || yarn_stretch(s, &length, &factor, NULL) != QK_OK)
        return 1;
    return yarn_factor(factor, all) * yarn_factor(factor, all);
}

enum qk_code qk_rope_scaled(const struct qk_config *config, const struct qk_layer *layer, size_t T,
    double *frequency, double *factor, double *score, struct qk_error *err)
{
    const cJSON *rope = layer->rope;
    const struct scaling s = {.config = config,
        .rope = rope,
        .width = layer->rope_width,
        .theta = layer->rope_theta,
        .pairs = layer->rotary_dims / 2,
        .tokens = (double)T,
        .frequency = frequency,
        .factor = factor};
    const char *type = qk_json_string(rope, "rope_type", qk_json_string(rope, "type", "default"));
    *factor = *score = 1;
    set_theta(&s, s.theta);
    for (size_t i = 0; i < sizeof SCALINGS / sizeof SCALINGS[0]; i++)
        if (strcmp(SCALINGS[i].type, type) == 0) {
            QK_TRY(SCALINGS[i].scale(&s, err));
            if (layer->role[QK_K].down != NULL && !layer->plain_scores && strcmp(type, "default") != 0)
                *score = latent_score(&s);
            return QK_OK;
        }
    return qk_fail(err, QK_INPUT,
        "%s: rope scaling \"%s\" is not built in (there are linear, dynamic, llama3, yarn, longrope and "
        "proportional)",
        config->path, type);
}
