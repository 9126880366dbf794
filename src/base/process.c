/* process.c - the start, the watch and the end of a process group. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LAST_LINES = 8, LAST_BYTES = 4096, GRACE_SECONDS = 3, PAUSE_MS = 20, SAID_MS = 400 };

extern char **environ;

struct child {
    const struct qk_process *process;
    pid_t pid;   /* of the group and its leader */
    pid_t watch; /* of the sh that ends the group when this program is killed; 0: none */
    int pipe;    /* its standard input; -1: none */
    struct timespec start;
    int status; /* of waitpid, once it ended */
};

/* --- starting --- */

struct spawning {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
};

/* A group of its own, and the signals as a shell expects them: this program ignores SIGPIPE and SIGXFSZ. */
static int prepare(struct spawning *s)
{
    sigset_t usual, none;
    sigemptyset(&usual);
    sigemptyset(&none);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGXFSZ);
    int bad = posix_spawn_file_actions_init(&s->files);
    if (bad != 0)
        return bad;
    bad = posix_spawnattr_init(&s->attributes);
    if (bad != 0) {
        posix_spawn_file_actions_destroy(&s->files);
        return bad;
    }
    posix_spawnattr_setsigdefault(&s->attributes, &usual);
    posix_spawnattr_setsigmask(&s->attributes, &none);
    posix_spawnattr_setpgroup(&s->attributes, 0);
    posix_spawnattr_setflags(
        &s->attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    return 0;
}

static int spawn(struct spawning *s, const char *const argv[], pid_t *pid)
{
    int bad = posix_spawn(pid, "/bin/sh", &s->files, &s->attributes, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&s->attributes);
    posix_spawn_file_actions_destroy(&s->files);
    return bad;
}

