// Runs a command and appends one line to FILE: milliseconds of wall time, milliseconds until TEXT stood in its standard output
// (-1: never, or TEXT is empty), KiB of peak resident memory, milliseconds of CPU time, exit code (or 128 and the signal).
// The output itself goes to FILE.out.    usage: measure FILE SECONDS TEXT COMMAND…
// After SECONDS the command is killed.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;

static void give_up(int signal)
{
    (void)signal;
    kill(child, SIGKILL);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

// Copies the child's output until it closes it; returns when TEXT was seen, or -1.
static double copy(int from, const char *path, const char *text, double start)
{
    static char window[1 << 16];
    size_t kept = 0, length = strlen(text);
    double seen = -1;
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (to < 0)
        err(1, "%s", path);
    for (ssize_t n; (n = read(from, window + kept, sizeof window / 2)) > 0;)
    {
        if (write(to, window + kept, (size_t)n) != n)
            err(1, "%s", path);
        kept += (size_t)n;
        if (length > 0 && seen < 0 && memmem(window, kept, text, length) != NULL)
            seen = now() - start;
        if (kept > length)
        {
            memmove(window, window + kept - length, length);
            kept = length;
        }
    }
    close(to);
    return seen;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        errx(2, "usage: measure FILE SECONDS TEXT COMMAND…");
    char path[4096];
    snprintf(path, sizeof path, "%s.out", argv[1]);
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) < 0)
        err(1, "pipe");
    double start = now();
    child = fork();
    if (child < 0)
        err(1, "fork");
    if (child == 0)
    {
        dup2(pipes[1], 1);
        execvp(argv[4], argv + 4);
        err(127, "%s", argv[4]);
    }
    close(pipes[1]);
    signal(SIGALRM, give_up);
    alarm((unsigned)atoi(argv[2]));
    double seen = copy(pipes[0], path, argv[3], start);
    int status;
    struct rusage used;
    while (wait4(child, &status, 0, &used) < 0)
        ;
    double wall = now() - start;
    double cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    FILE *file = fopen(argv[1], "a");
    if (file == NULL)
        err(1, "%s", argv[1]);
    fprintf(file, "%.3f %.3f %ld %.3f %d\n", wall, seen, used.ru_maxrss, cpu, code);
    fclose(file);
    return code;
}
