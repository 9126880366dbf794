/* parts.c - the parts of a forward pass, from a layout row. */
#include "forward/parts.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/rope.h"
#include "tensor/quantised.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum qk_code qk_parts_open(const struct qk_model *model, const struct qk_patch *patch, size_t T,
    struct qk_parts *parts, struct qk_error *err)
{
    *parts = (struct qk_parts){.model = model, .patch = patch, .T = T};
    enum qk_code code = qk_layout_find(model->config.model_type, &parts->layout, err);
    if (code == QK_OK)
        code = qk_names_open(model->checkpoint, &parts->names, err);
    if (code != QK_OK) {
        qk_parts_close(parts);
        return code;
    }
    parts->forward = qk_json_get(parts->layout.row, "forward");
    return QK_OK;
}

void qk_parts_close(struct qk_parts *parts)
{
    qk_layout_free(&parts->layout);
    qk_names_close(&parts->names);
    *parts = (struct qk_parts){0};
}

enum qk_code qk_parts_check_tokens(const struct qk_parts *parts, struct qk_error *err)
{
    double most;
    if (!qk_layout_value(parts->forward, "most_tokens", &parts->model->config, &most) ||
        (double)parts->T <= most)
        return QK_OK;
    return qk_fail(err, QK_INPUT,
        "%s: its attention sees %g tokens alone, which is not built in (found %zu tokens, expected at most %g)",
        parts->model->checkpoint->path, most, parts->T, most);
}

enum qk_code qk_parts_check(const struct qk_parts *parts, struct qk_error *err)
{
    const char *reason = qk_parts_missing(parts);
    return reason == NULL ? qk_parts_check_tokens(parts, err)
                          : qk_fail(err, QK_INPUT, "%s: there is no forward pass for the %s family: %s",
                                parts->model->checkpoint->path, parts->model->family, reason);
}

const cJSON *qk_parts_mixer(const struct qk_parts *parts, const struct qk_layer *layer)
{
    return qk_layout_mixer(&parts->layout, layer->mixer);
}

size_t qk_parts_use(const struct qk_parts *parts, const struct qk_layer *layer)
{
    size_t before = 0;
    for (int i = 0; i < layer->index; i++)
        before += strcmp(parts->model->layer[i].mixer, layer->mixer) == 0;
    return before;
}

bool qk_parts_runs(const struct qk_parts *parts, const struct qk_layer *layer)
{
    const cJSON *mixer = qk_parts_mixer(parts, layer);
    return layer->kind != QK_NONE || qk_json_get(mixer, "recurrence") != NULL ||
           strcmp(qk_json_string(mixer, "block", ""), "mlp") == 0;
}

/* --- reasons --- */

