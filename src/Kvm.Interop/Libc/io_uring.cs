using System.Runtime.InteropServices;

namespace Kvm.Interop;

/// <summary>Operations of an <see cref="IoUring"/> by the kernel's numbers: <c>enum io_uring_op</c> (linux/io_uring.h).</summary>
public enum IoUringOp : byte
{
    /// <summary>IORING_OP_READV: preadv.</summary>
    Readv = 1,
    /// <summary>IORING_OP_WRITEV: pwritev.</summary>
    Writev = 2,
    /// <summary>IORING_OP_FSYNC: fsync or fdatasync.</summary>
    Fsync = 3,
    /// <summary>IORING_OP_ASYNC_CANCEL: gives up another operation.</summary>
    AsyncCancel = 14,
    /// <summary>IORING_OP_FALLOCATE: fallocate.</summary>
    Fallocate = 17,
    /// <summary>IORING_OP_READ: pread.</summary>
    Read = 22,
    /// <summary>IORING_OP_WRITE: pwrite.</summary>
    Write = 23,
}

/// <summary>What io_uring_register does.</summary>
internal enum IoUringRegister
{
    /// <summary>IORING_REGISTER_FILES.</summary>
    Files = 2,
    /// <summary>IORING_REGISTER_EVENTFD.</summary>
    Eventfd = 4,
    /// <summary>IORING_REGISTER_PROBE.</summary>
    Probe = 8,
}

/// <summary><c>struct io_sqring_offsets</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoSqringOffsets
{
    public uint Head;
    public uint Tail;
    public uint RingMask;
    public uint RingEntries;
    public uint Flags;
    public uint Dropped;
    public uint Array;
    public uint Resv1;
    public ulong Resv2;
}

/// <summary><c>struct io_cqring_offsets</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoCqringOffsets
{
    public uint Head;
    public uint Tail;
    public uint RingMask;
    public uint RingEntries;
    public uint Overflow;
    public uint Cqes;
    public uint Flags;
    public uint Resv1;
    public ulong Resv2;
}

/// <summary><c>struct io_uring_params</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringParams
{
    public uint SqEntries;
    public uint CqEntries;
    public uint Flags;
    public uint SqThreadCpu;
    public uint SqThreadIdle;
    public uint Features;
    public uint WqFd;
    public uint Resv0;
    public uint Resv1;
    public uint Resv2;
    public IoSqringOffsets SqOff;
    public IoCqringOffsets CqOff;
}

/// <summary><c>struct io_uring_sqe</c>; of its unions the members used here.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringSqe
{
    public IoUringOp Opcode;
    public byte Flags;
    public ushort Ioprio;
    public int Fd;
    public ulong Off;
    public ulong Addr;
    public uint Len;
    public uint RwFlags;
    public ulong UserData;
    public ushort BufIndex;
    public ushort Personality;
    public int SpliceFdIn;
    public ulong Addr3;
    public ulong Pad2;
}

/// <summary><c>struct io_uring_cqe</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringCqe
{
    public ulong UserData;
    public int Res;
    public uint Flags;
}

/// <summary><c>struct io_uring_probe_op</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringProbeOp
{
    public byte Op;
    public byte Resv;
    public ushort Flags;
    public uint Resv2;
}

/// <summary><c>struct io_uring_probe</c> without its operations, which follow it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct IoUringProbe
{
    public byte LastOp;
    public byte OpsLen;
    public ushort Resv;
    public uint Reserved0;
    public uint Reserved1;
    public uint Reserved2;
}

internal static unsafe partial class Libc
{
    public const uint IORING_FEAT_SINGLE_MMAP = 1;
    public const uint IORING_FEAT_NODROP = 2;
    public const uint IORING_FEAT_SUBMIT_STABLE = 4;

    public const uint IORING_ENTER_GETEVENTS = 1;
    public const uint IORING_CQ_EVENTFD_DISABLED = 1;
    public const uint IORING_FSYNC_DATASYNC = 1;
    public const uint IO_URING_OP_SUPPORTED = 1;

    public const long IORING_OFF_SQ_RING = 0;
    public const long IORING_OFF_SQES = 0x10000000;
}