static int start_line(struct child *c)
{
    const char *const argv[] = {"sh", "-c", c->process->line, NULL};
    struct spawning s;
    int bad = prepare(&s);
    if (bad != 0)
        return bad;
    posix_spawn_file_actions_addopen(&s.files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(
        &s.files, STDOUT_FILENO, c->process->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&s.files, STDOUT_FILENO, STDERR_FILENO);
    return spawn(&s, argv, &c->pid);
}

/* Starts the sh that waits for the end of this program: reading fails when the pipe has no other end any more. */
static void start_watch(struct child *c)
{
    char group[24];
    const char *const argv[] = {"sh", "-c", "read line || kill -s KILL -- -\"$1\"", "sh", group, NULL};
    struct spawning s;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    snprintf(group, sizeof group, "%ld", (long)c->pid);
    bool made = prepare(&s) == 0;
    if (made) {
        posix_spawn_file_actions_adddup2(&s.files, ends[0], STDIN_FILENO);
        posix_spawn_file_actions_addopen(&s.files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&s.files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        made = spawn(&s, argv, &c->watch) == 0;
    }
    close(ends[0]);
    if (made)
        c->pipe = ends[1];
    else
        close(ends[1]);
    c->watch = made ? c->watch : 0;
}

/* Ends it without a kill, before the group's number is free for another one. */
static void end_watch(struct child *c)
{
    if (c->watch == 0)
        return;
    ssize_t written = write(c->pipe, "\n", 1);
    (void)written; /* fails where it has ended, which is as good */
    close(c->pipe);
    while (waitpid(c->watch, NULL, 0) < 0 && errno == EINTR)
        continue;
    c->watch = 0;
}

/* --- waiting --- */

static void rest(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* How the leader ended, who still has to be reaped; si_pid is 0 while it runs. */
static siginfo_t end_of(const struct child *c)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return (siginfo_t){0};
    return info;
}

static bool has_ended(const struct child *c)
{
    return end_of(c).si_pid == c->pid;
}

static bool ended_well(const struct child *c)
{
    const siginfo_t info = end_of(c);
    return info.si_code == CLD_EXITED && info.si_status == 0;
}

static void reap(struct child *c)
{
    while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
        continue;
}

/* Ends the group: its members have a while to end by themselves. */
static void end_group(struct child *c)
{
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    kill(-c->pid, SIGTERM);
    while (!has_ended(c) && qk_seconds_since(&begin) < GRACE_SECONDS)
        rest(PAUSE_MS);
    if (!has_ended(c))
        kill(-c->pid, SIGKILL);
    end_watch(c);
    reap(c);
    while (kill(-c->pid, 0) == 0 && qk_seconds_since(&begin) < GRACE_SECONDS)
        rest(PAUSE_MS);
    kill(-c->pid, SIGKILL);
}

static void read_last(const char *path, struct qk_lines *last)
{
    char bytes[LAST_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END), from = size > LAST_BYTES ? size - LAST_BYTES : 0;
    ssize_t n = fd < 0 ? 0 : pread(fd, bytes, LAST_BYTES, from);
    if (fd >= 0)
        close(fd);
    char *end = bytes + (n > 0 ? n : 0), *line[LAST_LINES + 1], *p = end;
    int n_lines = 0;
    *end = '\0';
    while (p > bytes && n_lines < LAST_LINES) { /* backwards; a bar of progress ends its lines with CR */
        char *stop = p;
        while (p > bytes && p[-1] != '\n' && p[-1] != '\r')
            p--;
        if (p < stop)
            line[n_lines++] = p;
        if (p > bytes)
            *--p = '\0';
    }
    for (int i = n_lines; i-- > 0;)
        qk_lines_add(last, NULL, "%s", line[i]);
}

/* Reports the last line of the log, SAID_MS after the report before at the earliest. */
static void report_line(const struct qk_process *process, struct timespec *reported)
{
    struct qk_lines last = {0};
    if (process->said == NULL || qk_seconds_since(reported) < SAID_MS / 1000.0)
        return;
    clock_gettime(CLOCK_MONOTONIC, reported);
    read_last(process->log, &last);
    if (last.n > 0)
        process->said(process->context, last.line[last.n - 1]);
    qk_lines_free(&last);
}

static bool is_late(const struct child *c)
{
    return c->process->seconds > 0 && qk_seconds_since(&c->start) > c->process->seconds;
}

static enum qk_code judge(const struct child *c, struct qk_lines *last, struct qk_error *err)
{
    const struct qk_process *process = c->process;
    if (WIFEXITED(c->status) && WEXITSTATUS(c->status) == 0)
        return QK_OK;
    read_last(process->log, last);
    const char *quiet = last->n == 0 ? ", and it wrote nothing" : "";
    if (WIFEXITED(c->status))
        return qk_fail(err, QK_IO, "%s: the command ended with status %d%s", process->what,
            WEXITSTATUS(c->status), quiet);
    return qk_fail(
        err, QK_IO, "%s: the command was ended by signal %d%s", process->what, WTERMSIG(c->status), quiet);
}

static enum qk_code wait_for(
    struct child *c, struct qk_progress *progress, struct qk_lines *last, struct qk_error *err)
{
    struct timespec reported = c->start;
    enum qk_code code = QK_OK;
    while (!has_ended(c)) {
        code = qk_progress_check(progress, err);
        if (code == QK_OK && is_late(c)) {
            read_last(c->process->log, last);
            code = qk_fail(err, QK_IO, "%s: the command did not end within %g s (--timeout)",
                c->process->what, c->process->seconds);
        }
        if (code != QK_OK) {
            end_group(c);
            return code;
        }
        report_line(c->process, &reported);
        rest(PAUSE_MS);
    }
    if (!c->process->leave || !ended_well(c)) /* the group is still its leader's, who is not reaped */
        kill(-c->pid, SIGKILL);
    end_watch(c);
    reap(c);
    return judge(c, last, err);
}

enum qk_code qk_process_run(const struct qk_process *process, struct qk_progress *progress,
    struct qk_lines *last, struct qk_error *err)
{
    struct child c = {.process = process, .pipe = -1};
    clock_gettime(CLOCK_MONOTONIC, &c.start);
    int bad = start_line(&c);
    if (bad != 0)
        return qk_fail(err, QK_IO, "%s: cannot start sh: %s", process->what, strerror(bad));
    start_watch(&c);
    return wait_for(&c, progress, last, err);
}

/* --- quoting --- */

/* '"', '\'' or 0: the quotes that are open behind the first n bytes. */
static char open_quote(const char *line, size_t n)
{
    char quote = 0;
    for (size_t i = 0; i < n; i++) {
        if (line[i] == '\\' && quote != '\'')
            i++;
        else if (quote == 0 && (line[i] == '"' || line[i] == '\''))
            quote = line[i];
        else if (line[i] == quote)
            quote = 0;
    }
    return quote;
}

void qk_process_quote(const char *line, size_t n, const char *word, struct qk_text *out)
{
    char quote = open_quote(line, n);
    if (quote == 0)
        qk_text_add(out, "'");
    for (; *word != '\0'; word++)
        if (quote == '"')
            qk_text_add(out, strchr("\"\\$`", *word) != NULL ? "\\%c" : "%c", *word);
        else
            qk_text_add(out, *word == '\'' ? "'\\''" : "%c", *word);
    if (quote == 0)
        qk_text_add(out, "'");
}