static const char *reason_text(const char *word)
{
    static const struct {
        const char *word, *text;
    } reasons[] = {{"experts", "its mixtures of experts are not built in"},
        {"alibi", "its ALiBi positions are not built in"},
        {"convolutions", "its convolutions of q, k and v are not built in"},
        {"bidirectional", "its attention goes both ways"},
        {"variant", "its config asks for a variant of its layers that is not built in"},
        {"layer_scale", "its scores are scaled by the number of the layer"},
        {"qk_layer_norm", "its q/k norms are layer norms"}, {"clipped", "its queries and keys are clipped"},
        {"sinks", "its full attention has sinks"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (strcmp(word, reasons[i].word) == 0)
            return reasons[i].text;
    return "its layout row says so";
}

const char *qk_row_refused(const struct qk_layout *row)
{
    if (row->guessed)
        return "its model type is not in the layout table";
    return qk_json_get(row->row, "forward") == NULL ? "its layout row does not describe its layers' norm"
                                                    : NULL;
}

const char *qk_row_missing(const struct qk_layout *row)
{
    const char *reason = qk_row_refused(row);
    const cJSON *forward = qk_json_get(row->row, "forward");
    const char *word = qk_json_string(forward, "missing", NULL);
    if (reason != NULL)
        return reason;
    if (word != NULL)
        return reason_text(word);
    return qk_json_get(forward, "embedding") == NULL ? "its layout row describes its attention alone" : NULL;
}

const char *qk_row_condition(const struct qk_layout *row, int i, const char **why)
{
    const cJSON *refuse = qk_json_get(qk_json_get(row->row, "forward"), "refuse");
    const cJSON *item = refuse != NULL ? cJSON_GetArrayItem(refuse, i) : NULL;
    *why = item != NULL ? reason_text(item->valuestring) : NULL;
    return item != NULL ? item->string : NULL;
}

const char *qk_parts_refused(const struct qk_parts *parts)
{
    const char *reason = qk_row_refused(&parts->layout), *condition;
    if (reason != NULL)
        return reason;
    const struct qk_adapter *adapter = parts->model->checkpoint->adapter;
    if (adapter != NULL && adapter->partial)
        return "its adapter changes tensors of layers that the base does not have";
    for (int i = 0; (condition = qk_row_condition(&parts->layout, i, &reason)) != NULL; i++)
        if (qk_layout_holds(&parts->model->config, condition))
            return reason;
    return NULL;
}

static const char *layer_missing(const struct qk_parts *parts, const struct qk_layer *layer)
{
    const struct qk_tensor *router;
    if (!qk_parts_runs(parts, layer))
        return "its layers without q and k are not built in";
    if (layer->problem != NULL)
        return layer->problem;
    if (layer->no_k != NULL)
        return "layers that use the keys of an earlier one are not built in";
    qk_parts_layer_tensor(parts, layer->index, parts->forward, "router", ".weight", false, &router, NULL);
    return router != NULL ? reason_text("experts") : NULL;
}

const char *qk_parts_missing(const struct qk_parts *parts)
{
    const char *reason = qk_parts_refused(parts);
    if (reason == NULL)
        reason = qk_row_missing(&parts->layout);
    if (reason == NULL && qk_model_width(parts->model) == 0)
        reason = "none of its layers has q and k";
    for (int i = 0; i < parts->model->n_layers && reason == NULL; i++)
        reason = layer_missing(parts, &parts->model->layer[i]);
    return reason;
}

/* --- tensors --- */

/* The name at index i of a key that holds one name or several; NULL behind the last. */
static const char *name_at(const cJSON *names, int i)
{
    if (cJSON_IsString(names))
        return i == 0 ? names->valuestring : NULL;
    const cJSON *item = cJSON_IsArray(names) ? cJSON_GetArrayItem(names, i) : NULL;
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* out = the name with the expert's number for each part N; true when there is one. A name that is too long becomes
 * empty. */
enum { NAME_SIZE = 512 };
static bool name_of_expert(const char *name, size_t expert, char out[NAME_SIZE])
{
    size_t length = 0;
    bool each = false;
    for (const char *part = name; *part != '\0' && length < NAME_SIZE;) {
        size_t n = strcspn(part, "."), step = n + (part[n] == '.');
        bool number = n == 1 && *part == 'N';
        int written =
            number ? snprintf(out + length, NAME_SIZE - length, "%zu%s", expert, part[n] == '.' ? "." : "")
                   : snprintf(out + length, NAME_SIZE - length, "%.*s", (int)step, part);
        length += (size_t)written;
        each = each || number;
        part += step;
    }
    if (length >= NAME_SIZE)
        length = 0;
    out[length] = '\0';
    return each;
}

/* The tensor of the first name of the list that the layer has, with the expert's number in the place of N. */
static const struct qk_tensor *find_named(const struct qk_parts *parts, int layer, const cJSON *names,
    size_t expert, const char *suffix, bool *number)
{
    const struct qk_tensor *found = NULL;
    char name[NAME_SIZE];
    for (int i = 0; found == NULL && name_at(names, i) != NULL; i++) {
        *number = name_of_expert(name_at(names, i), expert, name);
        found = qk_names_find(&parts->names, layer, name, suffix);
    }
    return found;
}

static enum qk_code fail_missing(const struct qk_parts *parts, int layer, const cJSON *names, const char *key,
    size_t expert, const char *suffix, struct qk_error *err)
{
    char name[NAME_SIZE];
    const char *method = NULL;
    for (int i = 0; name_at(names, i) != NULL; i++) {
        name_of_expert(name_at(names, i), expert, name);
        const struct qk_tensor *sign = qk_packed_find(&parts->names, layer, name, &method);
        if (sign != NULL)
            return qk_fail(err, QK_INPUT, "%s: %s: packed by quantisation (%s), which is not supported",
                qk_checkpoint_file(parts->model->checkpoint, sign), sign->name, method);
    }
    name_of_expert(names != NULL ? name_at(names, 0) : key, expert, name);
    return qk_fail(err, QK_INPUT, "%s: %s%d.%s%s is missing", parts->model->checkpoint->path,
        parts->names.prefix, layer, name, suffix);
}

enum qk_code qk_parts_expert_tensor(const struct qk_parts *parts, int layer, const cJSON *object,
    const char *key, size_t expert, const char *suffix, bool needed, const struct qk_tensor **out, bool *each,
    struct qk_error *err)
{
    const cJSON *names = qk_json_get(object, key);
    int stored = layer < parts->model->n_layers ? parts->model->layer[layer].stored : layer;
    bool number = false;
    *out = find_named(parts, layer, names, expert, suffix, &number);
    if (*out == NULL && stored != layer)
        *out = find_named(parts, stored, names, expert, suffix, &number);
    if (each != NULL)
        *each = *out != NULL && number;
    return *out != NULL || !needed ? QK_OK : fail_missing(parts, layer, names, key, expert, suffix, err);
}

enum qk_code qk_parts_layer_tensor(const struct qk_parts *parts, int layer, const cJSON *object,
    const char *key, const char *suffix, bool needed, const struct qk_tensor **out, struct qk_error *err)
{
    return qk_parts_expert_tensor(parts, layer, object, key, 0, suffix, needed, out, NULL, err);
}

enum qk_code qk_parts_model_tensor(const struct qk_parts *parts, const char *key, const char *suffix,
    bool needed, const struct qk_tensor **out, struct qk_error *err)
{
    const cJSON *names = qk_json_get(parts->forward, key);
    *out = NULL;
    for (int i = 0; *out == NULL && name_at(names, i) != NULL; i++)
        *out = qk_names_outwards(&parts->names, name_at(names, i), suffix);
    if (*out != NULL || !needed)
        return QK_OK;
    size_t n = qk_names_outer(parts->names.prefix, strlen(parts->names.prefix));
    return qk_fail(err, QK_INPUT, "%s: %.*s%s%s is missing", parts->model->checkpoint->path, (int)n,
        parts->names.prefix, names != NULL ? name_at(names, 0) : key, suffix);
}

/* --- experts --- */

const cJSON *qk_parts_experts(const struct qk_parts *parts, int layer)
{
    const cJSON *experts = qk_json_get(parts->forward, "experts");
    const struct qk_tensor *router = NULL;
    if (experts != NULL)
        qk_parts_layer_tensor(parts, layer, experts, "router", ".weight", false, &router, NULL);
    return router != NULL ? experts : NULL;
}

/* True when `below` is the name, or goes on behind it with . or _; a part N is any number. */
static bool is_name_of(const char *name, const char *below)
{
    for (bool begins = true; *name != '\0';) {
        size_t digits = strspn(below, "0123456789");
        if (begins && *name == 'N' && (name[1] == '.' || name[1] == '\0') && digits > 0) {
            name++;
            below += digits;
            begins = false;
        } else {
            begins = *name == '.';
            if (*name++ != *below++)
                return false;
        }
    }
    return *below == '\0' || *below == '.' || *below == '_';
}

bool qk_parts_is_expert(const struct qk_parts *parts, int layer, const struct qk_name *name)
{
    static const char *const keys[] = {"gate", "up", "gate_up", "down"};
    const cJSON *experts = qk_json_get(parts->forward, "experts");
    char start[NAME_SIZE];
    int length = snprintf(start, sizeof start, "%s%d.", parts->names.prefix, layer);
    if (experts == NULL || strncmp(name->plain, start, (size_t)length) != 0)
        return false;
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
        for (int i = 0; name_at(qk_json_get(experts, keys[k]), i) != NULL; i++)
            if (is_name_of(name_at(qk_json_get(experts, keys[k]), i), name->plain + length))
                return true;
    return false;
}

enum qk_code qk_parts_eps(
    const struct qk_parts *parts, const cJSON *mixer, const char *key, double *eps, struct qk_error *err)
{
    const struct qk_config *config = &parts->model->config;
    bool found = (key != NULL && qk_layout_value(mixer, key, config, eps)) ||
                 qk_layout_value(parts->forward, "eps", config, eps);
    if (found && *eps >= 0)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: the config has no eps for its norms", parts->model->checkpoint->path);
}

enum qk_code qk_parts_multiplier(
    const struct qk_parts *parts, const cJSON *object, const char *key, float *out, struct qk_error *err)
{
    static const struct qk_bounds FINITE = {-FLT_MAX, FLT_MAX, "a number"};
    double factor = 1;
    bool found;
    QK_TRY(qk_layout_number(object, key, &parts->model->config, FINITE, &found, &factor, err));
    *out = (float)factor;
    return QK_OK;
}

/* --- rotary frequencies --- */

enum qk_code qk_rope_frequencies(const struct qk_parts *parts, const struct qk_layer *layer, float *frequency,
    float *factor, float *score, struct qk_error *err)
{
    size_t pairs = (size_t)layer->rotary_dims / 2;
    double *exact, exact_factor, exact_score;
    QK_TRY(qk_alloc(&exact, pairs, sizeof *exact, err));
    enum qk_code code =
        qk_rope_scaled(&parts->model->config, layer, parts->T, exact, &exact_factor, &exact_score, err);
    for (size_t j = 0; j < pairs && code == QK_OK; j++)
        frequency[j] = (float)exact[j];
    free(exact);
    QK_TRY(code);
    *factor = (float)exact_factor;
    *score = (float)exact_score;
    return QK_OK;
}
