// Vector registers survive context switches: parent and child each load their own pattern into xmm0-15 (and the upper
// halves of ymm0-15 where the processor and the kernel have AVX), yield to each other, and compare.
#include "sys.h"

static int has_avx(void)
{
    unsigned a = 1, b, c = 0, d, low, high;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if ((c & (1u << 27)) == 0 || (c & (1u << 28)) == 0)
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

static unsigned char in[16][32] __attribute__((aligned(32))), out[16][32] __attribute__((aligned(32)));

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_X(n) "movdqa " #n "*32(%0), %%xmm" #n "\n"
#define SAVE_X(n) "movdqa %%xmm" #n ", " #n "*32(%1)\n"
#define LOAD_Y(n) "vmovdqa " #n "*32(%0), %%ymm" #n "\n"
#define SAVE_Y(n) "vmovdqa %%ymm" #n ", " #n "*32(%1)\n"
#define YIELD "mov $24, %%eax\n syscall\n"

static int one_round(int avx, unsigned seed)
{
    for (int r = 0; r < 16; r++)
        for (int i = 0; i < 32; i++)
            in[r][i] = (unsigned char)(seed * 31 + r * 7 + i), out[r][i] = 0;
    if (avx)
        __asm__ volatile(EACH(LOAD_Y) YIELD EACH(SAVE_Y) : : "r"(in), "r"(out) : "rax", "rcx", "r11", "memory");
    else
        __asm__ volatile(EACH(LOAD_X) YIELD EACH(SAVE_X) : : "r"(in), "r"(out) : "rax", "rcx", "r11", "memory");
    for (int r = 0; r < 16; r++)
        for (int i = 0; i < (avx ? 32 : 16); i++)
            if (in[r][i] != out[r][i])
                return 0;
    return 1;
}

int main(void)
{
    int avx = has_avx();
    long child = sys4(__NR_fork, 0, 0, 0, 0);
    for (unsigned i = 0; i < 20; i++)
        if (!one_round(avx, i * 2 + (child == 0)))
        {
            say("vectors: a register changed across a context switch\n");
            quit(1);
        }
    if (child == 0)
        quit(0);
    int status = -1;
    sys4(__NR_wait4, child, (long)&status, 0, 0);
    say(status == 0 ? (avx ? "vectors ok (ymm)\n" : "vectors ok (xmm)\n") : "vectors: the child failed\n");
    return status != 0;
}
