using Kvm.Vmm.Host;

namespace Kvm.Cli.Running;

/// <summary>Standard output as a stream that says when nobody reads it any more.</summary>
internal sealed class DescriptorStream(int fd) : Stream
{
    private readonly DescriptorTarget _target = new(fd, escape: false);

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (!_target.Write(buffer))
            throw new IOException("nobody reads standard output");
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();
}
