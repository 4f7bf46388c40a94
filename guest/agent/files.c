// Files and folders both ways, as a walk: a folder's node, what is in it, its end. Names are single components and folders are entered
// by descriptor and never by a link, so a tree stays where it was sent to.
#include "link.h"

#define DEEPEST 100
#define REGULAR(mode) (((mode) & S_IFMT) == S_IFREG)
#define FOLDER(mode) (((mode) & S_IFMT) == S_IFDIR)

enum stage
{
    STAGE_OPEN = 1,
    STAGE_WRITE,
    STAGE_NOT_DEEP,
    STAGE_DEPTH,
};

struct status
{
    u64 device, inode, links;
    u32 mode, user, group, pad;
    u64 rdev;
    i64 size, block_size, blocks, atime[2], mtime[2], ctime[2], unused[3];
};

struct file
{
    int fd, parent, is_regular;
    const char *name;
    struct node_head head;
};

static struct node node;
static char path[PATH_MOST], name[NAME_MOST + 1];

static int is_folder(const char *at)
{
    struct status status;
    return SYS(stat, at, &status, 0, 0) == 0 && FOLDER(status.mode);
}

// The last component of a path without slashes at its end, as a name; another name where it has none.
static void last_name(const char *from)
{
    u64 end = length_of(from), start;
    while (end > 0 && from[end - 1] == '/')
        end--;
    for (start = end; start > 0 && from[start - 1] != '/';)
        start--;
    if (!is_name(from + start, end - start))
        from = "root", start = 0, end = 4;
    copy(name, from + start, end - start);
    name[end - start] = 0;
}

// A request's flags and path.
static u32 request_of(struct frame *frame)
{
    u32 flags, length = frame->length - sizeof flags;
    if (frame->length <= sizeof flags || length > PATH_MOST || frame->payload[frame->length - 1] != 0)
        quit(1);
    copy(&flags, frame->payload, sizeof flags);
    copy(path, frame->payload + sizeof flags, length);
    if (length_of(path) + 1 != length || path[0] == 0)
        quit(1);
    return flags;
}

// ---- To the guest ----------------------------------------------------------------------------------------------------------

// Tells the host, and then reads what it has sent until it notices: hanging up at once could lose the message.
static void fail(struct connection *link, long error, u32 stage, const char *text)
{
    send_failure(link, error, stage, text);
    for (;;)
    {
        link->start = link->filled = 0;
        fill(link);
    }
}

static void set_times(int fd, const struct node_head *head)
{
    i64 times[4] = {head->seconds, head->nanoseconds, head->seconds, head->nanoseconds};
    SYS(utimensat, fd, 0, times, 0);
}

static int enter(struct connection *link, int parent, const char *as, const struct node_head *head, int flags)
{
    long error = SYS(mkdirat, parent, as, 0700, 0), fd;
    if (error < 0 && error != -EEXIST)
        fail(link, error, STAGE_OPEN, as);
    fd = SYS(openat, parent, as, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags, 0);
    if (fd < 0)
        fail(link, fd, STAGE_OPEN, as);
    return fd;
}

static struct file create(struct connection *link, int parent, const char *as, const struct node_head *head, int flags)
{
    struct file file = {.parent = parent, .name = as, .head = *head};
    struct status status;
    // A pipe that nobody reads is an error and not a wait.
    long fd = SYS(openat, parent, as, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | flags, 0600);
    if (fd < 0)
        fail(link, fd, STAGE_OPEN, as);
    SYS(fcntl, fd, F_SETFL, 0, 0);
    file.is_regular = SYS(fstat, fd, &status, 0, 0) == 0 && REGULAR(status.mode);
    if (file.is_regular)
        SYS(ftruncate, fd, 0, 0, 0);
    file.fd = fd;
    return file;
}

static void write_data(struct connection *link, struct file *file, const u8 *bytes, u32 count)
{
    while (count > 0)
    {
        long written = SYS(write, file->fd, bytes, count, 0);
        if (written == -EINTR)
            continue;
        if (written <= 0)
        {
            if (file->is_regular)
                SYS(unlinkat, file->parent, file->name, 0, 0);
            fail(link, written == 0 ? -EIO : written, STAGE_WRITE, file->name);
        }
        bytes += written;
        count -= written;
    }
}

