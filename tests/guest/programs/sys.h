// What the test programs need of Linux, without a C library: each is then a few kilobytes of the initramfs.
#pragma once
#include <asm/unistd.h>

static inline long sys4(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

static inline void say(const char *text)
{
    long length = 0;
    while (text[length] != 0)
        length++;
    sys4(__NR_write, 1, (long)text, length, 0);
}

static inline void say_hex(unsigned long value)
{
    char text[17];
    for (int i = 15; i >= 0; i--, value >>= 4)
        text[i] = "0123456789abcdef"[value & 15];
    text[16] = 0;
    say(text);
}

static inline void quit(int code)
{
    for (;;)
        sys4(__NR_exit_group, code, 0, 0, 0);
}

int main();

// The kernel enters with RSP aligned to 16, at the number of words of the command and where they are; a call makes it what the ABI says at a function's first instruction.
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov (%rsp), %rdi\n lea 8(%rsp), %rsi\n call main\n mov %eax, %edi\n mov $231, %eax\n syscall\n");
