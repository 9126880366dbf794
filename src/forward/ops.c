/* ops.c - norms, activations, rotary positions and short convolutions of a forward pass. */
#include "forward/ops.h"

#include "forward/elementwise.h"
#include "forward/exponential.h"
#include "linalg/gemm.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

void qk_linear(size_t T, size_t k, size_t n, const float *x, const float *weight, const float *bias,
    float *out, size_t ld)
{
    for (size_t t = 0; bias != NULL && t < T; t++)
        memcpy(out + t * ld, bias, n * sizeof *out);
    qk_gemm(true, T, n, k, 1.0f, x, k, weight, k, bias != NULL ? 1.0f : 0.0f, out, ld);
}

void qk_rms_norm(
    size_t T, size_t n, size_t ld, const float *x, const float *gain, float offset, double eps, float *out)
{
    for (size_t t = 0; t < T; t++) {
        const float *row = x + t * ld;
        float *to = out + t * ld;
        float scale = (float)(1.0 / sqrt(qk_sum_of_squares(n, row) / (double)n + eps));
        qk_scale_by_gain(n, row, scale, gain, offset, to);
    }
}

void qk_layer_norm(
    size_t T, size_t n, const float *x, const float *gain, const float *bias, double eps, float *out)
{
    for (size_t t = 0; t < T; t++) {
        const float *row = x + t * n;
        double sum = 0, squares = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)row[i];
        double mean = sum / (double)n;
        for (size_t i = 0; i < n; i++)
            squares += ((double)row[i] - mean) * ((double)row[i] - mean);
        double scale = 1.0 / sqrt(squares / (double)n + eps);
        for (size_t i = 0; i < n; i++)
            out[t * n + i] =
                (float)(((double)row[i] - mean) * scale) * gain[i] + (bias != NULL ? bias[i] : 0.0f);
    }
}

void qk_l2_norm(size_t T, size_t n, size_t ld, float *x, double eps, float scale)
{
    for (size_t t = 0; t < T; t++) {
        float *row = x + t * ld;
        qk_scale(n, (float)((double)scale / sqrt(qk_sum_of_squares(n, row) + eps)), row);
    }
}

bool qk_activation_parse(const char *word, enum qk_activation *out)
{
    static const struct {
        const char *word;
        enum qk_activation activation;
    } words[] = {{"silu", QK_SILU}, {"swish", QK_SILU}, {"sigmoid", QK_SIGMOID}, {"gelu", QK_GELU},
        {"gelu_new", QK_GELU_TANH}, {"gelu_fast", QK_GELU_TANH}, {"gelu_pytorch_tanh", QK_GELU_TANH},
        {"relu2", QK_RELU2}, {"identity", QK_IDENTITY}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i].word) == 0) {
            *out = words[i].activation;
            return true;
        }
    }
    return false;
}

void qk_activate(enum qk_activation activation, size_t n, float *x)
{
    switch (activation) {
    case QK_SILU:
    case QK_SIGMOID:
        qk_logistic(n, activation == QK_SILU, x);
        break;
    case QK_GELU:
        for (size_t i = 0; i < n; i++)
            x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
        break;
    case QK_GELU_TANH: /* sqrt(2/pi) */
        for (size_t i = 0; i < n; i++)
            x[i] = 0.5f * x[i] * (1.0f + tanhf(0.79788456f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
        break;
    case QK_RELU2:
        for (size_t i = 0; i < n; i++)
            x[i] = x[i] > 0 ? x[i] * x[i] : 0.0f;
        break;
    case QK_IDENTITY:
        break;
    }
}

float qk_softplus(float x)
{
    return x > 20.0f ? x : log1pf(expf(x));
}

void qk_rope_table(size_t T, size_t pairs, const float *frequency, float factor, float *cosines, float *sines)
{
    for (size_t t = 0; t < T; t++) {
        for (size_t j = 0; j < pairs; j++) {
            float angle = (float)t * frequency[j];
            cosines[t * pairs + j] = factor * (float)cos((double)angle);
            sines[t * pairs + j] = factor * (float)sin((double)angle);
        }
    }
}

void qk_rope(size_t T, size_t heads, size_t head_dim, size_t ld, size_t pairs, bool interleaved,
    const float *cosines, const float *sines, float *x)
{
    size_t step = interleaved ? 2 : 1, reach = interleaved ? 1 : pairs;
    for (size_t t = 0; t < T; t++) {
        const float *c = cosines + t * pairs, *s = sines + t * pairs;
        for (size_t h = 0; h < heads; h++) {
            float *v = x + t * ld + h * head_dim;
            for (size_t j = 0; j < pairs; j++) {
                float a = v[j * step], b = v[j * step + reach];
                v[j * step] = a * c[j] - b * s[j];
                v[j * step + reach] = b * c[j] + a * s[j];
            }
        }
    }
}

void qk_convolve(
    size_t t, size_t channels, size_t ld, size_t width, const float *kernel, const float *x, float *out)
{
    size_t first =
        t + 1 < width ? width - t - 1 : 0; /* the taps before this one lie before the first token */
    for (size_t c = 0; c < channels; c++) {
        float sum = 0.0f;
        for (size_t i = first; i < width; i++)
            sum += kernel[c * width + i] * x[(t + i + 1 - width) * ld + c];
        out[c] = sum;
    }
}
