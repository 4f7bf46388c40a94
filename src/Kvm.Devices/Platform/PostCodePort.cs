using Kvm.Devices.Bus;
using Kvm.Devices.Snapshot;

namespace Kvm.Devices.Platform;

/// <summary>
/// A port that kernels write to only because the access takes time (0x80 and 0xed on a PC), and firmware to tell how far it got.
/// Keeps the last byte. Safe from any thread, without a lock.
/// </summary>
public sealed class PostCodePort : IBusDevice, IStateful
{
    /// <summary>Ports it takes.</summary>
    public const int Size = 1;

    private byte _code;

    /// <summary>Makes a port that holds 0.</summary>
    /// <param name="name">The state's name, such as <c>port80</c>.</param>
    public PostCodePort(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        StateName = name;
    }

    /// <summary>The byte last written.</summary>
    public byte Code => Volatile.Read(ref _code);

    /// <inheritdoc/>
    public string StateName { get; }

    /// <inheritdoc/>
    public ushort StateVersion => 1;

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        data.Fill(0xff);
        if (offset == 0 && !data.IsEmpty)
            data[0] = Code;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset == 0 && !data.IsEmpty)
            Volatile.Write(ref _code, data[0]);
    }

    /// <inheritdoc/>
    public void Save(StateWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.U8(Code);
    }

    /// <inheritdoc/>
    public bool TryRestore(ref StateReader reader, ushort version)
    {
        byte code = reader.U8();
        if (version != 1 || !reader.Complete)
            return false;
        Volatile.Write(ref _code, code);
        return true;
    }
}
