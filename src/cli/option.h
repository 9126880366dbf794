/* option.h - options of the command line, and the rows that several commands share. */
#ifndef QK_CLI_OPTION_H
#define QK_CLI_OPTION_H

/* One option. --help, the parser and the manual read the same row. */
struct qk_option_info {
    const char *name;     /* long name without dashes: "json" */
    char letter;          /* short name, or 0; the same in every command */
    const char *argument; /* NULL: takes none; else its name in help: "DIR". Of words with | between them
                             ("auto|always|never") the parser takes one, and nothing else */
    const char *help;     /* one sentence without a full stop */
};

/* A table of options holds pointers to rows, then NULL. A row that only one command has, or that means something
 * else there, is written in its table with QK_OPTION. */
#define QK_OPTION(...) (&(const struct qk_option_info){__VA_ARGS__})

/* Every command takes these two (qk_common_options). */
extern const struct qk_option_info qk_option_help, qk_option_version;
extern const struct qk_option_info *const qk_common_options[];

/* Rows for the table of any command. inputs.h and arguments.h read --set, --recipe, --norms, --comment, --force,
 * --memory, --precision, --remote and --threads for it. */
extern const struct qk_option_info qk_option_ascii, qk_option_cases, qk_option_comment, qk_option_csv,
    qk_option_force, qk_option_heads, qk_option_json, qk_option_layers, qk_option_length, qk_option_memory,
    qk_option_needles, qk_option_no_cache, qk_option_norms, qk_option_precision, qk_option_prompts,
    qk_option_recipe, qk_option_remote, qk_option_set, qk_option_threads;
/* Those that choose an engine; engines.h reads them. */
extern const struct qk_option_info qk_option_engine, qk_option_tasks, qk_option_metric, qk_option_server,
    qk_option_served, qk_option_reload, qk_option_parallel, qk_option_scratch, qk_option_timeout;

#endif
