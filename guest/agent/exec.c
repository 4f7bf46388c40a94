// A program of the guest's for somebody on the host: its streams, signals, terminal and end.
#include "link.h"
#include <asm/ioctls.h>
#include <linux/sched.h>

enum stage
{
    STAGE_PIPES = 1,
    STAGE_FOLDER,
    STAGE_PROGRAM,
    STAGE_TERMINAL,
};

struct run
{
    struct connection *link;
    int in, out, err, signals;
    long pid;
    u32 credit[3];
    u32 waiting_start, waiting, consumed;
    int input_ended, has_terminal;
    u8 input[INPUT_WINDOW];
};

static struct exec exec;
static struct run run;

// What the child is to become, and what came of it: it shares memory with its parent, which waits until it has.
struct child
{
    int in, out, err, terminal;
    long error;
    u32 stage;
    char *path, *search;
};

static char child_stack[16384] __attribute__((aligned(16)));
static char candidate[PATH_MOST];

static int join(char *to, const char *folder, u64 length, const char *name)
{
    u64 rest = length_of(name);
    if (length + rest + 2 > PATH_MOST)
        return 0;
    copy(to, folder, length);
    u64 at = length;
    if (length > 0 && to[at - 1] != '/')
        to[at++] = '/';
    copy(to + at, name, rest + 1);
    return 1;
}

// As execvp does: a name without a slash is looked for in the folders of PATH.
static long become(struct child *child)
{
    long error = -ENOENT;
    for (const char *p = child->path; *p != 0; p++)
    {
        if (*p == '/')
            return SYS(execve, child->path, exec.words, exec.variables, 0);
    }
    for (const char *folder = child->search; folder != 0;)
    {
        const char *end = folder;
        while (*end != 0 && *end != ':')
            end++;
        if (end > folder && join(candidate, folder, end - folder, child->path))
        {
            long result = SYS(execve, candidate, exec.words, exec.variables, 0);
            if (result != -ENOENT && result != -ENOTDIR)
                error = result;
        }
        folder = *end == 0 ? 0 : end + 1;
    }
    return error;
}

static void default_signals(void)
{
    struct
    {
        u64 handler, flags, restorer, mask;
    } action = {0, 0, 0, 0};
    u64 none = 0;
    for (int signal = 1; signal <= 64; signal++)
        SYS(rt_sigaction, signal, &action, 0, 8);
    SYS(rt_sigprocmask, SIG_SETMASK, &none, 0, 8);
}

static void child_main(struct child *child)
{
    default_signals();
    SYS(setsid, 0, 0, 0, 0);
    SYS(dup2, child->in, 0, 0, 0);
    SYS(dup2, child->out, 1, 0, 0);
    SYS(dup2, child->err, 2, 0, 0);
    if (child->terminal)
        SYS(ioctl, 0, TIOCSCTTY, 0, 0);
    SYS(close_range, 3, ~0u, 0, 0);
    child->stage = STAGE_FOLDER;
    if (exec.folder[0] == 0 || (child->error = SYS(chdir, exec.folder, 0, 0, 0)) == 0)
    {
        child->stage = STAGE_PROGRAM;
        child->error = become(child);
    }
    quit(127);
}

// clone with a stack of the child's own; nothing of this function's frame is used by the child.
static long spawn(struct child *child)
{
    long result;
    register void *main_function __asm__("r12") = (void *)child_main;
    register struct child *argument __asm__("r13") = child;
    register long zero1 __asm__("r10") = 0;
    register long zero2 __asm__("r8") = 0;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n mov %%r13, %%rdi\n call *%%r12\n ud2\n 1:"
                     : "=a"(result)
                     : "a"(__NR_clone), "D"(CLONE_VM | CLONE_VFORK | SIGCHLD), "S"(child_stack + sizeof child_stack), "d"(0), "r"(zero1), "r"(zero2), "r"(main_function), "r"(argument)
                     : "rcx", "r11", "memory");
    return result;
}

static const char *variable(const char *with)
{
    for (char **at = exec.variables; *at != 0; at++)
    {
        if (starts(*at, with))
            return *at + length_of(with);
    }
    return 0;
}

