/* engine.h - the engines that answer cases: the built-in forward pass (built_in.c), a command (command.c), or a
 * server (server.c).
 *
 * An evaluation (eval/evaluation.h) asks through this table and does not know which engine answers. It keeps answers
 * itself, and an engine sees only cases without a known answer. An engine with tasks of its own (--tasks) is the
 * exception: it makes the cases, and keeps its results. */
#ifndef QK_EVAL_ENGINE_ENGINE_H
#define QK_EVAL_ENGINE_ENGINE_H

#include "base/progress.h"
#include "eval/engine/subject.h"
#include "eval/exam.h"
#include "export/manifest.h"

enum qk_engine_kind {
    QK_ENGINE_BUILT_IN,
    QK_ENGINE_COMMAND, /* a command answers a file of cases */
    QK_ENGINE_TASKS,   /* a command runs tasks of its own */
    QK_ENGINE_SERVER,
};

/* Zero-initialised: the built-in engine. All texts are borrowed. */
struct qk_engine_options {
    enum qk_engine_kind kind;
    const char *command; /* a line for sh with {model}, {out} and {tasks} */
    const char *tasks;   /* what {tasks} becomes, of QK_ENGINE_TASKS */
    const char *metric;  /* of its results (results.h), or NULL */
    const char *scratch; /* the folder for what is written for an engine; NULL: beside post */
    const char *server;  /* http://HOST:PORT, perhaps with a path */
    const char *served;  /* the name of the model there, or NULL */
    const char *reload;  /* how the server takes other weights, or NULL: not at all */
    int parallel;        /* requests at once */
    double seconds;      /* the longest run of a command, or of a request; 0: no limit */
    /* May be NULL: a remark to the user; the last line that a command wrote so far; what was written for an engine. */
    void (*note)(void *context, const char *line);
    void (*said)(void *context, const char *line);
    void (*wrote)(void *context, const char *folder, const struct qk_export_written *written);
    void *context;
};

/* Zero-initialised: the defaults. */
struct qk_evaluation_options {
    bool no_cache; /* neither store answers nor use stored ones */
    bool reuse;    /* several selections will be asked: activations are kept for those that come later */
    size_t
        memory; /* bytes of weights to hold (forward/network.h), and of activations; 0: half of what is free */
    struct qk_engine_options engine;
};

/* What an engine is opened for; borrowed. Without a pair both sides are the one checkpoint. */
struct qk_engine_setting {
    const struct qk_pair *pair;
    const struct qk_model *model[QK_SIDE_COUNT];
    const struct qk_cases *cases;
    struct qk_evaluation_options options;
};

/* The answers that are asked for, and who gets them: answer[i] = 1 or 0 for the n cases list[i]. progress counts the
 * costs of the cases. */
struct qk_inquiry {
    size_t n;
    const size_t *cases;
    signed char *answer;
    const struct qk_exam_watch *watch;
    struct qk_progress *progress;
    const char *key; /* of all that the subject's answers depend on, beside the cases */
    bool keep;       /* results may be kept under that key, and kept ones used */
    bool *known;     /* with own_tasks: set to true where no run was needed; may be NULL */
};

/* `state` is what `open` made; `close` takes NULL. Functions that may be NULL say so. */
struct qk_engine_ops {
    const char *name; /* part of the key of kept answers */
    bool own_tasks;   /* it makes the cases (learn), and keeps its results */
    enum qk_code (*open)(const struct qk_engine_setting *setting, void **state, struct qk_error *err);
    void (*close)(void *state);
    /* Makes the questions to a side ready. May be NULL. */
    enum qk_code (*prepare)(void *state, enum qk_side side, struct qk_error *err);
    /* The key of a case for kept answers, and what it costs. */
    const char *(*digest)(const void *state, enum qk_side side, size_t i);
    size_t (*cost)(const void *state, size_t i);
    /* Adds what answers depend on beside weights and cases. */
    void (*identify)(const void *state, enum qk_side side, struct qk_digest *digest);
    enum qk_code (*take)(
        void *state, struct qk_subject subject, const struct qk_inquiry *inquiry, struct qk_error *err);
    /* With own_tasks: runs the tasks on the subject, unless the results are known, and fills the cases. */
    enum qk_code (*learn)(void *state, struct qk_subject subject, const struct qk_inquiry *inquiry,
        struct qk_cases *cases, struct qk_error *err);
    /* The three functions about tokens (eval/evaluation.h). May be NULL. */
    bool (*is_foreign)(const void *state, enum qk_side side, size_t i);
    const char *(*foreign)(const void *state, enum qk_side side, size_t *n);
    size_t (*unlike)(const void *state, size_t *first);
};

const struct qk_engine_ops *qk_engine_find(enum qk_engine_kind kind);

extern const struct qk_engine_ops qk_engine_built_in, qk_engine_command, qk_engine_tasks, qk_engine_server;

#endif
