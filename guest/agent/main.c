// The guest's side of `kvmsharp exec` and `kvmsharp cp`: listens at a port of the guest's sockets and does what the host asks
// (docs/agent-protocol.md). A process for each connection, so that none waits for another and what one breaks is its own.
// It is a program beside others, or the first of all (then it takes care of orphans by ignoring SIGCHLD, which others inherit).
#include "link.h"
#include <linux/reboot.h>

#define AF_VSOCK 40
#define SOCK_STREAM 1
#define SOCK_CLOEXEC O_CLOEXEC
#define BACKLOG 1024
#define RETRY_NANOSECONDS 100000000

struct sockaddr_vm
{
    u16 family, reserved;
    u32 port, cid;
    u8 flags, zero[3];
};

static struct connection link;

static void ignore(int signal)
{
    struct
    {
        u64 handler, flags, restorer, mask;
    } action = {1, 0, 0, 0};
    SYS(rt_sigaction, signal, &action, 0, 8);
}

static void greet(void)
{
    struct frame frame;
    struct hello hello;
    receive(&link, &frame);
    if (frame.type != HELLO || frame.length < sizeof hello)
        quit(1);
    copy(&hello, frame.payload, sizeof hello);
    u32 magic, ours;
    copy(&magic, hello.magic, 4), copy(&ours, MAGIC, 4);
    if (magic != ours)
        quit(1);
    int speaks = hello.lowest <= AGENT_VERSION && AGENT_VERSION <= hello.highest;
    hello.lowest = hello.highest = AGENT_VERSION;
    send_frame(&link, HELLO, &hello, sizeof hello);
    if (!speaks)
        quit(1);
}

static void set_clock(struct frame *frame)
{
    i64 time;
    if (frame->length != sizeof time)
        quit(1);
    copy(&time, frame->payload, sizeof time);
    i64 value[2] = {time / 1000000000, time % 1000000000};
    long error = SYS(clock_settime, 0 /* CLOCK_REALTIME */, value, 0, 0);
    if (error < 0)
        send_failure(&link, error, 0, "");
    else
        send_out(&link, DONE, 0);
}

static void sleep_for(i64 nanoseconds)
{
    i64 time[2] = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    SYS(nanosleep, time, 0, 0, 0);
}

// An init that stops services knows best: its own commands are tried before the kernel's.
static void try_command(const char *path, const char *name)
{
    const char *words[] = {name, 0}, *variables[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", 0};
    SYS(execve, path, words, variables, 0);
}

static void shut_down(struct frame *frame)
{
    u32 how;
    if (frame->length != sizeof how)
        quit(1);
    copy(&how, frame->payload, sizeof how);
    if (how > 1)
        quit(1);
    send_out(&link, DONE, 0);
    SYS(setsid, 0, 0, 0, 0);
    if (SYS(getppid, 0, 0, 0, 0) != 1)
    {
        try_command(how == 0 ? "/sbin/poweroff" : "/sbin/reboot", how == 0 ? "poweroff" : "reboot");
        try_command(how == 0 ? "/usr/sbin/poweroff" : "/usr/sbin/reboot", how == 0 ? "poweroff" : "reboot");
    }
    ignore(SIGTERM);
    SYS(kill, -1, SIGTERM, 0, 0);
    sleep_for(RETRY_NANOSECONDS);
    SYS(kill, -1, SIGKILL, 0, 0);
    SYS(sync, 0, 0, 0, 0);
    SYS(reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, how == 0 ? LINUX_REBOOT_CMD_POWER_OFF : LINUX_REBOOT_CMD_RESTART, 0);
}

static void serve(int fd)
{
    struct frame frame;
    link.fd = fd;
    link.gone = quit;
    greet();
    for (;;)
    {
        receive(&link, &frame);
        switch (frame.type)
        {
        case PING:
            send_frame(&link, PING, frame.payload, frame.length);
            break;
        case CLOCK:
            set_clock(&frame);
            break;
        case SHUTDOWN:
            shut_down(&frame);
            return;
        case EXEC:
            run_program(&link, &frame);
            return;
        case PUT:
            put_tree(&link, &frame);
            return;
        case GET:
            get_tree(&link, &frame);
            return;
        default:
            return;
        }
    }
}

// Where the driver's module is not there yet, it may come.
static int listen_at(u32 port)
{
    struct sockaddr_vm any = {AF_VSOCK, 0, port, ~0u, 0, {0}};
    for (;;)
    {
        long fd = SYS(socket, AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0, 0);
        if (fd >= 0)
        {
            long error = SYS(bind, fd, &any, sizeof any, 0);
            if (error == -EADDRINUSE)
                return -1;
            if (error == 0 && SYS(listen, fd, BACKLOG, 0, 0) == 0)
                return fd;
            close_fd(fd);
        }
        sleep_for(RETRY_NANOSECONDS);
    }
}

int main(void)
{
    // The first three descriptors are a program's streams, not the listener.
    for (long fd = 0; fd >= 0 && fd < 2;)
        fd = SYS(openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
    int listener = listen_at(AGENT_PORT);
    if (listener < 0)
        return 1;
    ignore(SIGCHLD);
    ignore(SIGPIPE);
    for (;;)
    {
        long fd = sys6(__NR_accept4, listener, 0, 0, SOCK_CLOEXEC, 0, 0);
        if (fd < 0)
            continue;
        long pid = SYS(fork, 0, 0, 0, 0);
        if (pid == 0)
        {
            u64 all = 0;
            struct
            {
                u64 handler, flags, restorer, mask;
            } action = {0, 0, 0, 0};
            close_fd(listener);
            SYS(rt_sigaction, SIGCHLD, &action, 0, 8);
            SYS(rt_sigprocmask, SIG_SETMASK, &all, 0, 8);
            serve(fd);
            quit(0);
        }
        close_fd(fd);
    }
}

// The kernel enters with RSP aligned to 16; a call makes it what the ABI says at a function's first instruction.
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n call main\n mov %eax, %edi\n mov $231, %eax\n syscall\n");

// The compiler may call these for structures.
void *memcpy(void *to, const void *from, u64 count)
{
    copy(to, from, count);
    return to;
}

void *memset(void *at, int value, u64 count)
{
    u8 *to = at;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return at;
}
