// What bench guests have in common: ports, the console, the end, and how they print a row:
//   NAME BYTES DEPTH DONE TICKS        (ticks of the time stamp counter)
#include <stdint.h>

#define ENTRIES 128
#define ROW_TICKS 800000000ull

struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct used_element { uint32_t id, length; };

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static inline uint32_t in32(uint16_t port) { uint32_t v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint64_t ticks(void) { uint32_t a, d; __asm__ volatile("lfence; rdtsc" : "=a"(a), "=d"(d)); return (uint64_t)d << 32 | a; }

static void print(const char *text) { while (*text) out8(0x3f8, (uint8_t)*text++); }

static void print_number(uint64_t value)
{
    char text[24], *p = text + sizeof text - 1;
    *p = 0;
    do *--p = (char)('0' + value % 10); while (value /= 10);
    print(p);
}

static void end(uint8_t code)
{
    for (;;) out8(0xf4, code);
}

static void fail(const char *why)
{
    print("FAILED ");
    print(why);
    print("\n");
    end(1);
}

static void print_row(const char *name, uint64_t bytes, uint64_t depth, uint64_t done, uint64_t time)
{
    print(name);
    print(" ");
    print_number(bytes);
    print(" ");
    print_number(depth);
    print(" ");
    print_number(done);
    print(" ");
    print_number(time);
    print("\n");
}
