using System.Text;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling;

/// <summary>What a vCPU's thread said of itself: copied once, and brought into range.</summary>
/// <param name="Place">Where it is.</param>
/// <param name="Current">Whether that answers the last order.</param>
/// <param name="ThreadId">Its number, or 0.</param>
/// <param name="ParkedAt">When it parked.</param>
/// <param name="CpuTime">Its CPU clock then.</param>
internal readonly record struct GateAnswer(GatePlace Place, bool Current, int ThreadId, long ParkedAt, long CpuTime);

/// <summary>
/// The memory by which a dispatcher and vCPU threads of any process understand one another: a sealed memfd with a header and one slot for
/// each vCPU. The dispatcher never believes what it reads here of its own, and takes what threads write as numbers that may be anything.
/// </summary>
/// <remarks>The dispatcher's members are called by one thread; a thread's own members by that thread, <see cref="Attend"/> by any.</remarks>
internal sealed partial class GateTable : IDisposable
{
    /// <summary>Slots of a table unless asked otherwise: 8 MiB, of which only what is used takes memory.</summary>
    public const int DefaultSlots = 65_536;

    /// <summary>How often a dispatcher says that it lives.</summary>
    public const long HeartbeatPeriod = 200_000_000;

    /// <summary>A dispatcher that has not said so for so long is taken for dead: one that was stopped, not one that was killed, which its socket tells at once.</summary>
    public const long HeartbeatPatience = 3_000_000_000;

    private readonly HostMapping _memory;

    private GateTable(HostMapping memory, int slots)
    {
        _memory = memory;
        Slots = slots;
    }

    /// <summary>The number of slots.</summary>
    public int Slots { get; }

    /// <summary>The memfd, to be given to other processes.</summary>
    public FdHandle Descriptor => _memory.File!;

    /// <summary>The policy's name as the table tells it, made printable.</summary>
    public string Policy
    {
        get
        {
            ReadOnlySpan<byte> name = Header.Policy;
            int end = name.IndexOf((byte)0);
            return Configuration.VisibleText.Escape(Encoding.ASCII.GetString(name[..(end < 0 ? name.Length : end)]));
        }
    }

    /// <summary>Makes a table.</summary>
    /// <exception cref="KvmException">The host has no memory for it.</exception>
    public static GateTable Create(string policy, int slots = DefaultSlots)
    {
        long bytes = GateHeader.Bytes + (long)slots * GateSlot.Bytes;
        var table = new GateTable(HostMapping.Shared((nuint)((bytes + 4095) / 4096 * 4096), "kvmsharp-gate"), slots);
        ref var header = ref table.Header;
        header.Version = GateHeader.RightVersion;
        header.Slots = slots;
        header.SlotBytes = GateSlot.Bytes;
        header.DispatcherPid = Environment.ProcessId;
        header.Heartbeat = HostClock.Monotonic();
        Encoding.ASCII.GetBytes(policy.AsSpan(0, Math.Min(policy.Length, GateHeader.NameBytes - 1)), header.Policy);
        Volatile.Write(ref header.Magic, GateHeader.RightMagic);
        return table;
    }

