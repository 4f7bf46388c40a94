// The protocol (docs/agent-protocol.md): frames, and what is in them. Nothing here makes a system call; the parsers are what a lying peer meets first.
#pragma once
#include "linux.h"

#define AGENT_PORT 5200
#define AGENT_VERSION 1
#define FRAME_HEADER 8
// Header and payload together are the largest packet of a guest's socket.
#define FRAME_MOST (65536 - FRAME_HEADER)
// What may be on its way to a program before it reads.
#define INPUT_WINDOW 262144
#define MOST_WORDS 4096
#define NAME_MOST 255

enum frame_type
{
    HELLO = 1,
    PING,
    CLOCK,
    SHUTDOWN,
    EXEC = 16,
    INPUT,
    INPUT_END,
    SIGNAL,
    RESIZE,
    CREDIT,
    STARTED,
    OUTPUT,
    ERRORS,
    EXITED,
    PUT = 32,
    GET,
    NODE,
    DATA,
    FILE_END,
    FOLDER_END,
    TREE_END,
    SKIPPED,
    DONE = 64,
    FAILED,
};

enum node_kind
{
    NODE_FILE = 1,
    NODE_FOLDER,
    NODE_LINK,
};

struct hello
{
    u8 magic[4];
    u16 lowest, highest;
};

struct failure
{
    u32 error;
    u32 stage;
};

struct exec_head
{
    u32 flags;
    u32 output_credit, error_credit;
    u16 rows, columns;
    u16 words, variables;
};

struct credit
{
    u32 stream, bytes;
};

struct node_head
{
    u8 kind, zero[3];
    u32 mode;
    i64 seconds;
    u32 nanoseconds;
    u32 name_length;
};

#define EXEC_INPUT 1u
#define EXEC_TERMINAL 2u
#define EXEC_CLEAN 4u
#define TREE_DEEP 1u
#define MAGIC "KVMA"

// What a frame's header says; 1: a frame, 0: not all of the header is there, -1: no header of ours.
static inline int frame_of(const u8 *bytes, u64 count, u8 *type, u32 *length)
{
    if (count < FRAME_HEADER)
        return 0;
    *length = bytes[0] | (u32)bytes[1] << 8 | (u32)bytes[2] << 16 | (u32)bytes[3] << 24;
    *type = bytes[4];
    return *length <= FRAME_MOST && bytes[5] == 0 && bytes[6] == 0 && bytes[7] == 0 ? 1 : -1;
}

static inline void frame_put(u8 *bytes, u8 type, u32 length)
{
    bytes[0] = length, bytes[1] = length >> 8, bytes[2] = length >> 16, bytes[3] = length >> 24;
    bytes[4] = type;
    bytes[5] = bytes[6] = bytes[7] = 0;
}

// The next text of those in a payload, each with a zero behind it; null where there is none.
static inline char *text_of(char **at, const char *end)
{
    char *text = *at;
    for (char *p = text; p < end; p++)
    {
        if (*p == 0)
        {
            *at = p + 1;
            return text;
        }
    }
    return 0;
}

struct exec
{
    struct exec_head head;
    char *folder;
    char *words[MOST_WORDS + 1];
    char *variables[MOST_WORDS + 8];
};

// A program to be started: the head, the working folder, words, variables. 0 where the payload is nothing of the kind.
static inline int exec_of(u8 *payload, u32 length, struct exec *exec)
{
    char *at = (char *)payload + sizeof exec->head, *end = (char *)payload + length;
    if (length < sizeof exec->head)
        return 0;
    copy(&exec->head, payload, sizeof exec->head);
    u32 words = exec->head.words, variables = exec->head.variables;
    if (words == 0 || words > MOST_WORDS || variables > MOST_WORDS || (exec->folder = text_of(&at, end)) == 0)
        return 0;
    for (u32 i = 0; i < words; i++)
    {
        if ((exec->words[i] = text_of(&at, end)) == 0)
            return 0;
    }
    exec->words[words] = 0;
    for (u32 i = 0; i < variables; i++)
    {
        if ((exec->variables[i] = text_of(&at, end)) == 0)
            return 0;
    }
    exec->variables[variables] = 0;
    return at == end && exec->words[0][0] != 0;
}

// A name that stays in its folder.
static inline int is_name(const char *name, u64 length)
{
    if (length == 0 || length > NAME_MOST || (length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.'))
        return 0;
    for (u64 i = 0; i < length; i++)
    {
        if (name[i] == '/' || name[i] == 0)
            return 0;
    }
    return 1;
}

struct node
{
    struct node_head head;
    char name[NAME_MOST + 1];
    char target[PATH_MOST];
};

// A file, folder or link of a tree. 0 where the payload is nothing of the kind, or its name would leave the folder.
static inline int node_of(const u8 *payload, u32 length, struct node *node)
{
    if (length < sizeof node->head)
        return 0;
    copy(&node->head, payload, sizeof node->head);
    const char *name = (const char *)payload + sizeof node->head;
    u32 rest = length - sizeof node->head, name_length = node->head.name_length;
    if (node->head.kind < NODE_FILE || node->head.kind > NODE_LINK || node->head.nanoseconds > 999999999 || name_length > rest || !is_name(name, name_length))
        return 0;
    u32 target = rest - name_length;
    if (node->head.kind == NODE_LINK ? target == 0 || target >= PATH_MOST : target != 0)
        return 0;
    for (u32 i = 0; i < target; i++)
    {
        if (name[name_length + i] == 0)
            return 0;
    }
    copy(node->name, name, name_length);
    copy(node->target, name + name_length, target);
    node->name[name_length] = node->target[target] = 0;
    return 1;
}
