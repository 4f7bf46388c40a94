// Gives random payloads, right ones changed and others, to what the guest's agent takes apart (guest/agent/wire.h), each in a block of just its size so that the
// sanitizers see a byte too many.        agent SEED SECONDS
#define AGENT_FUZZ
#include "../../../guest/agent/wire.h"

void *malloc(u64 size);
void free(void *block);
int printf(const char *text, ...);
void abort(void);
long time(long *at);
int atoi(const char *text);

static u64 state;

static u32 next(u32 below)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (u32)(state >> 11) % below;
}

static void check(int holds, const char *what)
{
    if (holds)
        return;
    printf("does not hold: %s\n", what);
    abort();
}

// A command as the host makes it, or nearly.
static u32 make_exec(u8 *to)
{
    struct exec_head head = {next(8), next(1u << 20), next(1u << 20), next(100), next(300), next(6), next(4)};
    u32 at = sizeof head;
    copy(to, &head, sizeof head);
    for (u32 i = 0; i < 1u + head.words + head.variables; i++)
    {
        for (u32 letters = next(12); letters > 0; letters--)
            to[at++] = 'a' + next(26);
        to[at++] = 0;
    }
    return at;
}

static u32 make_node(u8 *to)
{
    static const char *names[] = {"a", ".", "..", "", "a/b", "...", "name"};
    const char *name = names[next(7)];
    struct node_head head = {next(5), {0, 0, 0}, next(1 << 16), next(1u << 31), next(2000000000), length_of(name)};
    copy(to, &head, sizeof head);
    copy(to + sizeof head, name, head.name_length);
    u32 target = head.kind == NODE_LINK ? next(20) : 0;
    for (u32 i = 0; i < target; i++)
        to[sizeof head + head.name_length + i] = 'a' + next(26);
    return sizeof head + head.name_length + target;
}

static void look_at_exec(u8 *payload, u32 length)
{
    static struct exec exec;
    if (!exec_of(payload, length, &exec))
        return;
    char *start = (char *)payload, *end = start + length;
    check(exec.folder >= start && exec.folder < end, "the folder is in the payload");
    for (u32 i = 0; i < exec.head.words; i++)
        check(exec.words[i] >= start && exec.words[i] + length_of(exec.words[i]) < end, "a word is in the payload");
    for (u32 i = 0; i < exec.head.variables; i++)
        check(exec.variables[i] >= start && exec.variables[i] + length_of(exec.variables[i]) < end, "a variable is in the payload");
    check(exec.words[exec.head.words] == 0 && exec.variables[exec.head.variables] == 0, "the lists end");
}

static void look_at_node(const u8 *payload, u32 length)
{
    static struct node node;
    if (!node_of(payload, length, &node))
        return;
    check(node.name[0] != 0 && !same(node.name, ".") && !same(node.name, ".."), "a name is one of the folder's");
    for (const char *p = node.name; *p != 0; p++)
        check(*p != '/', "a name has no slash");
    check(length_of(node.name) <= NAME_MOST && length_of(node.target) < PATH_MOST, "texts are bounded");
    check((node.head.kind == NODE_LINK) == (node.target[0] != 0), "links have targets, others none");
}

static void once(void)
{
    static u8 bytes[1 << 16];
    u32 kind = next(3), length = kind == 0 ? make_exec(bytes) : kind == 1 ? make_node(bytes) : next(200);
    for (u32 changes = kind == 2 ? length : next(4); changes > 0 && length > 0; changes--)
        bytes[next(length)] = next(3) == 0 ? 0 : next(256);
    if (next(4) == 0)
        length = next(length + 1);
    u8 *block = malloc(length);
    for (u32 i = 0; i < length; i++)
        block[i] = bytes[i];
    look_at_exec(block, length);
    look_at_node(block, length);
    u8 type = 0;
    u32 payload = 0;
    int known = frame_of(block, length, &type, &payload);
    check(known != 0 || length < FRAME_HEADER, "a header that is there is taken");
    check(known != 1 || payload <= FRAME_MOST, "a frame is bounded");
    free(block);
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    state = 88172645463325252ul ^ (u64)atoi(words[1]);
    long end = time(0) + atoi(words[2]), times = 0;
    do
    {
        for (int i = 0; i < 10000; i++, times++)
            once();
    } while (time(0) < end);
    printf("# agent: %ld payloads\n", times);
    return 0;
}
