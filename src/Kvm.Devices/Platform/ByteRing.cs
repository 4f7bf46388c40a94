namespace Kvm.Devices.Platform;

/// <summary>A bounded queue of bytes that never grows and never allocates after construction. Not thread-safe.</summary>
internal sealed class ByteRing
{
    private readonly byte[] _bytes;
    private int _head;

    /// <summary>Makes a queue of <paramref name="capacity"/> bytes, a power of two.</summary>
    public ByteRing(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        if ((capacity & (capacity - 1)) != 0)
            throw new ArgumentException($"{capacity} is not a power of two", nameof(capacity));
        _bytes = new byte[capacity];
    }

    /// <summary>Bytes waiting.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes that fit.</summary>
    public int Capacity => _bytes.Length;

    /// <summary>Appends as many bytes as fit and says how many that were.</summary>
    public int Push(ReadOnlySpan<byte> bytes)
    {
        int accepted = Math.Min(bytes.Length, _bytes.Length - Count);
        int tail = (_head + Count) & (_bytes.Length - 1);
        int first = Math.Min(accepted, _bytes.Length - tail);
        bytes[..first].CopyTo(_bytes.AsSpan(tail));
        bytes[first..accepted].CopyTo(_bytes);
        Count += accepted;
        return accepted;
    }

    /// <summary>Takes the oldest byte; 0 if there is none.</summary>
    public byte Pop()
    {
        if (Count == 0)
            return 0;
        byte value = _bytes[_head];
        Drop(1);
        return value;
    }

    /// <summary>Throws the oldest <paramref name="count"/> bytes away, or all if there are fewer.</summary>
    public void Drop(int count)
    {
        count = Math.Clamp(count, 0, Count);
        _head = (_head + count) & (_bytes.Length - 1);
        Count -= count;
    }

    /// <summary>Copies the waiting bytes, oldest first, without taking them.</summary>
    public int CopyTo(Span<byte> destination)
    {
        int count = Math.Min(Count, destination.Length);
        int first = Math.Min(count, _bytes.Length - _head);
        _bytes.AsSpan(_head, first).CopyTo(destination);
        _bytes.AsSpan(0, count - first).CopyTo(destination[first..]);
        return count;
    }
}
