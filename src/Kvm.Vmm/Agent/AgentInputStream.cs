namespace Kvm.Vmm.Agent;

/// <summary>What a program in the guest reads: sent as far as the guest has room; closing it is the end the program finds.</summary>
/// <param name="link">The connection.</param>
/// <param name="room">What the guest has room for at first.</param>
internal sealed class AgentInputStream(AgentLink link, int room) : Stream
{
    private readonly Lock _lock = new();
    private long _room = room;
    private bool _closed, _unread;
    private TaskCompletionSource? _waiting;

    /// <inheritdoc/>
    public override bool CanRead => false;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>The guest has more room. False: more than can be.</summary>
    public bool AddRoom(uint bytes)
    {
        TaskCompletionSource? waiting;
        lock (_lock)
        {
            if (bytes > int.MaxValue - _room)
                return false;
            _room += bytes;
            (waiting, _waiting) = (_waiting, null);
        }

        waiting?.TrySetResult();
        return true;
    }

    /// <summary>Nobody reads any more: what is written is dropped.</summary>
    public void End()
    {
        TaskCompletionSource? waiting;
        lock (_lock)
        {
            _unread = true;
            (waiting, _waiting) = (_waiting, null);
        }

        waiting?.TrySetResult();
    }

    /// <inheritdoc/>
    /// <remarks>What is written when the program has ended or reads no more is dropped, as far as it is known.</remarks>
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (!buffer.IsEmpty)
        {
            int count = 0;
            Task wait = Task.CompletedTask;
            lock (_lock)
            {
                ObjectDisposedException.ThrowIf(_closed, this);
                if (_unread)
                    return;
                count = (int)Math.Min(Math.Min(_room, buffer.Length), AgentProtocol.MostPayload);
                _room -= count;
                if (count == 0)
                    wait = (_waiting ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
            }

            if (count == 0)
            {
                await wait.WaitAsync(cancellationToken).ConfigureAwait(false);
                continue;
            }

            await link.SendAsync(AgentFrame.Input, buffer[..count], cancellationToken).ConfigureAwait(false);
            buffer = buffer[count..];
        }
    }

    /// <inheritdoc/>
    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => WriteAsync(buffer, offset, count, CancellationToken.None).GetAwaiter().GetResult();

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await EndInputAsync().ConfigureAwait(false);
        await base.DisposeAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            EndInputAsync().GetAwaiter().GetResult();
        base.Dispose(disposing);
    }

    private async Task EndInputAsync()
    {
        lock (_lock)
        {
            if (_closed)
                return;
            _closed = true;
            if (_unread)
                return;
        }

        try
        {
            await link.SendAsync(AgentFrame.InputEnd, default, CancellationToken.None).ConfigureAwait(false);
        }
        // Whoever waits for the program hears of it.
        catch (AgentException)
        {
        }
    }
}