static void finish(struct file *file)
{
    if (file->is_regular)
    {
        SYS(fchmod, file->fd, file->head.mode & 07777, 0, 0);
        set_times(file->fd, &file->head);
    }
    close_fd(file->fd);
    file->fd = -1;
}

static void make_link(struct connection *link, int parent, const char *as)
{
    long error = SYS(symlinkat, node.target, parent, as, 0);
    if (error == -EEXIST && SYS(unlinkat, parent, as, 0, 0) == 0)
        error = SYS(symlinkat, node.target, parent, as, 0);
    if (error < 0)
        fail(link, error, STAGE_OPEN, as);
    i64 times[4] = {node.head.seconds, node.head.nanoseconds, node.head.seconds, node.head.nanoseconds};
    SYS(utimensat, parent, as, times, AT_SYMLINK_NOFOLLOW);
}

// Where the tree goes, as cp decides: into a folder that is there, else to that name. The folder's descriptor; the name in `name`.
static int target_of(struct connection *link)
{
    u64 length = length_of(path);
    if (is_folder(path))
    {
        copy(name, node.name, length_of(node.name) + 1);
    }
    else
    {
        last_name(path);
        while (length > 0 && path[length - 1] == '/')
            length--;
        while (length > 0 && path[length - 1] != '/')
            length--;
        if (length == 0)
            copy(path, ".", 2);
        else
            path[length] = 0;
    }
    long fd = SYS(openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        fail(link, fd, STAGE_OPEN, path);
    return fd;
}

static int folders[DEEPEST + 1];
static struct node_head heads[DEEPEST + 1];
static struct file file = {.fd = -1};

// The host went in the middle of a file: half of one is worse than none.
static void put_gone(int code)
{
    if (file.fd >= 0 && file.is_regular)
        SYS(unlinkat, file.parent, file.name, 0, 0);
    quit(code);
}

// A node at a depth; the depth behind it.
static int put_node(struct connection *link, struct frame *frame, int depth)
{
    if (file.fd >= 0 || !node_of(frame->payload, frame->length, &node))
        put_gone(1);
    if (depth == 0)
        folders[0] = target_of(link);
    else
        copy(name, node.name, NAME_MOST + 1);
    // What the user names may be a link or a device; what a tree finds below may not.
    int flags = depth == 0 ? 0 : O_NOFOLLOW;
    if (node.head.kind == NODE_LINK)
        make_link(link, folders[depth], name);
    else if (node.head.kind == NODE_FILE)
        file = create(link, folders[depth], name, &node.head, flags);
    else if (depth >= DEEPEST)
        fail(link, -ENAMETOOLONG, STAGE_DEPTH, name);
    else
    {
        folders[depth + 1] = enter(link, folders[depth], name, &node.head, flags);
        heads[depth + 1] = node.head;
        return depth + 1;
    }
    return depth;
}

void put_tree(struct connection *link, struct frame *frame)
{
    int depth = 0, nodes = 0;
    request_of(frame);
    link->gone = put_gone;
    for (;;)
    {
        receive(link, frame);
        if (frame->type == NODE && (depth > 0 || nodes++ == 0))
            depth = put_node(link, frame, depth);
        else if (frame->type == DATA && file.fd >= 0)
            write_data(link, &file, frame->payload, frame->length);
        else if (frame->type == FILE_END && file.fd >= 0)
            finish(&file);
        else if (frame->type == FOLDER_END && file.fd < 0 && depth > 0)
        {
            SYS(fchmod, folders[depth], heads[depth].mode & 07777, 0, 0);
            set_times(folders[depth], &heads[depth]);
            close_fd(folders[depth--]);
        }
        else if (frame->type == TREE_END && file.fd < 0 && depth == 0)
            break;
        else
            put_gone(1);
    }
    send_out(link, DONE, 0);
}

// ---- From the guest --------------------------------------------------------------------------------------------------------

struct entry
{
    u64 inode, offset;
    u16 length;
    u8 type;
    char name[];
};

static void skip(struct connection *link, long error, const char *what)
{
    struct failure failure = {-error, 0};
    u64 length = length_of(what);
    copy(link->out + FRAME_HEADER, &failure, sizeof failure);
    copy(link->out + FRAME_HEADER + sizeof failure, what, length);
    send_out(link, SKIPPED, sizeof failure + length);
}

static void send_node(struct connection *link, u8 kind, const struct status *status, const char *as, const char *target, u32 target_length)
{
    struct node_head head = {kind, {0, 0, 0}, status->mode & 07777, status->mtime[0], status->mtime[1], length_of(as)};
    u8 *at = link->out + FRAME_HEADER;
    copy(at, &head, sizeof head);
    copy(at + sizeof head, as, head.name_length);
    copy(at + sizeof head + head.name_length, target, target_length);
    send_out(link, NODE, sizeof head + head.name_length + target_length);
}

// A file that cannot be read to its end says so at its end.
static void send_content(struct connection *link, int fd)
{
    u32 error = 0;
    for (;;)
    {
        long count = SYS(read, fd, link->out + FRAME_HEADER, FRAME_MOST, 0);
        if (count == -EINTR)
            continue;
        if (count <= 0)
        {
            error = -count;
            break;
        }
        send_out(link, DATA, count);
    }
    send_frame(link, FILE_END, &error, sizeof error);
}

static void send_entry(struct connection *link, int parent, const char *as, int depth);

static void send_folder(struct connection *link, int fd, int depth)
{
    char entries[4096] __attribute__((aligned(8)));
    long count;
    while ((count = SYS(getdents64, fd, entries, sizeof entries, 0)) > 0)
    {
        for (long at = 0; at < count;)
        {
            struct entry *entry = (struct entry *)(entries + at);
            at += entry->length;
            if (!same(entry->name, ".") && !same(entry->name, ".."))
                send_entry(link, fd, entry->name, depth);
        }
    }
    if (count < 0)
        skip(link, count, ".");
    send_out(link, FOLDER_END, 0);
}

static void send_symbolic_link(struct connection *link, int parent, const char *as, const struct status *status)
{
    static char target[PATH_MOST];
    long length = SYS(readlinkat, parent, as, target, sizeof target - 1);
    if (length <= 0)
        skip(link, length == 0 ? -EINVAL : length, as);
    else
        send_node(link, NODE_LINK, status, as, target, length);
}

static void send_entry(struct connection *link, int parent, const char *as, int depth)
{
    struct status status;
    long error = SYS(newfstatat, parent, as, &status, AT_SYMLINK_NOFOLLOW), fd = -1;
    if (error == 0 && (status.mode & S_IFMT) == S_IFLNK)
    {
        send_symbolic_link(link, parent, as, &status);
        return;
    }
    if (error == 0 && !REGULAR(status.mode) && !FOLDER(status.mode))
        error = -ENXIO;
    if (error == 0 && FOLDER(status.mode) && depth >= DEEPEST)
        error = -ENAMETOOLONG;
    if (error == 0 && (fd = SYS(openat, parent, as, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0)) < 0)
        error = fd;
    if (error < 0)
    {
        skip(link, error, as);
        return;
    }
    send_node(link, FOLDER(status.mode) ? NODE_FOLDER : NODE_FILE, &status, as, "", 0);
    if (FOLDER(status.mode))
        send_folder(link, fd, depth + 1);
    else
        send_content(link, fd);
    close_fd(fd);
}

void get_tree(struct connection *link, struct frame *frame)
{
    struct status status;
    u32 flags = request_of(frame);
    // The path is followed to what it is: the user named it.
    long fd = SYS(openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0), error = fd >= 0 ? SYS(fstat, fd, &status, 0, 0) : fd;
    if (error == 0 && FOLDER(status.mode) && (flags & TREE_DEEP) == 0)
    {
        send_failure(link, -EISDIR, STAGE_NOT_DEEP, path);
        return;
    }
    if (error == 0 && !REGULAR(status.mode) && !FOLDER(status.mode))
        error = -ENXIO;
    if (error < 0)
    {
        send_failure(link, error, STAGE_OPEN, path);
        return;
    }
    last_name(path);
    send_node(link, FOLDER(status.mode) ? NODE_FOLDER : NODE_FILE, &status, name, "", 0);
    if (FOLDER(status.mode))
        send_folder(link, fd, 1);
    else
        send_content(link, fd);
    send_out(link, TREE_END, 0);
}
