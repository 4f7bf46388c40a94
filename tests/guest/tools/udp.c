// udp PORT   sends back every datagram that comes to the guest's port, by IPv4 and IPv6
#include "../programs/sys.h"

#define AF_INET6 10
#define SOCK_DGRAM 2

struct address { unsigned short family; unsigned char port[2]; unsigned flow; unsigned char ip[16]; unsigned scope; };
struct piece { void *base; unsigned long length; };
struct message { struct address *name; unsigned name_length; struct piece *pieces; unsigned long count; void *control; unsigned long control_length; int flags; };

static char bytes[65536];

int main(long count, char **words)
{
    long port = 0;
    for (const char *digit = count == 2 ? words[1] : ""; *digit; digit++)
        port = port * 10 + (*digit - '0');
    struct address here = {AF_INET6, {port >> 8, port}, 0, {0}, 0}, from;
    long fd = sys4(__NR_socket, AF_INET6, SOCK_DGRAM, 0, 0);
    if (fd < 0 || sys4(__NR_bind, fd, (long)&here, sizeof here, 0) < 0)
    {
        say("GUEST-FAILED to listen for datagrams\n");
        return 1;
    }
    for (;;)
    {
        struct piece piece = {bytes, sizeof bytes};
        struct message message = {&from, sizeof from, &piece, 1, 0, 0, 0};
        long length = sys4(__NR_recvmsg, fd, (long)&message, 0, 0);
        if (length < 0)
            continue;
        piece.length = length;
        sys4(__NR_sendmsg, fd, (long)&message, 0, 0);
    }
}
