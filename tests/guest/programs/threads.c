// Threads on every processor add to one counter with locked and compare-exchange instructions and wake each other by futex.
#include "sys.h"

#define THREADS 4
#define ROUNDS 20000

static volatile long added, exchanged;
static volatile int left = THREADS;
static char stacks[THREADS][16384] __attribute__((aligned(16)));

static void work(void)
{
    for (int i = 0; i < ROUNDS; i++)
    {
        __sync_fetch_and_add(&added, 1);
        long old;
        do
            old = exchanged;
        while (!__sync_bool_compare_and_swap(&exchanged, old, old + 1));
    }
    if (__sync_sub_and_fetch(&left, 1) == 0)
        sys4(__NR_futex, (long)&left, 1, 1, 0);
    for (;;)
        sys4(__NR_exit, 0, 0, 0, 0);
}

static void start(char *stack_end)
{
    // CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM. The child has nothing on its stack to return to.
    long result;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n call *%3\n1:"
                     : "=a"(result)
                     : "a"(__NR_clone), "D"(0x50f00), "r"(&work), "S"(stack_end), "d"(0)
                     : "rcx", "r11", "memory");
    if (result < 0)
        quit(2);
}

int main(void)
{
    for (int i = 0; i < THREADS; i++)
        start(stacks[i] + sizeof stacks[i]);
    for (int now; (now = left) != 0;)
        sys4(__NR_futex, (long)&left, 0, now, 0);
    if (added != THREADS * ROUNDS || exchanged != THREADS * ROUNDS)
    {
        say("threads: an addition was lost\n");
        quit(1);
    }
    say("threads ok\n");
    return 0;
}
