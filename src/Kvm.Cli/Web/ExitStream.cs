using Kvm.Web;

namespace Kvm.Cli.Web;

/// <summary>
/// Takes a trace as lines of JSON and tells it to pages, some hundred exits an event and no more than forty events a second: who is behind is
/// the trace's writer, whose queue then fills, and exits are left away and counted there.
/// </summary>
internal sealed class ExitStream(EventFeed feed) : Stream
{
    private const long PaceMs = 25;

    /// <summary>A thread that got no processor for so long makes up for it.</summary>
    private const long MostBehindMs = 500;

    private readonly ManualResetEventSlim _hurry = new();
    private long _due;

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>What is left comes at once from now on: the guest has ended.</summary>
    public void Hurry() => _hurry.Set();

    /// <summary>Tells of whole lines, each an exit.</summary>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        long now = Environment.TickCount64;
        if (_due > now)
            _hurry.Wait((int)(_due - now));
        _due = Math.Max(_due, now - MostBehindMs) + PaceMs;
        byte[] list = [(byte)'[', .. buffer.TrimEnd((byte)'\n'), (byte)']'];
        list.AsSpan().Replace((byte)'\n', (byte)',');
        feed.Publish("exits", list);
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _hurry.Dispose();
        base.Dispose(disposing);
    }
}
