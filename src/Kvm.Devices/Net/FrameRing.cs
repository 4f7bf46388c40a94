using System.Buffers.Binary;
using Kvm.Devices.Memory;

namespace Kvm.Devices.Net;

/// <summary>
/// Frames in the order they came, in a bounded ring of bytes: where two threads pass frames to each other. Safe for any threads; allocates nothing
/// once it is made. A frame read by <see cref="Peek"/> stays where it is until <see cref="Take"/>, which only one thread at a time may do.
/// </summary>
public sealed partial class FrameRing
{
    private const int LengthBytes = 4, Alignment = 8;

    // Where a frame does not fit before the end, this length says that the next one is at the start.
    private const int Wrapped = -1;

    private readonly Lock _lock = new();
    private readonly byte[] _bytes;
    private int _head;
    private int _tail;
    private int _frames;
    private bool _refused;

    /// <summary>Makes an empty ring.</summary>
    /// <param name="capacity">Bytes, at least twice the longest frame.</param>
    public FrameRing(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 2 * Room(NetHeader.Size + NetHeader.MaxFrame));
        _bytes = GC.AllocateUninitializedArray<byte>(capacity & ~(Alignment - 1), pinned: true);
    }

    /// <summary>Frames that wait.</summary>
    public int Count => Volatile.Read(ref _frames);

    /// <summary>Adds a frame; false if there is no room for it.</summary>
    /// <param name="pieces">The frame.</param>
    /// <param name="length">Bytes of all pieces, at least 1.</param>
    /// <param name="wasEmpty">True if it is the only one now: whoever takes frames may have to be told.</param>
    public bool TryAdd(ReadOnlySpan<HostBuffer> pieces, int length, out bool wasEmpty)
    {
        wasEmpty = false;
        lock (_lock)
        {
            if (!TryPlace(length, out var to))
                return false;
            foreach (ref readonly var piece in pieces)
            {
                piece.Span.CopyTo(to);
                to = to[piece.Length..];
            }

            wasEmpty = _frames++ == 0;
            return true;
        }
    }

    /// <summary>Adds a frame that lies in two parts.</summary>
    public bool TryAdd(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, out bool wasEmpty)
    {
        wasEmpty = false;
        lock (_lock)
        {
            if (!TryPlace(first.Length + second.Length, out var to))
                return false;
            first.CopyTo(to);
            second.CopyTo(to[first.Length..]);
            wasEmpty = _frames++ == 0;
            return true;
        }
    }

    /// <summary>Adds a frame whose beginning is written anew.</summary>
    /// <param name="first">Its new beginning.</param>
    /// <param name="pieces">The frame as it was.</param>
    /// <param name="skip">Bytes of it that the beginning stands for.</param>
    /// <param name="length">Bytes of all pieces, at least <paramref name="skip"/>.</param>
    /// <param name="wasEmpty">True if it is the only one now.</param>
    internal bool TryAdd(ReadOnlySpan<byte> first, ReadOnlySpan<HostBuffer> pieces, int skip, int length, out bool wasEmpty)
    {
        wasEmpty = false;
        lock (_lock)
        {
            if (!TryPlace(first.Length + length - skip, out var to))
                return false;
            first.CopyTo(to);
            to = to[first.Length..];
            foreach (ref readonly var piece in pieces)
            {
                int skipped = Math.Min(skip, piece.Length);
                skip -= skipped;
                piece.Span[skipped..].CopyTo(to);
                to = to[(piece.Length - skipped)..];
            }

            wasEmpty = _frames++ == 0;
            return true;
        }
    }

    /// <summary>The frame that came first, or nothing.</summary>
    public ReadOnlySpan<byte> Peek()
    {
        lock (_lock)
        {
            if (_frames == 0)
                return default;
            int length = ReadLength(_head);
            if (length == Wrapped)
                (_head, length) = (0, ReadLength(0));
            return _bytes.AsSpan(_head + LengthBytes, length);
        }
    }

    /// <summary>Frees the frame that <see cref="Peek"/> gave.</summary>
    /// <returns>True if a frame was refused since the last time this said so: there may be room for it now.</returns>
    public bool Take()
    {
        lock (_lock)
        {
            if (_frames == 0)
                return false;
            int length = ReadLength(_head);
            if (length == Wrapped)
                (_head, length) = (0, ReadLength(0));
            _head += Room(length);
            if (--_frames == 0)
                _head = _tail = 0;
            bool refused = _refused;
            _refused = false;
            return refused;
        }
    }

    private static int Room(int length) => (LengthBytes + length + Alignment - 1) & ~(Alignment - 1);

    private int ReadLength(int at) => at == _bytes.Length ? Wrapped : BinaryPrimitives.ReadInt32LittleEndian(_bytes.AsSpan(at));

    /// <summary>Finds a place behind the last frame, or at the start if there is none before the end. The tail never comes up to the head from behind.</summary>
    private bool TryPlace(int length, out Span<byte> place)
    {
        int room = Room(length);
        bool behind = _frames == 0 || _tail > _head;
        if (behind && room > _bytes.Length - _tail)
        {
            if (_head <= room)
                return Refuse(out place);
            if (_tail < _bytes.Length)
                BinaryPrimitives.WriteInt32LittleEndian(_bytes.AsSpan(_tail), Wrapped);
            _tail = 0;
        }
        else if (!behind && room >= _head - _tail)
        {
            return Refuse(out place);
        }

        BinaryPrimitives.WriteInt32LittleEndian(_bytes.AsSpan(_tail), length);
        place = _bytes.AsSpan(_tail + LengthBytes, length);
        _tail += room;
        return true;
    }

    private bool Refuse(out Span<byte> place)
    {
        _refused = true;
        place = default;
        return false;
    }
}
