using System.Runtime.InteropServices;

namespace Kvm.Vmm.Scheduling;

/// <summary>What a vCPU thread says of itself in its slot.</summary>
internal enum GatePlace
{
    /// <summary>The thread has not come yet.</summary>
    Away = 0,

    /// <summary>It waits at the gate.</summary>
    Parked = 1,

    /// <summary>It went through the gate.</summary>
    Inside = 2,

    /// <summary>It has ended.</summary>
    Ended = 3,
}

/// <summary>
/// The first page of the table. Written by the dispatcher, but for the bell. Field offsets are part of the interface between versions of
/// the program: another process maps the same bytes.
/// </summary>
[StructLayout(LayoutKind.Explicit, Size = Bytes)]
internal struct GateHeader
{
    public const int Bytes = 4096;
    public const int NameBytes = 32;

    /// <summary>"KVMGATE" and a zero.</summary>
    public const ulong RightMagic = 0x0045_5441_474d_564b;

    public const uint RightVersion = 2;

    [FieldOffset(0)] public ulong Magic;
    [FieldOffset(8)] public uint Version;
    [FieldOffset(12)] public int Slots;
    [FieldOffset(16)] public int SlotBytes;
    [FieldOffset(20)] public int DispatcherPid;

    /// <summary>CLOCK_MONOTONIC in ns, at least every <see cref="GateTable.HeartbeatPeriod"/>.</summary>
    [FieldOffset(24)] public long Heartbeat;

    /// <summary>1 once the dispatcher has ended in order.</summary>
    [FieldOffset(32)] public int Closed;

    /// <summary>The policy's name in ASCII, ended by a zero.</summary>
    [FieldOffset(64)] public GateName Policy;

    /// <summary>A futex in a cache line of its own: whoever has news for the dispatcher adds one and wakes it.</summary>
    [FieldOffset(128)] public int Bell;
}

/// <summary>Text of a fixed size.</summary>
[System.Runtime.CompilerServices.InlineArray(GateHeader.NameBytes)]
internal struct GateName
{
    private byte _first;
}

/// <summary>One vCPU: a cache line that the dispatcher writes and one that the vCPU's thread writes. Times in ns.</summary>
[StructLayout(LayoutKind.Explicit, Size = Bytes)]
internal struct GateSlot
{
    public const int Bytes = 128;

    /// <summary>The futex, see <see cref="GateControl"/>; the thread's process adds to its attention count.</summary>
    [FieldOffset(0)] public int Control;

    /// <summary>The host's number of the CPU to run on, or −1 for any.</summary>
    [FieldOffset(4)] public int Cpu;

    /// <summary>When the slice ends; <see cref="long.MaxValue"/> for one without an end. For people: the dispatcher keeps the time.</summary>
    [FieldOffset(8)] public long SliceEnd;

    /// <summary>CPU time charged so far.</summary>
    [FieldOffset(16)] public long Ran;

    /// <summary>Time without a CPU so far.</summary>
    [FieldOffset(24)] public long Waited;

    [FieldOffset(32)] public long Slices;
    [FieldOffset(40)] public long Migrations;

    /// <summary>What the dispatcher thinks the vCPU does, a <c>VcpuState</c>.</summary>
    [FieldOffset(48)] public int State;

    /// <summary>Why, a <c>DecisionReason</c>.</summary>
    [FieldOffset(52)] public int Reason;

    /// <summary>The vCPU's number in its VM.</summary>
    [FieldOffset(56)] public int Index;

    /// <summary>In a VM's first slot: the memory it is to be left with, in MiB; 0 for all it was given.</summary>
    [FieldOffset(60)] public int MemoryTarget;

    /// <summary>The kernel's number of the thread; 0 before it came and after it ended.</summary>
    [FieldOffset(64)] public int ThreadId;

    /// <summary>A <see cref="GatePlace"/>.</summary>
    [FieldOffset(68)] public int Place;

    /// <summary>The order that <see cref="Place"/> answers.</summary>
    [FieldOffset(72)] public int Answer;

    /// <summary>Times the thread's CPU could not be set.</summary>
    [FieldOffset(76)] public int AffinityFailures;

    /// <summary>When it parked last.</summary>
    [FieldOffset(80)] public long ParkedAt;

    /// <summary>How long it was parked, all in all.</summary>
    [FieldOffset(88)] public long ParkedTotal;

    /// <summary>The thread's CPU clock when it parked or ended.</summary>
    [FieldOffset(96)] public long CpuTime;

    /// <summary>In a VM's first slot: bytes its disks read and wrote.</summary>
    [FieldOffset(104)] public long DiskBytes;

    /// <summary>In a VM's first slot: requests its disks carried out.</summary>
    [FieldOffset(112)] public long DiskOperations;

    /// <summary>In a VM's first slot, by the dispatcher, when VMs come or go: a <see cref="Scheduling.DeviceParts"/>, of ten bits each.</summary>
    [FieldOffset(120)] public int DeviceParts;

    /// <summary>In a VM's first slot: KiB its network cards sent and received, modulo 2³².</summary>
    [FieldOffset(124)] public uint NetworkKib;
}

/// <summary>
/// The word a vCPU thread waits for. Bit 0: open. Bit 1: free, open for good. Bits 2 to 15: attention, counted up by the thread's own
/// process to make it look at its requests. Bits 16 to 31: the order's number, one more with each opening and closing.
/// </summary>
internal static class GateControl
{
    public const int Open = 1;
    public const int Free = 2;
    private const int AttentionUnit = 4;
    private const int AttentionMask = 0xfffc;

    public static bool IsOpen(int control) => (control & (Open | Free)) != 0;

    public static int OrderOf(int control) => control >>> 16;

    public static int NextOrder(int control, int flags) => unchecked((OrderOf(control) + 1) << 16) | (control & AttentionMask) | flags;

    public static int Attend(int control) => (control & ~AttentionMask) | ((control + AttentionUnit) & AttentionMask);
}