// What programs expect to find, where the host did not say otherwise.
static void add_variables(void)
{
    static char search[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", home[] = "HOME=/root", user[] = "USER=root", term[] = "TERM=xterm";
    u32 count = exec.head.variables;
    if (!variable("PATH="))
        exec.variables[count++] = search;
    if (!variable("HOME="))
        exec.variables[count++] = home;
    if (!variable("USER="))
        exec.variables[count++] = user;
    if ((exec.head.flags & EXEC_TERMINAL) && !variable("TERM="))
        exec.variables[count++] = term;
    exec.variables[count] = 0;
}

static void resize(int terminal, u16 rows, u16 columns)
{
    u16 size[4] = {rows, columns, 0, 0};
    SYS(ioctl, terminal, TIOCSWINSZ, size, 0);
}

static long open_terminal(struct child *child)
{
    int unlocked = 0;
    long master = SYS(openat, AT_FDCWD, "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
    if (master < 0)
        return master;
    SYS(ioctl, master, TIOCSPTLCK, &unlocked, 0);
    long slave = SYS(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
    if (slave < 0)
        return slave;
    resize(master, exec.head.rows, exec.head.columns);
    run.in = run.out = master;
    child->in = child->out = child->err = slave;
    child->terminal = run.has_terminal = 1;
    return 0;
}

static long open_pipes(struct child *child)
{
    int in[2], out[2], err[2];
    long error;
    if ((exec.head.flags & EXEC_INPUT) == 0)
        in[0] = SYS(openat, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0), in[1] = -1;
    else if ((error = SYS(pipe2, in, O_CLOEXEC, 0, 0)) < 0)
        return error;
    if ((error = SYS(pipe2, out, O_CLOEXEC, 0, 0)) < 0 || (error = SYS(pipe2, err, O_CLOEXEC, 0, 0)) < 0)
        return error;
    run.in = in[1], run.out = out[0], run.err = err[0];
    child->in = in[0], child->out = out[1], child->err = err[1];
    return 0;
}

static void do_not_wait(int fd)
{
    if (fd >= 0)
        SYS(fcntl, fd, F_SETFL, SYS(fcntl, fd, F_GETFL, 0, 0) | O_NONBLOCK, 0);
}

static void end_program(void)
{
    SYS(kill, -run.pid, SIGKILL, 0, 0);
    SYS(kill, run.pid, SIGKILL, 0, 0);
}

// Ends all of it where the host is gone or does not keep to the protocol.
static void give_up(int code)
{
    end_program();
    quit(code);
}

static void close_input(void)
{
    if (run.in >= 0 && !run.has_terminal)
        close_fd(run.in);
    run.in = -1;
}

// The program reads no more: the host is told, and what it sent meanwhile is thrown away.
static void input_is_gone(void)
{
    close_input();
    run.waiting = 0;
    send_out(run.link, INPUT_END, 0);
}

static void take_input(const u8 *bytes, u32 count)
{
    // The host was given credit for what fits; more is a lie.
    if (count > INPUT_WINDOW - run.waiting - run.consumed)
        give_up(1);
    if (run.in < 0)
        return;
    u32 at = (run.waiting_start + run.waiting) % INPUT_WINDOW, first = INPUT_WINDOW - at < count ? INPUT_WINDOW - at : count;
    copy(run.input + at, bytes, first);
    copy(run.input, bytes + first, count - first);
    run.waiting += count;
}

static void write_input(void)
{
    while (run.waiting > 0)
    {
        u32 piece = INPUT_WINDOW - run.waiting_start < run.waiting ? INPUT_WINDOW - run.waiting_start : run.waiting;
        long count = SYS(write, run.in, run.input + run.waiting_start, piece, 0);
        if (count == -EAGAIN || count == -EINTR)
            break;
        if (count <= 0)
        {
            input_is_gone();
            return;
        }
        run.waiting_start = (run.waiting_start + count) % INPUT_WINDOW;
        run.waiting -= count;
        run.consumed += count;
    }
    if (run.consumed >= INPUT_WINDOW / 4)
    {
        struct credit credit = {0, run.consumed};
        run.consumed = 0;
        send_frame(run.link, CREDIT, &credit, sizeof credit);
    }
    if (run.waiting == 0 && run.input_ended && run.in >= 0)
    {
        // A terminal has no end; Ctrl-D is what people type.
        if (run.has_terminal)
            SYS(write, run.in, "\4", 1, 0);
        close_input();
    }
}

static void obey(struct frame *frame)
{
    struct credit credit;
    u32 signal;
    u16 size[2];
    switch (frame->type)
    {
    case INPUT:
        take_input(frame->payload, frame->length);
        return;
    case INPUT_END:
        run.input_ended = 1;
        return;
    case SIGNAL:
        if (frame->length != sizeof signal)
            break;
        copy(&signal, frame->payload, sizeof signal);
        if (signal >= 1 && signal <= 64)
            SYS(kill, -run.pid, signal, 0, 0);
        return;
    case RESIZE:
        if (frame->length != sizeof size)
            break;
        copy(size, frame->payload, sizeof size);
        if (run.has_terminal)
            resize(run.out, size[0], size[1]);
        return;
    case CREDIT:
        if (frame->length != sizeof credit)
            break;
        copy(&credit, frame->payload, sizeof credit);
        if (credit.stream < 1 || credit.stream > 2 || credit.bytes > 0x7fffffff - run.credit[credit.stream])
            break;
        run.credit[credit.stream] += credit.bytes;
        return;
    }
    give_up(1);
}

static void obey_all(void)
{
    struct frame frame;
    int known;
    while ((known = next_frame(run.link, &frame)) == 1)
        obey(&frame);
    if (known < 0)
        give_up(1);
}

enum progress
{
    NOTHING,
    NO_ROOM,
    MOVED,
};

// Moves what a stream has, as far as the host has room.
static enum progress forward(int *fd, u32 stream)
{
    u32 room = run.credit[stream] < FRAME_MOST ? run.credit[stream] : FRAME_MOST;
    if (*fd < 0)
        return NOTHING;
    if (room == 0)
        return NO_ROOM;
    long count = SYS(read, *fd, run.link->out + FRAME_HEADER, room, 0);
    if (count == -EAGAIN)
        return NOTHING;
    if (count == -EINTR)
        return MOVED;
    if (count <= 0)
    {
        // A terminal whose last program is gone says EIO.
        if (!run.has_terminal)
            close_fd(*fd);
        *fd = -1;
        return NOTHING;
    }
    run.credit[stream] -= count;
    send_out(run.link, stream == 1 ? OUTPUT : ERRORS, count);
    return MOVED;
}

// Waits for the host, the program's streams or its end; the host being gone ends the program.
static void wait_for_something(int has_ended)
{
    struct pollfd set[5] = {
        {run.link->fd, POLLIN, 0},
        {run.waiting > 0 ? run.in : -1, POLLOUT, 0},
        {run.credit[1] > 0 ? run.out : -1, POLLIN, 0},
        {run.credit[2] > 0 ? run.err : -1, POLLIN, 0},
        {has_ended ? -1 : run.signals, POLLIN, 0},
    };
    if (SYS(poll, set, 5, -1, 0) < 0)
        return;
    if (set[0].revents)
    {
        fill(run.link);
        obey_all();
    }
}

static int has_child_ended(int *status)
{
    long ended;
    while ((ended = SYS(wait4, -1, status, 1 /* WNOHANG */, 0)) > 0)
    {
        if (ended == run.pid)
            return 1;
    }
    return 0;
}

static void drain_signals(void)
{
    static u8 information[128 * 4];
    while (SYS(read, run.signals, information, sizeof information, 0) > 0)
        ;
}

static void serve_program(void)
{
    int status = 0, has_ended = 0;
    for (;;)
    {
        drain_signals();
        has_ended = has_ended || has_child_ended(&status);
        if (run.in >= 0)
            write_input();
        enum progress out = forward(&run.out, 1), err = forward(&run.err, 2);
        // What is in the pipes when the program has ended is still told; what others of its children write later is not waited for.
        if (has_ended && out == NOTHING && err == NOTHING)
            break;
        if (out != MOVED && err != MOVED)
            wait_for_something(has_ended);
    }
    u32 how[2] = {(status & 0x7f) == 0 ? status >> 8 & 0xff : 0, status & 0x7f};
    send_frame(run.link, EXITED, how, sizeof how);
}

void run_program(struct connection *link, struct frame *frame)
{
    struct child child = {-1, -1, -1, 0, 0, STAGE_PIPES, 0, 0};
    u64 only_child = 1ul << (SIGCHLD - 1);
    if (!exec_of(frame->payload, frame->length, &exec))
        quit(1);
    if ((exec.head.flags & EXEC_CLEAN) == 0)
        add_variables();
    run.link = link;
    run.in = run.out = run.err = -1;
    run.credit[1] = exec.head.output_credit, run.credit[2] = exec.head.error_credit;
    SYS(rt_sigprocmask, SIG_BLOCK, &only_child, 0, 8);
    run.signals = SYS(signalfd4, -1, &only_child, 8, O_CLOEXEC | O_NONBLOCK);
    int wants_terminal = (exec.head.flags & EXEC_TERMINAL) != 0;
    if ((child.error = wants_terminal ? open_terminal(&child) : open_pipes(&child)) == 0)
    {
        child.path = exec.words[0];
        child.search = (char *)variable("PATH=");
        run.pid = spawn(&child);
        if (run.pid < 0)
            child.error = run.pid;
    }
    if (child.error != 0)
    {
        send_failure(link, child.error, wants_terminal && child.stage == STAGE_PIPES ? STAGE_TERMINAL : child.stage, child.stage == STAGE_FOLDER ? exec.folder : exec.words[0]);
        return;
    }
    close_fd(child.in);
    if (child.out != child.in)
        close_fd(child.out), close_fd(child.err);
    do_not_wait(run.in), do_not_wait(run.out), do_not_wait(run.err);
    u32 started[2] = {run.pid, INPUT_WINDOW};
    link->gone = give_up;
    send_frame(link, STARTED, started, sizeof started);
    obey_all();
    serve_program();
}
