/* main.c - the choice of the command; the only place that prints an error and ends the program. */
#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/inputs.h"
#include "cli/print.h"
#include "linalg/kernels.h"
#include "model/pair.h"
#include "tensor/hub/hub.h"
#include "ui/ui.h"

#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* The first file that is opened would take a closed standard descriptor, and a message would go into it. So each
 * closed one gets a stand-in that refuses its own direction, and writing fails as it should. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            exit(QK_IO);
}

/* Opens the screen with the options of its command; no other function uses both cli/ and ui/. */
static enum qk_code open_screen(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct qk_ui_options options = {
        .color = (enum qk_color)qk_arguments_word(arguments, "color"),
        .theme = (enum qk_theme)qk_arguments_word(arguments, "theme"),
        .ascii = qk_arguments_has(arguments, "ascii"),
        .readonly = qk_arguments_has(arguments, "readonly"),
        .no_needles = qk_arguments_has(arguments, "no-needles"),
        .needles = qk_arguments_text(arguments, "needles"),
        .recipe = qk_arguments_text(arguments, "recipe"),
        .sort = qk_arguments_text(arguments, "sort"),
        .warning = arguments->warning,
    };
    char *pre = NULL, *post = NULL;
    QK_TRY(qk_arguments_exclude(arguments, "needles", "no-needles", err));
    QK_TRY(qk_arguments_threads(arguments, &options.threads, err));
    QK_TRY(qk_arguments_all(arguments, "set", &options.set, &options.n_set, err));
    enum qk_code code = qk_arguments_all(arguments, "cases", &options.cases, &options.n_cases, err);
    if (code == QK_OK)
        code = qk_hub_resolve(arguments->operand[QK_PRE], &pre, err);
    if (code == QK_OK)
        code = qk_hub_resolve(arguments->operand[QK_POST], &post, err);
    if (code == QK_OK)
        code = qk_ui_run(pre, post, &options, err);
    free(pre);
    free(post);
    free((void *)options.set);
    free((void *)options.cases);
    return code;
}

/* Warns of wrong kernels before any of their numbers is shown. *wrong names one; it has no text when all are
 * right. */
static enum qk_code load_kernels(struct qk_error *wrong, struct qk_error *err)
{
    struct qk_kernels_choice choice;
    QK_TRY(qk_kernels_load(&choice, wrong, err));
    if (wrong->text[0] != '\0')
        qk_print_note("WARNING: no number can be trusted: %s", wrong->text);
    return QK_OK;
}

static enum qk_code run(struct qk_arguments *arguments, struct qk_error *err)
{
    const struct qk_command *command = arguments->command;
    struct qk_error wrong = {0};
    if (arguments->help) {
        qk_help_print(command, false);
        return QK_OK;
    }
    if (arguments->version) {
        qk_print("%s\n", PACKAGE_STRING);
        return QK_OK;
    }
    if (command->kernels == QK_KERNELS_NEEDED)
        QK_TRY(load_kernels(&wrong, err));
    arguments->warning = wrong.text;
    arguments->open_screen = open_screen;
    return command->run(arguments, err);
}

struct start {
    int argc;
    char **argv;
    enum qk_code code; /* of the end */
};

/* Runs the command of the line and prints its error. */
static enum qk_code run_line(int argc, char **argv)
{
    if (argc < 2) {
        qk_help_print(qk_command_info(0), true);
        return QK_USAGE;
    }
    const struct qk_command *command = qk_command_find(argv[1]);
    int skip = command != NULL ? 2 : 1;
    struct qk_arguments arguments;
    struct qk_error err = {0}, output = {0};
    enum qk_code code = qk_arguments_parse(
        command != NULL ? command : qk_command_info(0), argc - skip, argv + skip, &arguments, &err);
    if (code == QK_OK)
        code = run(&arguments, &err);
    qk_arguments_free(&arguments);
    qk_inputs_end_remote();
    /* The output failed although the command succeeded: its code and message count. */
    enum qk_code written = qk_print_end(&output);
    const char *message = code != QK_OK && err.text[0] != '\0' ? err.text : output.text;
    if (message[0] != '\0')
        fprintf(stderr, "qkscope: %s\n", message);
    if (code == QK_DIFFERS && message != output.text && written != QK_OK) /* which is no failure */
        fprintf(stderr, "qkscope: %s\n", output.text);
    return code != QK_OK ? code : written;
}

static void *run_thread(void *context)
{
    struct start *start = context;
    start->code = run_line(start->argc, start->argv);
    return NULL;
}

/* True where the stack of the process is too small for what the command calls (ulimit -s). */
static bool is_stack_small(void)
{
    enum { SMALL = 2 << 20 };
    struct rlimit limit;
    return getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < SMALL;
}

int main(int argc, char **argv)
{
    struct start start = {argc, argv, QK_OK};
    struct qk_error err;
    pthread_t thread;
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, which print.c reports */
    signal(SIGXFSZ, SIG_IGN); /* so is a file beyond the limit of sizes: it does not kill an export */
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* tables, CSV and JSON have decimal points everywhere */
    qk_raise_open_files();
    qk_keep_pages();
    qk_json_init();
    if (!is_stack_small() || qk_thread_start(&thread, run_thread, &start, &err) != QK_OK)
        return (int)run_line(argc, argv);
    pthread_join(thread, NULL);
    return (int)start.code;
}
