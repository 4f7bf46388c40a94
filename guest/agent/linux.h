// What the agent needs of Linux on x86-64, without a C library: system calls, and the few functions that a compiler expects.
#pragma once
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/signal.h>
#include <linux/stat.h>
#include <linux/time.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

#define PATH_MOST 4096

static inline long sys6(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

#define SYS(name, a, b, c, d) sys6(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

static inline void close_fd(int fd)
{
    if (fd >= 0)
        SYS(close, fd, 0, 0, 0);
}

static inline u64 length_of(const char *text)
{
    u64 length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

static inline int same(const char *a, const char *b)
{
    while (*a != 0 && *a == *b)
        a++, b++;
    return *a == *b;
}

static inline int starts(const char *text, const char *with)
{
    while (*with != 0 && *text == *with)
        text++, with++;
    return *with == 0;
}

static inline void copy(void *to, const void *from, u64 count)
{
#ifdef AGENT_FUZZ
    // For sanitizers, which do not see what an instruction of its own copies (tests/guest/fuzz).
    for (u64 i = 0; i < count; i++)
        ((u8 *)to)[i] = ((const u8 *)from)[i];
#else
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
#endif
}
