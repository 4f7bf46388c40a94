// Integer, SSE2 and x87 arithmetic over many operands. The line it prints is the same on every right processor: run on the
// host it is the reference. No transcendental instruction, whose last bits differ between makers.
#include "sys.h"

static unsigned long hash = 0xcbf29ce484222325;

static void mix(const void *value, int size)
{
    for (int i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)value)[i]) * 0x100000001b3;
}

static unsigned long next(void)
{
    static unsigned long state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

#define INTEGER(op, a, b) __asm__ volatile(op : "+r"(a) : "r"(b), "c"((char)(b)) : "cc")

static void integers(void)
{
    for (int i = 0; i < 4000; i++)
    {
        unsigned long a = next(), b = next(), high, low = a, flags;
        INTEGER("addq %1, %0\n adcq %1, %0", a, b);
        INTEGER("rolq %%cl, %0\n sbbq %1, %0", a, b);
        INTEGER("imulq %1, %0", a, b);
        INTEGER("shldq %%cl, %1, %0", a, b);
        INTEGER("bsfq %1, %0\n xorq %1, %0", a, b);
        mix(&a, 8);
        __asm__("mulq %2" : "=d"(high), "+a"(low) : "r"(b) : "cc");
        mix(&high, 8);
        high %= b | 1;
        __asm__("divq %2" : "+d"(high), "+a"(low) : "r"(b | 1) : "cc");
        mix(&low, 8);
        mix(&high, 8);
        // OF, SF, ZF, PF and CF of a subtraction; AF as well.
        __asm__("subq %2, %1\n pushfq\n popq %0" : "=r"(flags), "+r"(a) : "r"(b) : "cc");
        flags &= 0x8d5;
        mix(&flags, 8);
    }
}

static double number(void)
{
    union { unsigned long bits; double value; } u = { next() };
    // Every sign and fraction, exponents from tiny to huge, now and then zero, infinity, a denormal number.
    switch (next() % 16)
    {
    case 0: u.bits &= 0x800fffffffffffff; break;
    case 1: u.bits &= 1ul << 63; break;
    case 2: u.bits = (u.bits & (1ul << 63)) | 0x7ff0000000000000; break;
    }
    return u.value;
}

static void mix_double(double value)
{
    // Which NaN comes out depends on the order of operands alone, but a compiler may swap them.
    if (value != value)
        mix("NaN", 3);
    else
        mix(&value, 8);
}

static void doubles(void)
{
    for (int i = 0; i < 4000; i++)
    {
        volatile double a = number(), b = number();
        double root;
        float narrow = (float)a;
        long whole;
        mix_double(a + b);
        mix_double(a - b);
        mix_double(a * b);
        mix_double(a / b);
        __asm__("sqrtsd %1, %0" : "=x"(root) : "x"(a));
        mix_double(root);
        mix_double(narrow);
        __asm__("cvttsd2si %1, %0" : "=r"(whole) : "x"(b));
        mix(&whole, 8);
        whole = (a < b) | (a == b) << 1 | (a != a) << 2;
        mix(&whole, 8);
    }
}

static void x87(void)
{
    for (int i = 0; i < 4000; i++)
    {
        long double a = number(), b = number(), root;
        double back;
        unsigned short status;
        mix_double((double)(a + b));
        mix_double((double)(a * b));
        mix_double((double)(a / b));
        __asm__("fsqrt" : "=t"(root) : "0"(a < 0 ? -a : a));
        mix_double((double)root);
        __asm__("fldl %2\n fldl %3\n fcomip %%st(1), %%st\n fstpl %0\n fnstsw %1" : "=m"(back), "=a"(status) : "m"(*&(double){ (double)a }), "m"(*&(double){ (double)b }) : "cc");
        mix_double(back);
        status &= 0x3800; // the top of the stack: where it began
        mix(&status, 2);
    }
}

int main(void)
{
    integers();
    doubles();
    x87();
    say("arithmetic ok ");
    say_hex(hash);
    say("\n");
    return 0;
}
