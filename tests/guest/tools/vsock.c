// vsock connect PORT   connects with the host's port, sends a line, prints the line that comes back and the sum of all bytes behind it
// vsock serve PORT N   sends back what each of N clients of the guest's port sends, until it sends no more
#include "../programs/sys.h"

#define AF_VSOCK 40
#define SOCK_STREAM 1
#define SHUT_WR 1

struct sockaddr_vm
{
    unsigned short family, reserved;
    unsigned port, cid;
    unsigned char flags, zero[3];
};

static char bytes[65536];

static long number(const char *text)
{
    long value = 0;
    while (*text >= '0' && *text <= '9')
        value = value * 10 + (*text++ - '0');
    return value;
}

static int fail(const char *what)
{
    say("GUEST-VSOCK cannot ");
    say(what);
    say("\n");
    return 1;
}

static long write_all(long fd, const char *from, long count)
{
    while (count > 0)
    {
        long written = sys4(__NR_write, fd, (long)from, count, 0);
        if (written <= 0)
            return -1;
        from += written;
        count -= written;
    }
    return 0;
}

static int connect_host(long port)
{
    struct sockaddr_vm host = {AF_VSOCK, 0, port, 2, 0, {0}};
    long fd = sys4(__NR_socket, AF_VSOCK, SOCK_STREAM, 0, 0), count, total = 0;
    unsigned long sum = 0;
    if (fd < 0 || sys4(__NR_connect, fd, (long)&host, sizeof host, 0) < 0)
        return fail("connect");
    if (write_all(fd, "hello from the guest\n", 21) < 0)
        return fail("write");
    do
    {
        count = sys4(__NR_read, fd, (long)(bytes + total), 1, 0);
        if (count <= 0)
            return fail("read");
    } while (bytes[total++] != '\n');
    say("GUEST-VSOCK says ");
    write_all(1, bytes, total);
    sys4(__NR_shutdown, fd, SHUT_WR, 0, 0);
    total = 0;
    while ((count = sys4(__NR_read, fd, (long)bytes, sizeof bytes, 0)) > 0)
    {
        for (long i = 0; i < count; i++)
            sum = sum * 31 + (unsigned char)bytes[i];
        total += count;
    }
    say("GUEST-VSOCK read ");
    say_hex(total);
    say(" ");
    say_hex(sum);
    say(count == 0 ? "\n" : " and an error\n");
    return 0;
}

static int serve(long port, long clients)
{
    struct sockaddr_vm any = {AF_VSOCK, 0, port, -1U, 0, {0}};
    long listener = sys4(__NR_socket, AF_VSOCK, SOCK_STREAM, 0, 0);
    if (listener < 0 || sys4(__NR_bind, listener, (long)&any, sizeof any, 0) < 0 || sys4(__NR_listen, listener, 8, 0, 0) < 0)
        return fail("listen");
    for (; clients > 0; clients--)
    {
        long fd = sys4(__NR_accept, listener, 0, 0, 0), count;
        if (fd < 0)
            return fail("accept");
        while ((count = sys4(__NR_read, fd, (long)bytes, sizeof bytes, 0)) > 0)
        {
            if (write_all(fd, bytes, count) < 0)
                return fail("write back");
        }
        sys4(__NR_close, fd, 0, 0, 0);
    }
    say("GUEST-VSOCK served\n");
    return 0;
}

int main(long count, char **words)
{
    if (count == 3 && words[1][0] == 'c')
        return connect_host(number(words[2]));
    if (count == 4 && words[1][0] == 's')
        return serve(number(words[2]), number(words[3]));
    return fail("understand that");
}
