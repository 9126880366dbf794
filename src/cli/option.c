/* option.c - the rows of options that several commands share. */
#include "cli/option.h"

#include <stddef.h>

const struct qk_option_info qk_option_help = {"help", 'h', NULL, "print this help and leave"};
const struct qk_option_info qk_option_version = {"version", 'V', NULL, "print the version and leave"};
const struct qk_option_info *const qk_common_options[] = {&qk_option_help, &qk_option_version, NULL};

/* --- the choices --- */

const struct qk_option_info qk_option_set = {"set", 's', "SPEC",
    "choose, as in full=restore, 4:q=lerp:0.5 or 10/q0-1,k0=restore; repeatable, later wins"};
const struct qk_option_info qk_option_recipe = {
    "recipe", 'r', "FILE", "begin with the choices of a recipe, before any --set"};
const struct qk_option_info qk_option_norms = {
    "norms", 0, NULL, "let the gains of q/k norms follow their role"};
const struct qk_option_info qk_option_comment = {"comment", 0, "TEXT", "a remark to keep in the recipe"};
const struct qk_option_info qk_option_force = {
    "force", 'f', NULL, "take a --recipe that was made for other checkpoints"};

/* --- the work --- */

const struct qk_option_info qk_option_cases = {
    "cases", 'c', "FILE", "cases to ask: JSON lines with prompt and answer, or of other tools; repeatable"};
const struct qk_option_info qk_option_needles = {
    "needles", 0, "FILE", "prompts of your own: JSON lines with prompt and answer, the answer in the prompt"};
const struct qk_option_info qk_option_length = {
    "length", 'n', "N", "tokens of a made prompt; 512 without it"};
const struct qk_option_info qk_option_prompts = {
    "prompts", 0, "N", "prompts to make, with the needle at N depths; 24 without it"};
const struct qk_option_info qk_option_layers = {"layers", 'l', "LAYERS",
    "only these layers: a list such as 1,4-7, a kind (full, window, linear), all, or a test such as routing>0.15"};
const struct qk_option_info qk_option_no_cache = {
    "no-cache", 0, NULL, "compute anew, and keep nothing for the next time"};
const struct qk_option_info qk_option_remote = {"remote", 0, NULL,
    "read ORG/NAME[@REVISION] on the Hugging Face hub, not in its local cache; fetch only headers and needed "
    "parts, and keep them for the next time"};
const struct qk_option_info qk_option_memory = {"memory", 0, "SIZE",
    "hold weights and activations of SIZE at most, such as 8G, and read the rest again; half of what is free "
    "without it"};
const struct qk_option_info qk_option_precision = {"precision", 0, "f32|bf16",
    "multiply tokens with weights as float32, or with oneDNN as bfloat16, which is faster and less exact; f32 "
    "without it"};
const struct qk_option_info qk_option_threads = {
    "threads", 'j', "N", "compute in N threads; one a processor without it"};

/* --- engines --- */

const struct qk_option_info qk_option_engine = {"engine", 0, "COMMAND",
    "let a command answer: sh runs it with {model} (the checkpoint's folder), {tasks} (a file of cases, or --tasks) "
    "and {out} (the folder for its results) filled in"};
const struct qk_option_info qk_option_tasks = {"tasks", 0, "LIST",
    "of --engine: tasks of the command's own instead of --cases, such as niah_single_2,ruler_vt"};
const struct qk_option_info qk_option_metric = {
    "metric", 0, "NAME[,FILTER]", "of --tasks: the metric to read of each task; the first without it"};
const struct qk_option_info qk_option_server = {"server", 0, "URL",
    "let a server with the OpenAI API (/v1/completions of vLLM, SGLang or llama.cpp) answer, such as "
    "http://127.0.0.1:8000"};
const struct qk_option_info qk_option_served = {
    "served", 0, "NAME", "of --server: the name of the model there; the only one without it"};
const struct qk_option_info qk_option_reload = {"reload", 0, "HOW",
    "of --server: how it takes other weights: a path such as /update_weights_from_disk (SGLang), an address, or a "
    "command with {model}; not at all without it"};
const struct qk_option_info qk_option_parallel = {
    "parallel", 0, "N", "of --server: send N cases at once; 16 without it"};
const struct qk_option_info qk_option_scratch = {"scratch", 0, "DIR",
    "write what an engine needs to DIR, such as /dev/shm for memory; beside POST without it"};
const struct qk_option_info qk_option_timeout = {"timeout", 0, "SECONDS",
    "end a command, or wait for an answer of a server, so long at most; no limit without it"};

/* --- the output --- */

const struct qk_option_info qk_option_heads = {
    "heads", 'H', NULL, "a row for every head as well (in CSV instead)"};
const struct qk_option_info qk_option_json = {"json", 0, NULL, "print everything as one JSON object"};
const struct qk_option_info qk_option_csv = {
    "csv", 0, NULL, "print comma-separated values with a heading row"};
const struct qk_option_info qk_option_ascii = {"ascii", 0, NULL, "use ASCII characters alone"};
