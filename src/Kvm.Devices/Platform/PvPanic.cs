using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>What a guest tells through <see cref="PvPanic"/>: the bits of its event byte (Linux, <c>include/uapi/misc/pvpanic.h</c>).</summary>
[Flags]
public enum PvPanicEvents : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>The guest's kernel panicked and will not go on.</summary>
    Panicked = 1 << 0,

    /// <summary>The guest's kernel panicked and has started its crash kernel.</summary>
    CrashLoaded = 1 << 1,
}

/// <summary>
/// The one-byte device by which a guest reports its own panic: it reads which events are wanted and writes the one that happened.
/// Safe from any thread.
/// </summary>
public sealed class PvPanic : IBusDevice, IStateful
{
    /// <summary>Ports it takes.</summary>
    public const int Size = 1;

    /// <summary>The events it offers.</summary>
    public const PvPanicEvents Supported = PvPanicEvents.Panicked | PvPanicEvents.CrashLoaded;

    private readonly Action<PvPanicEvents> _report;
    private int _seen;

    /// <summary>Makes a device that has heard of no panic.</summary>
    /// <param name="name">The state's name, such as <c>pvpanic</c>.</param>
    /// <param name="report">Called with the known events of each write, if any; on a vCPU thread, with no lock held; must not throw.</param>
    public PvPanic(string name, Action<PvPanicEvents> report)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(report);
        StateName = name;
        _report = report;
    }

    /// <summary>Every event reported so far.</summary>
    public PvPanicEvents Seen => (PvPanicEvents)Volatile.Read(ref _seen);

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        if (offset == 0 && !data.IsEmpty)
            data[0] = (byte)Supported;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.IsEmpty)
            return;
        var events = (PvPanicEvents)data[0] & Supported;
        if (events == PvPanicEvents.None)
            return;
        Interlocked.Or(ref _seen, (int)events);
        _report(events);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.U8((byte)Seen);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        var seen = (PvPanicEvents)reader.U8();
        if (version != 1 || !reader.Complete || (seen & ~Supported) != 0)
            return false;
        Volatile.Write(ref _seen, (int)seen);
        return true;
    }
}
