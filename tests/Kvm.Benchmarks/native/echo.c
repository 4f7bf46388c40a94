// The other end of scripts/bench net: sends datagrams back (echo PORT), or gives whoever asks at a TCP port so many zero bytes by HTTP (serve PORT BYTES).
// At 0.0.0.0; until it is killed. It says "ready" when it may be asked, and of each that it gave, when all had arrived, BYTES and SECONDS.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char bytes[1 << 16];

static int bound(int type, int port)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    int fd = socket(AF_INET, type, 0), one = 1, room = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) != 0)
    {
        perror("bind");
        exit(1);
    }
    return fd;
}

static void serve(int fd, long long count)
{
    char head[200];
    long long left = count;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    if (read(fd, bytes, sizeof bytes) > 0
        && write(fd, head, (size_t)snprintf(head, sizeof head, "HTTP/1.0 200 OK\r\nContent-Length: %lld\r\n\r\n", count)) > 0)
    {
        memset(bytes, 0, sizeof bytes);
        while (left > 0)
        {
            ssize_t sent = write(fd, bytes, left < (long long)sizeof bytes ? (size_t)left : sizeof bytes);
            if (sent <= 0)
                break;
            left -= sent;
        }
    }
    shutdown(fd, SHUT_WR);
    while (read(fd, bytes, sizeof bytes) > 0)
        ;
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%lld %.6f\n", count - left, (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
    fflush(stdout);
    close(fd);
}

int main(int count, char **words)
{
    int is_echo = count == 3 && strcmp(words[1], "echo") == 0;
    if (!is_echo && (count != 4 || strcmp(words[1], "serve") != 0))
        return 2;
    int fd = bound(is_echo ? SOCK_DGRAM : SOCK_STREAM, atoi(words[2]));
    if (!is_echo)
        listen(fd, 16);
    puts("ready");
    fflush(stdout);
    for (;;)
    {
        struct sockaddr_in from;
        socklen_t size = sizeof from;
        if (!is_echo)
        {
            serve(accept(fd, NULL, NULL), atoll(words[3]));
            continue;
        }
        ssize_t length = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &size);
        if (length >= 0)
            sendto(fd, bytes, (size_t)length, 0, (struct sockaddr *)&from, size);
    }
}
