// Page tables at work: copy-on-write after fork, pages taken away and given back, faults that become signals.
#include "sys.h"

struct action
{
    void (*handler)(int, void *, void *);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

extern void restorer(void);
__asm__("restorer: mov $15, %eax\n syscall\n");

static char *page;
static volatile int faults;

static void on_fault(int signal, void *info, void *context)
{
    (void)signal;
    (void)context;
    // si_addr, at offset 16 of siginfo.
    if (*(char **)((char *)info + 16) != page + 5)
        quit(3);
    faults++;
    sys4(__NR_mprotect, (long)page, 4096, 3, 0);
}

static long map(long size)
{
    register long r8 __asm__("r8") = -1;
    register long r9 __asm__("r9") = 0;
    register long r10 __asm__("r10") = 0x22;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(__NR_mmap), "D"(0), "S"(size), "d"(3), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

static void check(int right, const char *what)
{
    if (right)
        return;
    say("memory: ");
    say(what);
    say("\n");
    quit(1);
}

int main(void)
{
    struct action action = { on_fault, 0x04000004, restorer, 0 };
    sys4(__NR_rt_sigaction, 11, (long)&action, 0, 8);
    page = (char *)map(1 << 20);
    for (int i = 0; i < 1 << 20; i += 4096)
        page[i] = (char)(i >> 12);

    sys4(__NR_mprotect, (long)page, 4096, 0, 0);
    page[5] = 77;
    check(faults == 1 && page[5] == 77, "a write to a page without rights did not fault once");

    long child = sys4(__NR_fork, 0, 0, 0, 0);
    if (child == 0)
    {
        for (int i = 0; i < 1 << 20; i += 4096)
            page[i]++;
        quit(page[0] == 1 && page[4096] == 2 ? 0 : 2);
    }
    int status = -1;
    sys4(__NR_wait4, child, (long)&status, 0, 0);
    check(status == 0, "the child saw other memory than its own");
    for (int i = 0; i < 1 << 20; i += 4096)
        check(page[i] == (char)(i >> 12), "the child wrote to its parent's memory");

    sys4(__NR_munmap, (long)page, 1 << 20, 0, 0);
    char *again = (char *)map(1 << 20);
    check(again[4096] == 0, "a fresh page is not zero");
    say("memory ok\n");
    return 0;
}
