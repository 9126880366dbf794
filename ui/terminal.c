/* terminal.c - curses start and stop, signals, keys and stray output. */
#include "ui/terminal.h"

#include "base/thread.h"
#include "ui/key.h"

#include <curses.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

enum { RESTORE_BYTES = 256, DEAD_READS = 64, TERM_TEXT = 128 };
enum { PASTE_BEGINS = KEY_MAX + 1, PASTE_ENDS }; /* codes that curses gives to its marks */

/* The only data of signal handlers. */
static struct {
    SCREEN *screen;
    volatile sig_atomic_t started;
    struct termios modes;        /* before curses */
    char restore[RESTORE_BYTES]; /* the sequence that a fatal signal writes */
    size_t n_restore;
    int pipe[2];  /* signals to the main loop */
    int error_fd; /* the real standard error while it is redirected, else -1 */
    FILE *stray;  /* text written to it */
    bool pointer;
    bool pasting;    /* between the marks of a pasted text */
    int empty_reads; /* readable without a key; many in a row: the terminal is gone */
    stack_t stack_before;
} terminal = {.pipe = {-1, -1}, .error_fd = -1};

/* curses does not return from a report that was not requested, but waits for the next key, even with nodelay. So the
 * program requests all reports of a terminal, and skips those that it does not use. */
static const mmask_t EVERY_BUTTON = BUTTON1_PRESSED | BUTTON1_RELEASED | BUTTON2_PRESSED | BUTTON2_RELEASED |
                                    BUTTON3_PRESSED | BUTTON3_RELEASED | BUTTON4_PRESSED | BUTTON4_RELEASED |
                                    BUTTON5_PRESSED | BUTTON5_RELEASED;

static const int FATAL[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { N_FATAL = sizeof FATAL / sizeof FATAL[0] };
static struct sigaction before_fatal[N_FATAL];

static const int CAUGHT[] = {SIGWINCH, SIGTSTP, SIGCONT, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { N_CAUGHT = sizeof CAUGHT / sizeof CAUGHT[0] };
static struct sigaction before_caught[N_CAUGHT];

/* --- signals --- */

static void notify_main_loop(int signal)
{
    int saved = errno;
    char byte = (char)signal;
    /* A full pipe must not hold up a handler, which may have interrupted the very loop that empties it. */
    ssize_t written = write(terminal.pipe[1], &byte, 1);
    (void)written;
    errno = saved;
}

/* Writes the sequence that restores the screen. Nothing may follow it: the fault may be in a worker while the main
 * loop draws. */
static void write_restore(void)
{
    int screen = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (screen >= 0 && nowhere >= 0)
        dup2(nowhere, STDOUT_FILENO);
    ssize_t written = write(screen >= 0 ? screen : STDOUT_FILENO, terminal.restore, terminal.n_restore);
    (void)written;
}

/* Uses only calls that are safe in a handler: open(2), write(2), tcsetattr(3), dup(2), sigaction(2), raise(3). */
static void die_tidily(int signal, siginfo_t *info, void *context)
{
    (void)context;
    if (terminal.started) {
        terminal.started = 0;
        write_restore();
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes);
        if (terminal.error_fd >= 0)
            dup2(terminal.error_fd, STDERR_FILENO);
    }
    for (int i = 0; i < N_FATAL; i++)
        if (FATAL[i] == signal)
            sigaction(signal, &before_fatal[i], NULL);
    /* A fault happens again on return, now under the handler from before; a signal that was sent does not. */
    if (info == NULL || info->si_code <= 0)
        raise(signal);
}

static void install_signals(void)
{
    struct sigaction caught = {.sa_handler = notify_main_loop}, fatal = {.sa_sigaction = die_tidily};
    caught.sa_flags = SA_RESTART; /* a worker's read continues, and poll(2) still wakes */
    sigemptyset(&caught.sa_mask);
    sigemptyset(&fatal.sa_mask);
    fatal.sa_flags = SA_SIGINFO | SA_ONSTACK; /* the fault may be that the thread's own stack is full */
    qk_signal_stack_take(&terminal.stack_before);
    for (int i = 0; i < N_CAUGHT; i++) {
        sigaction(CAUGHT[i], NULL, &before_caught[i]);
        /* Signals that nohup and shells made the program ignore stay ignored. */
        if (before_caught[i].sa_handler != SIG_IGN || CAUGHT[i] == SIGWINCH || CAUGHT[i] == SIGCONT)
            sigaction(CAUGHT[i], &caught, NULL);
    }
    for (int i = 0; i < N_FATAL; i++)
        sigaction(FATAL[i], &fatal, &before_fatal[i]);
}

static bool asks_to_end(int signal)
{
    return signal == SIGINT || signal == SIGTERM || signal == SIGHUP;
}

/* `all`: also the signals that end the program. */
static void remove_signals(bool all)
{
    for (int i = 0; i < N_CAUGHT; i++)
        if (all || !asks_to_end(CAUGHT[i]))
            sigaction(CAUGHT[i], &before_caught[i], NULL);
    for (int i = 0; i < N_FATAL; i++)
        sigaction(FATAL[i], &before_fatal[i], NULL);
    if (all)
        qk_signal_stack_return(&terminal.stack_before);
}

/* --- start and stop --- */

/* True when this description of a terminal is installed; it becomes curses' own until del_curterm. */
static bool take_description(const char *name)
{
    int found = 0;
    return name[0] != '\0' && setupterm(name, STDOUT_FILENO, &found) == OK && found == 1;
}

enum qk_code terminal_check(struct qk_error *err)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return qk_fail(err, QK_USAGE,
            "the screen needs a terminal for standard input and output: qkscope diff PRE POST prints the table");
    const char *name = getenv("TERM");
    bool known = name != NULL && take_description(name);
    bool places = known && tigetstr("cup") != NULL && tigetstr("cup") != (char *)-1;
    if (known)
        del_curterm(cur_term); /* newterm sets it up anew */
    if (places)
        return QK_OK;
    return qk_fail(err, QK_USAGE, "TERM is '%s', %s: try TERM=xterm-256color, or qkscope diff PRE POST",
        name != NULL ? name : "", known ? "a terminal without a cursor to place" : "which is not known here");
}

