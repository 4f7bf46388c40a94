using Kvm.Vmm;

namespace Kvm.Manager.Working;

/// <summary>
/// A guest's console for any number of readers and one writer: it keeps the last 64 KiB, from which each reader takes at its own pace. A reader
/// that is too slow loses what it did not take in time; the guest never waits for one. Any thread; allocates nothing.
/// </summary>
internal sealed class ConsoleHub
{
    private const int Kept = 64 << 10;
    private const int MostTyped = 16 << 10;

    private readonly Lock _lock = new();
    private readonly byte[] _ring = new byte[Kept];
    private readonly byte[] _typed = new byte[MostTyped];
    private readonly List<ConsoleReply> _readers = [];
    private VirtualMachine? _machine;
    private long _written;
    private int _typedCount;
    private bool _typing;
    private ConsoleReply? _writer;

    /// <summary>How much the guest wrote.</summary>
    public long Written => Volatile.Read(ref _written);

    /// <summary>Takes what the guest writes.</summary>
    public void Write(ReadOnlySpan<byte> text)
    {
        lock (_lock)
        {
            foreach (byte b in text)
                _ring[_written++ & (Kept - 1)] = b;
            foreach (var reader in _readers)
                reader.Wake();
        }
    }

    /// <summary>Whose console it is: what is typed goes there.</summary>
    public void Attach(VirtualMachine machine)
    {
        _machine = machine;
        machine.ConsoleInputReady += Pass;
    }

    /// <summary>Somebody reads from now on.</summary>
    /// <param name="reader">Who.</param>
    /// <param name="writes">Whether what they type is to reach the guest.</param>
    /// <returns>True if it does: one at a time.</returns>
    public bool Add(ConsoleReply reader, bool writes)
    {
        lock (_lock)
        {
            _readers.Add(reader);
            if (!writes || _writer is not null)
                return false;
            _writer = reader;
            return true;
        }
    }

    /// <summary>Somebody reads no longer.</summary>
    public void Remove(ConsoleReply reader)
    {
        lock (_lock)
        {
            _readers.Remove(reader);
            if (_writer == reader)
                _writer = null;
        }
    }

    /// <summary>What was written from a place on.</summary>
    /// <param name="position">The place; moved behind what is given, and before that to what is still kept.</param>
    /// <param name="buffer">Takes it.</param>
    /// <returns>How many bytes.</returns>
    public int Read(ref long position, Span<byte> buffer)
    {
        lock (_lock)
        {
            position = Math.Max(position, _written - Kept);
            int count = (int)Math.Min(buffer.Length, _written - position);
            for (int i = 0; i < count; i++)
                buffer[i] = _ring[position++ & (Kept - 1)];
            return count;
        }
    }

    /// <summary>Types for a guest that reads; what it does not take and 16 KiB do not hold is lost.</summary>
    public void Type(ReadOnlySpan<byte> text)
    {
        lock (_lock)
        {
            int fits = Math.Min(text.Length, MostTyped - _typedCount);
            text[..fits].CopyTo(_typed.AsSpan(_typedCount));
            _typedCount += fits;
        }

        Pass();
    }

    /// <summary>Gives the guest what it takes of what was typed. The guest may say that it takes more from within.</summary>
    private void Pass()
    {
        lock (_lock)
        {
            if (_typing || _typedCount == 0 || _machine is null)
                return;
            _typing = true;
            int taken = _machine.SendConsoleInput(_typed.AsSpan(0, _typedCount));
            _typing = false;
            _typedCount -= taken;
            _typed.AsSpan(taken, _typedCount).CopyTo(_typed);
        }
    }
}
