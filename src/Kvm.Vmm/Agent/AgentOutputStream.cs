namespace Kvm.Vmm.Agent;

/// <summary>
/// What a program in the guest writes, for one reader: at most a window's bytes wait here, and the guest is given room for as many as are read.
/// </summary>
/// <param name="window">The most bytes that wait.</param>
/// <param name="giveRoom">Tells the guest of bytes that were read.</param>
internal sealed class AgentOutputStream(int window, Func<int, ValueTask> giveRoom) : Stream
{
    private const int LeastBytes = 4096;

    private readonly Lock _lock = new();
    private byte[] _bytes = [];
    private int _start, _count, _read;
    private bool _ended;
    private Exception? _failure;
    private TaskCompletionSource? _waiting;

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>Bytes have come. False: more than there was room for.</summary>
    public bool Push(ReadOnlySpan<byte> bytes)
    {
        TaskCompletionSource? waiting;
        lock (_lock)
        {
            if (bytes.Length > window - _count)
                return false;
            if (bytes.IsEmpty)
                return true;
            Grow(_count + bytes.Length);
            int at = (_start + _count) % _bytes.Length, first = Math.Min(bytes.Length, _bytes.Length - at);
            bytes[..first].CopyTo(_bytes.AsSpan(at));
            bytes[first..].CopyTo(_bytes);
            _count += bytes.Length;
            (waiting, _waiting) = (_waiting, null);
        }

        waiting?.TrySetResult();
        return true;
    }

    /// <summary>No more will come; with a reason, reading ends with it.</summary>
    public void End(Exception? failure)
    {
        TaskCompletionSource? waiting;
        lock (_lock)
        {
            if (_ended)
                return;
            (_ended, _failure) = (true, failure);
            (waiting, _waiting) = (_waiting, null);
        }

        waiting?.TrySetResult();
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (true)
        {
            Task wait;
            int room = 0;
            lock (_lock)
            {
                int count = Take(buffer.Span);
                if (count > 0 || buffer.IsEmpty)
                {
                    _read += count;
                    // Worth a frame; a guest that has ended needs no room.
                    if (!_ended && _read >= window / 4)
                        (room, _read) = (_read, 0);
                    wait = Task.CompletedTask;
                }
                else if (_ended)
                {
                    return _failure is null ? 0 : throw _failure;
                }
                else
                {
                    wait = (_waiting ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
                }

                if (wait.IsCompleted && room == 0)
                    return count;
                buffer = wait.IsCompleted ? buffer[..count] : buffer;
            }

            if (room > 0)
            {
                await giveRoom(room).ConfigureAwait(false);
                return buffer.Length;
            }

            await wait.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => ReadAsync(buffer, offset, count, CancellationToken.None).GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private int Take(Span<byte> to)
    {
        int count = Math.Min(to.Length, _count);
        if (count == 0)
            return 0;
        int first = Math.Min(count, _bytes.Length - _start);
        _bytes.AsSpan(_start, first).CopyTo(to);
        _bytes.AsSpan(0, count - first).CopyTo(to[first..]);
        _start = (_start + count) % _bytes.Length;
        _count -= count;
        return count;
    }

    private void Grow(int least)
    {
        if (_bytes.Length >= least)
            return;
        byte[] bytes = new byte[Math.Min(window, Math.Max(LeastBytes, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)least)))];
        int count = _count;
        Take(bytes);
        (_bytes, _start, _count) = (bytes, 0, count);
    }
}
