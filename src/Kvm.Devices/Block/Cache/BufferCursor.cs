using Kvm.Devices.Memory;

namespace Kvm.Devices.Block.Cache;

/// <summary>Buffers that are filled from the front.</summary>
internal ref struct BufferCursor(ReadOnlySpan<HostBuffer> buffers)
{
    private ReadOnlySpan<HostBuffer> _buffers = buffers;
    private int _skip;

    /// <summary>Bytes filled.</summary>
    public long Filled { get; private set; }

    /// <summary>Fills the next bytes; what there is no room for is left out.</summary>
    public void CopyFrom(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty && !_buffers.IsEmpty)
        {
            var room = _buffers[0].Slice(_skip);
            int count = Math.Min(room.Length, bytes.Length);
            bytes[..count].CopyTo(room.Span);
            bytes = bytes[count..];
            Filled += count;
            _skip += count;
            if (_skip < _buffers[0].Length)
                continue;
            _buffers = _buffers[1..];
            _skip = 0;
        }
    }
}