/* The description of the same terminal with colours of 24 bits: "xterm-direct" for "xterm-256color". NULL where
 * COLORTERM does not say that it has them, or where the system lacks one. */
static const char *direct_description(char *out, size_t size)
{
    const char *depth = getenv("COLORTERM"), *name = getenv("TERM");
    if (depth == NULL || (strcmp(depth, "truecolor") != 0 && strcmp(depth, "24bit") != 0))
        return NULL;
    const char *end = strstr(name, "-256color");
    int n =
        snprintf(out, size, "%.*s-direct", (int)(end != NULL ? (size_t)(end - name) : strlen(name)), name);
    if (n < 0 || (size_t)n >= size || !take_description(out))
        return NULL;
    bool places = tigetstr("cup") != NULL && tigetstr("cup") != (char *)-1;
    bool direct = places && tigetnum("colors") >= 1 << 24;
    del_curterm(cur_term);
    return direct ? out : NULL;
}

static void add_restore(const char *capability)
{
    const char *text = tigetstr(capability);
    if (text == NULL || text == (char *)-1)
        return;
    /* Padding such as $<5> was for old hardware; only the text before it counts. */
    size_t n = strcspn(text, "$");
    if (terminal.n_restore + n < RESTORE_BYTES) {
        memcpy(terminal.restore + terminal.n_restore, text, n);
        terminal.n_restore += n;
    }
}

/* Asks for marks around pasted text, where the terminal's description has them. */
static void mark_pastes(bool on)
{
    const char *begin = tigetstr("PS"), *end = tigetstr("PE"), *how = tigetstr(on ? "BE" : "BD");
    if (begin == NULL || begin == (char *)-1 || end == NULL || end == (char *)-1 || how == NULL ||
        how == (char *)-1)
        return;
    define_key(begin, PASTE_BEGINS);
    define_key(end, PASTE_ENDS);
    putp(how);
    fflush(stdout);
    terminal.pasting = false;
}

static void prepare_restore(void)
{
    static const char POINTER_OFF[] = "\033[?1000l\033[?1002l\033[?1006l";
    terminal.n_restore = 0;
    if (terminal.pointer) {
        memcpy(terminal.restore, POINTER_OFF, sizeof POINTER_OFF - 1);
        terminal.n_restore = sizeof POINTER_OFF - 1;
    }
    add_restore("BD");
    add_restore("sgr0");
    add_restore("rmkx");
    add_restore("cnorm");
    add_restore("rmcup");
}

/* Keeps warnings of libraries on standard error from spoiling the screen. */
static void redirect_errors(void)
{
    fflush(stderr);
    if (!isatty(STDERR_FILENO) || (terminal.stray = tmpfile()) == NULL)
        return;
    terminal.error_fd = dup(STDERR_FILENO);
    if (terminal.error_fd >= 0)
        dup2(fileno(terminal.stray), STDERR_FILENO);
}

