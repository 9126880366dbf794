/* help.c - the text of --help, made from the option tables. */
#include "cli/help.h"

#include "cli/print.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 80, INDENT = 28 };

static void say(FILE *to, const char *text)
{
    if (to == stdout)
        qk_print("%s", text);
    else
        fputs(text, to);
}

/* The text, broken between words, in columns indent to COLUMNS; the cursor stands at column `at`. */
static void say_wrapped(FILE *to, int at, int indent, const char *text)
{
    char piece[COLUMNS + 1];
    if (at > 0 && at + 2 > indent) {
        say(to, "\n");
        at = 0;
    }
    snprintf(piece, sizeof piece, "%*s", indent - at, "");
    say(to, piece);
    at = indent;
    for (const char *p = text; *p != '\0';) {
        int n = (int)strcspn(p, " ");
        if (at > indent && at + 1 + n >= COLUMNS) {
            snprintf(piece, sizeof piece, "\n%*s", indent, "");
            say(to, piece);
            at = indent;
        }
        snprintf(piece, sizeof piece, "%s%.*s", at > indent ? " " : "", n, p);
        say(to, piece);
        at += n + (at > indent ? 1 : 0);
        p += n;
        p += strspn(p, " ");
    }
    say(to, "\n");
}

static void say_options(FILE *to, const struct qk_option_info *const *table)
{
    for (; *table != NULL; table++) {
        const struct qk_option_info *row = *table;
        char text[COLUMNS + 1], letter[8] = "    ";
        if (row->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", row->letter);
        int n = snprintf(text, sizeof text, "  %s--%s%s%s", letter, row->name,
            row->argument != NULL ? " " : "", row->argument != NULL ? row->argument : "");
        say(to, text);
        say_wrapped(to, n, INDENT, row->help);
    }
}

static void say_usage(FILE *to, const struct qk_command *command)
{
    say(to, "Usage: qkscope ");
    say(to, command->name);
    say(to, command->name[0] != '\0' ? " [OPTION]..." : "[OPTION]...");
    say(to, command->operands[0] != '\0' ? " " : "");
    say(to, command->operands);
    say(to, "\n");
}

static void say_commands(FILE *to)
{
    say(to, "   or: qkscope COMMAND [OPTION]... [OPERAND]...\n\nCommands:\n");
    for (int i = 1; qk_command_info(i) != NULL; i++) {
        const struct qk_command *row = qk_command_info(i);
        char text[COLUMNS + 1];
        int n = snprintf(text, sizeof text, "  %s %s", row->name, row->operands);
        say(to, text);
        say_wrapped(to, n, INDENT, row->summary);
    }
}

void qk_help_print(const struct qk_command *command, bool to_stderr)
{
    FILE *to = to_stderr ? stderr : stdout;
    bool overview = command->name[0] == '\0';
    say_usage(to, command);
    if (overview)
        say_commands(to);
    say(to, "\n");
    say_wrapped(to, 0, 0, command->summary);
    say(to, "\nOptions:\n");
    say_options(to, command->options);
    say_options(to, qk_common_options);
    if (strstr(command->operands, "PRE") != NULL || strstr(command->operands, "CKPT") != NULL)
        say(to, "\nA checkpoint is a folder, a .safetensors or PyTorch file, an index.json,\n"
                "or org/name[@revision] in the local Hugging Face cache. It is only read.\n");
    if (strstr(command->operands, "PRE POST") != NULL)
        say(to, "POST may also be the folder of a PEFT adapter that was trained on PRE.\n");
    if (overview)
        say(to, "\nSee also: 'qkscope COMMAND --help', man qkscope, man qkscope-recipe.\n");
}
