// The least a disk in a file can cost: pread and pwrite at random places, from and to a few buffers.    usage: transfer FILE
// Prints NAME BYTES TRANSFERS-A-SECOND.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct stat status;
    int file = argc == 2 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
    if (file < 0 || fstat(file, &status) != 0)
        err(1, "usage: transfer FILE");
    char *buffers = mmap(0, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    uint64_t random = 0x2545f4914f6cdd1d;
    for (uint64_t bytes = 4096; bytes <= 128 << 10; bytes *= 32)
        for (int write = 0; write < 2; write++)
            for (int pass = 0; pass < 2; pass++)
            {
                uint64_t count = 0;
                double start = now(), end;
                do
                    for (int i = 0; i < 32; i++, count++)
                    {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        off_t place = (off_t)(random % ((uint64_t)status.st_size / bytes) * bytes);
                        ssize_t done = write ? pwrite(file, buffers + i * bytes, bytes, place) : pread(file, buffers + i * bytes, bytes, place);
                        if (done != (ssize_t)bytes)
                            err(1, "%s", argv[1]);
                    }
                while ((end = now()) - start < 0.5);
                if (pass == 1)
                    printf("file-%s %lu %.0f\n", write ? "write" : "read", (unsigned long)bytes, (double)count / (end - start));
            }
    return 0;
}