static void return_errors(void)
{
    fflush(stderr);
    if (terminal.error_fd >= 0) {
        dup2(terminal.error_fd, STDERR_FILENO);
        close(terminal.error_fd);
        terminal.error_fd = -1;
    }
    if (terminal.stray == NULL)
        return;
    char part[512];
    size_t n;
    rewind(terminal.stray);
    while ((n = fread(part, 1, sizeof part, terminal.stray)) > 0)
        fwrite(part, 1, n, stderr);
    fclose(terminal.stray);
    terminal.stray = NULL;
}

static void set_modes(void)
{
    raw();
    noecho();
    nonl();
    intrflush(stdscr, FALSE);
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    mouseinterval(0);
}

enum qk_code terminal_start(struct qk_error *err)
{
    static bool at_exit;
    if (!at_exit)
        at_exit = atexit(terminal_stop) == 0;
    tcgetattr(STDIN_FILENO, &terminal.modes);
    if (pipe2(terminal.pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return qk_fail_errno(err, "pipe", "create");
    /* Before newterm: curses does not replace an existing handler. */
    install_signals();
    char direct[TERM_TEXT];
    terminal.screen = newterm(direct_description(direct, sizeof direct), stdout, stdin);
    if (terminal.screen == NULL) {
        remove_signals(true);
        return qk_fail(err, QK_USAGE,
            "TERM=%s: the terminal cannot be used: qkscope diff PRE POST prints the table", getenv("TERM"));
    }
    set_term(terminal.screen);
    prepare_restore();
    terminal.started = 1;
    if (getenv("ESCDELAY") == NULL)
        set_escdelay(25);
    set_modes();
    mark_pastes(true);
    redirect_errors();
    return QK_OK;
}

void terminal_stop(void)
{
    if (!terminal.started)
        return;
    terminal_use_pointer(false);
    mark_pastes(false);
    terminal.started = 0;
    endwin();
    remove_signals(false);
    delscreen(terminal.screen);
    terminal.screen = NULL;
    return_errors();
}

void terminal_release(void)
{
    remove_signals(true);
    close(terminal.pipe[0]);
    close(terminal.pipe[1]);
    terminal.pipe[0] = terminal.pipe[1] = -1;
}

/* --- waiting --- */

static void take_size(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
        resize_term(size.ws_row, size.ws_col);
    clearok(curscr, TRUE); /* the terminal may have changed its content meanwhile */
}

static unsigned event_of_signal(int signal)
{
    switch (signal) {
    case SIGWINCH:
        return EVENT_RESIZED;
    case SIGCONT: /* a shell may have changed the modes meanwhile */
        reset_prog_mode();
        return EVENT_RESIZED;
    case SIGTSTP:
        return EVENT_SUSPEND;
    default:
        return EVENT_END;
    }
}

/* Reads all reported signals since the last call: of many new sizes only the last one counts. */
static unsigned take_signals(void)
{
    unsigned events = 0;
    char bytes[256];
    ssize_t n;
    while ((n = read(terminal.pipe[0], bytes, sizeof bytes)) > 0)
        for (ssize_t i = 0; i < n; i++)
            events |= event_of_signal(bytes[i]);
    if (events & EVENT_RESIZED)
        take_size();
    return events;
}

unsigned terminal_wait(int other, int milliseconds)
{
    struct pollfd fds[] = {
        {.fd = STDIN_FILENO, .events = POLLIN},
        {.fd = terminal.pipe[0], .events = POLLIN},
        {.fd = other, .events = POLLIN},
    };
    if (poll(fds, 3, milliseconds) <= 0)
        return 0; /* time is up, or a signal: its byte is read the next time */
    unsigned events = 0;
    if (fds[0].revents & POLLIN)
        events |= EVENT_KEYS;
    else if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
        events |= EVENT_END;
    if (terminal.empty_reads > DEAD_READS)
        events |= EVENT_END;
    if (fds[2].revents & POLLIN)
        events |= EVENT_OTHER;
    if (fds[1].revents & POLLIN)
        events |= take_signals();
    return events;
}

/* --- keys --- */

/* After an Esc, the characters that follow at once belong to a sequence that curses does not know. That is a function
 * key with modifiers, Alt and a letter, or a report of the mouse that is off now. Its bytes must not act as keys of
 * their own. */
static bool swallow_sequence(void)
{
    enum { REPORT = 3 }; /* characters behind the old form's ESC [ M */
    wint_t c, first = 0;
    if (get_wch(&c) == ERR)
        return false;
    bool bracket = c == '[';
    if (bracket || c == 'O')
        while (get_wch(&c) != ERR) {
            first = first == 0 ? c : first;
            if (c >= 0x40 && c <= 0x7e)
                break;
        }
    for (int i = 0; bracket && first == 'M' && i < REPORT; i++)
        get_wch(&c);
    return true;
}

int terminal_key(void)
{
    wint_t c;
    int kind = get_wch(&c);
    if (kind == ERR) {
        terminal.empty_reads++;
        return 0;
    }
    terminal.empty_reads = 0;
    if (kind == KEY_CODE_YES && (c == PASTE_BEGINS || c == PASTE_ENDS)) {
        terminal.pasting = c == PASTE_BEGINS;
        return KEY_IGNORED;
    }
    if (kind == OK && (c == 27 || c == 3)) /* terminals remove these from pasted text: its end was lost */
        terminal.pasting = false;
    if (kind == OK && c == 27)
        return swallow_sequence() ? KEY_IGNORED : 27;
    return key_normal(kind == KEY_CODE_YES ? KEY_OF_CURSES((int)c) : (int)c);
}

bool terminal_pasting(void)
{
    return terminal.pasting;
}

void terminal_drain(void)
{
    flushinp();
}

void terminal_use_pointer(bool on)
{
    mousemask(on ? EVERY_BUTTON : 0, NULL);
    keyok(KEY_MOUSE, on); /* else curses would not return from a report after the mouse was turned off */
    terminal.pointer = on;
    prepare_restore();
}

static struct pointer pointer_of(const MEVENT *event)
{
    struct pointer pointer = {.y = event->y, .x = event->x};
    if (event->bstate & BUTTON1_PRESSED)
        pointer.kind = POINTER_PRESS;
    else if (event->bstate & BUTTON4_PRESSED)
        pointer.kind = POINTER_UP;
    else if (event->bstate & BUTTON5_PRESSED)
        pointer.kind = POINTER_DOWN;
    return pointer;
}

/* One key may cover several reports that came at once, the newest first. */
struct pointer terminal_pointer(void)
{
    struct pointer pointer = {0};
    MEVENT event;
    while (pointer.kind == POINTER_NONE && getmouse(&event) == OK)
        pointer = pointer_of(&event);
    return pointer;
}

/* --- suspend and clipboard --- */

bool terminal_suspend(bool from_key)
{
    bool pointer = terminal.pointer;
    struct sigaction ours, standard = {.sa_handler = SIG_DFL};
    sigaction(SIGTSTP, NULL, &ours);
    if (ours.sa_handler == SIG_IGN)
        return false;
    terminal_use_pointer(false);
    mark_pastes(false);
    def_prog_mode();
    endwin();
    sigemptyset(&standard.sa_mask);
    sigaction(SIGTSTP, &standard, NULL);
    kill(from_key ? 0 : getpid(), SIGTSTP);
    sigaction(SIGTSTP, &ours, NULL);
    reset_prog_mode();
    terminal_use_pointer(pointer);
    mark_pastes(true);
    take_size();
    return true;
}

bool terminal_copy(const struct qk_lines *names)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct qk_text text = {0};
    for (size_t i = 0; i < names->n; i++) {
        qk_text_add_visible(&text, names->line[i], strlen(names->line[i]), false);
        qk_text_add(&text, "\n");
    }
    char *bytes;
    size_t left = text.length;
    if (qk_text_take(&text, &bytes, NULL) != QK_OK)
        return false;
    const unsigned char *p = (const unsigned char *)bytes;
    fputs("\033]52;c;", stdout);
    while (left > 0) {
        unsigned long bits = (unsigned long)p[0] << 16 | (left > 1 ? (unsigned long)p[1] << 8 : 0) |
                             (left > 2 ? (unsigned long)p[2] : 0);
        putchar(DIGITS[bits >> 18]);
        putchar(DIGITS[bits >> 12 & 63]);
        putchar(left > 1 ? DIGITS[bits >> 6 & 63] : '=');
        putchar(left > 2 ? DIGITS[bits & 63] : '=');
        p += left > 2 ? 3 : left;
        left -= left > 2 ? 3 : left;
    }
    putchar('\a');
    fflush(stdout);
    free(bytes);
    return true;
}
