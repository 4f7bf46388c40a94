namespace Kvm.Boot.Tests.Agent;

/// <summary>Counts what is written, keeps none of it, and says when the first of it comes.</summary>
internal sealed class CountingStream : Stream
{
    private readonly TaskCompletionSource _first = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Bytes so far.</summary>
    public long Written { get; private set; }

    /// <summary>Something has been written.</summary>
    public Task First => _first.Task;

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => Written;

    public override long Position { get => Written; set => throw new NotSupportedException(); }

    public override void Write(byte[] buffer, int offset, int count)
    {
        Written += count;
        _first.TrySetResult();
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