    /// <summary>Maps a table another process made.</summary>
    /// <param name="file">Its memfd; owned from now on.</param>
    /// <returns>Null where it is no table of this version.</returns>
    public static GateTable? TryOpen(FdHandle file)
    {
        HostMapping memory;
        try
        {
            memory = HostMapping.Open(file, 1u << 30);
        }
        catch (KvmException)
        {
            return null;
        }

        if (memory.Length >= GateHeader.Bytes)
        {
            var table = new GateTable(memory, 0);
            ref var header = ref table.Header;
            int slots = header.Slots;
            if (Volatile.Read(ref header.Magic) == GateHeader.RightMagic && header.Version == GateHeader.RightVersion && header.SlotBytes == GateSlot.Bytes
                && slots > 0 && (ulong)slots <= (memory.Length - GateHeader.Bytes) / GateSlot.Bytes)
            {
                return new GateTable(memory, slots);
            }
        }

        memory.Dispose();
        return null;
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    // The dispatcher's side.

    /// <summary>Says that the dispatcher lives.</summary>
    public void Beat(long now) => Volatile.Write(ref Header.Heartbeat, now);

    /// <summary>Says that the dispatcher has ended: every gate opens.</summary>
    public void Close() => Volatile.Write(ref Header.Closed, 1);

    /// <summary>The bell's count: news that come after it was read make <see cref="WaitForBell"/> return at once.</summary>
    public int Bell => Volatile.Read(ref Header.Bell);

    /// <summary>Waits until the bell differs from a count, or until a moment. May return early.</summary>
    public void WaitForBell(int seen, long deadline) => Futex.Wait(AddressOf(ref Header.Bell), seen, deadline);

    /// <summary>Rings the bell. Any thread of any process.</summary>
    public void Ring()
    {
        ref int bell = ref Header.Bell;
        Interlocked.Increment(ref bell);
        Futex.Wake(AddressOf(ref bell), 1);
    }

    /// <summary>Makes a slot ready for a new vCPU: closed.</summary>
    public void Clear(int slot, int index)
    {
        ref var s = ref At(slot);
        int control = Volatile.Read(ref s.Control);
        s = new GateSlot { Cpu = -1, Index = index, SliceEnd = long.MaxValue };
        Volatile.Write(ref s.Control, GateControl.NextOrder(control, 0));
    }

    /// <summary>Lets the vCPU through on a CPU; wakes its thread where it is parked.</summary>
    public void Open(int slot, int cpu, long sliceEnd) => Order(slot, GateControl.Open, cpu, sliceEnd);

    /// <summary>Lets the vCPU through for good: the kernel slices its time.</summary>
    public void Free(int slot, int cpu) => Order(slot, GateControl.Open | GateControl.Free, cpu, long.MaxValue);

    /// <summary>Takes the permit away. The thread notices at its next look: a kick makes it look.</summary>
    public void Close(int slot) => NextOrder(ref At(slot).Control, 0);

    /// <summary>Shows the slice's end to whoever looks.</summary>
    public void Prolong(int slot, long sliceEnd) => At(slot).SliceEnd = sliceEnd;

    /// <summary>Shows the numbers of a vCPU to whoever looks.</summary>
    public void Show(int slot, in GateNumbers numbers)
    {
        ref var s = ref At(slot);
        s.Ran = numbers.Ran;
        s.Waited = numbers.Waited;
        s.Slices = numbers.Slices;
        s.Migrations = numbers.Migrations;
        s.State = numbers.State;
        s.Reason = numbers.Reason;
    }

    /// <summary>What the vCPU's thread says.</summary>
    public GateAnswer Read(int slot)
    {
        ref var s = ref At(slot);
        int answer = Volatile.Read(ref s.Answer);
        int place = Volatile.Read(ref s.Place);
        return new GateAnswer(
            place is >= (int)GatePlace.Away and <= (int)GatePlace.Ended ? (GatePlace)place : GatePlace.Away,
            answer == GateControl.OrderOf(Volatile.Read(ref s.Control)),
            Math.Max(0, s.ThreadId),
            s.ParkedAt,
            s.CpuTime);
    }

    /// <summary>How long a vCPU's thread was parked, as it says.</summary>
    public long ParkedTotal(int slot) => Math.Max(0, At(slot).ParkedTotal);

    /// <summary>How often a vCPU's thread could not be put on its CPU, as it says.</summary>
    public int AffinityFailures(int slot) => Math.Max(0, At(slot).AffinityFailures);

    /// <summary>Says how much memory a VM is to be left with, in its first slot.</summary>
    public void SetMemoryTarget(int firstSlot, int mib) => Volatile.Write(ref At(firstSlot).MemoryTarget, mib);

    /// <summary>Says what part of the limits of a VM's devices is to hold.</summary>
    public void SetDeviceParts(int firstSlot, DeviceParts parts) => Volatile.Write(ref At(firstSlot).DeviceParts, parts.Packed);

    /// <summary>What a VM's process says its devices did so far, by its first slot: anything. Of the network whole KiB, modulo 2³² of them.</summary>
    public DeviceService Served(int firstSlot)
    {
        ref var s = ref At(firstSlot);
        return new DeviceService(Volatile.Read(ref s.DiskBytes), Volatile.Read(ref s.DiskOperations), (long)Volatile.Read(ref s.NetworkKib) << 10);
    }

    // The vCPU thread's side.

    /// <summary>How much memory a VM is to be left with, in MiB; 0 for all.</summary>
    public int MemoryTarget(int firstSlot) => Math.Max(0, Volatile.Read(ref At(firstSlot).MemoryTarget));

    /// <summary>What part of the limits of a VM's devices is to hold.</summary>
    public DeviceParts DeviceParts(int firstSlot) => Scheduling.DeviceParts.Unpack(Volatile.Read(ref At(firstSlot).DeviceParts));

    /// <summary>Says what a VM's devices did so far. A thread of its process.</summary>
    public void NoteServed(int firstSlot, DeviceService served)
    {
        ref var s = ref At(firstSlot);
        Volatile.Write(ref s.DiskBytes, served.DiskBytes);
        Volatile.Write(ref s.DiskOperations, served.DiskOperations);
        Volatile.Write(ref s.NetworkKib, (uint)(served.NetworkBytes >> 10));
    }

    /// <summary>Whether the dispatcher neither ended nor fell silent.</summary>
    public bool IsAlive(long now) => Volatile.Read(ref Header.Closed) == 0 && now - Volatile.Read(ref Header.Heartbeat) < HeartbeatPatience;

    public int Control(int slot) => Volatile.Read(ref At(slot).Control);

    public int CpuOf(int slot) => Volatile.Read(ref At(slot).Cpu);

    /// <summary>Waits until the slot's word differs, or until a moment. May return early.</summary>
    public int WaitForOrder(int slot, int control, long deadline) => Futex.Wait(AddressOf(ref At(slot).Control), control, deadline);

    /// <summary>Makes a parked thread look at its requests. Any thread of its process.</summary>
    public void Attend(int slot)
    {
        ref int control = ref At(slot).Control;
        int before;
        do
        {
            before = Volatile.Read(ref control);
        }
        while (Interlocked.CompareExchange(ref control, GateControl.Attend(before), before) != before);
        Futex.Wake(AddressOf(ref control), int.MaxValue);
    }

    public void Come(int slot, int threadId) => Volatile.Write(ref At(slot).ThreadId, threadId);

    /// <summary>Answers an order.</summary>
    public void Answer(int slot, GatePlace place, int order)
    {
        ref var s = ref At(slot);
        Volatile.Write(ref s.Place, (int)place);
        Volatile.Write(ref s.Answer, order);
    }

    /// <summary>Leaves the numbers of a thread that is about to answer that it parked or ended.</summary>
    public void Note(int slot, long now, long cpuTime, long parkedTotal)
    {
        ref var s = ref At(slot);
        s.ParkedAt = now;
        s.CpuTime = cpuTime;
        s.ParkedTotal = parkedTotal;
    }

    public void NoteAffinityFailure(int slot) => At(slot).AffinityFailures++;

    /// <summary>Fills the whole table with bytes, as a process that goes wild would. For tests.</summary>
    internal void Scribble(Action<Span<byte>> write) => write(_memory.Span);

    private static void NextOrder(ref int control, int flags)
    {
        int before;
        do
        {
            before = Volatile.Read(ref control);
        }
        while (Interlocked.CompareExchange(ref control, GateControl.NextOrder(before, flags), before) != before);
    }

    private void Order(int slot, int flags, int cpu, long sliceEnd)
    {
        ref var s = ref At(slot);
        s.Cpu = cpu;
        s.SliceEnd = sliceEnd;
        NextOrder(ref s.Control, flags);
        if (Volatile.Read(ref s.Place) != (int)GatePlace.Inside)
            Futex.Wake(AddressOf(ref s.Control), int.MaxValue);
    }
}

/// <summary>What the table shows of a vCPU; times in ns.</summary>
internal readonly record struct GateNumbers(long Ran, long Waited, long Slices, long Migrations, int State, int Reason);
