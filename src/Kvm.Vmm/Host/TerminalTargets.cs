using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>Console output to a descriptor of this process: a terminal, a pipe, a file it was redirected to.</summary>
/// <param name="fd">The descriptor, which stays the caller's.</param>
/// <param name="escape">True where what the guest writes must not steer a terminal: control characters are shown escaped.</param>
public sealed class DescriptorTarget(int fd, bool escape) : IConsoleTarget
{
    private readonly TerminalEscaper? _escaper = escape ? new TerminalEscaper() : null;

    /// <inheritdoc/>
    public long DroppedBytes => 0;

    /// <inheritdoc/>
    public bool Write(ReadOnlySpan<byte> text) => WriteAll(fd, _escaper is null ? text : _escaper.Escape(text)) == 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        // The descriptor is not ours.
    }

    /// <summary>Writes all of it: 0, or -errno once nobody takes it any more.</summary>
    internal static int WriteAll(int fd, ReadOnlySpan<byte> text)
    {
        while (text.Length > 0)
        {
            var written = Descriptor.Write(fd, text);
            if (written == -Errno.EAGAIN)
            {
                // Whoever shares the descriptor made it non-blocking.
                Span<PollFd> fds = [new PollFd { Fd = fd, Events = PollFd.POLLOUT }];
                Descriptor.Poll(fds, -1);
                continue;
            }

            if (written < 0)
                return written;
            text = text[written..];
        }

        return 0;
    }
}

/// <summary>
/// Console output to a file that never grows beyond a cap: when it holds half of it, it becomes FILE.old (replacing an
/// older one) and starts anew.
/// </summary>
public sealed class RotatingFileTarget : IConsoleTarget
{
    /// <summary>The most that both halves keep (docs/cli.md, "The console").</summary>
    public const long DefaultCap = 64L << 20;

    private readonly string _path;
    private readonly long _half;
    private FileStream? _file;
    private long _length;
    private long _oldLength;
    private long _dropped;

    /// <summary>Makes the file, or empties it, or goes on at its end.</summary>
    /// <param name="path">The file; <c>.old</c> is added for the older half.</param>
    /// <param name="cap">Bytes kept at most, at least 2.</param>
    /// <param name="keep">True to go on behind what is there.</param>
    /// <exception cref="IOException">The file cannot be made.</exception>
    /// <exception cref="UnauthorizedAccessException">The file may not be written.</exception>
    public RotatingFileTarget(string path, long cap = DefaultCap, bool keep = false)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(cap, 2);
        _path = path;
        _half = cap / 2;
        _file = Create(keep ? FileMode.OpenOrCreate : FileMode.Create);
        _length = _file.Seek(0, SeekOrigin.End);
    }

    /// <inheritdoc/>
    public long DroppedBytes => Volatile.Read(ref _dropped);

    private string OldPath => _path + ".old";

    /// <inheritdoc/>
    public bool Write(ReadOnlySpan<byte> text)
    {
        try
        {
            while (text.Length > 0)
            {
                if (_length >= _half)
                    Rotate();
                var fits = (int)Math.Min(text.Length, _half - _length);
                _file!.Write(text[..fits]);
                _length += fits;
                text = text[fits..];
            }

            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A full disk does not end the guest; what follows is counted as lost.
            return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _file?.Dispose();
        _file = null;
    }

    private void Rotate()
    {
        _file!.Dispose();
        File.Move(_path, OldPath, overwrite: true);
        Interlocked.Add(ref _dropped, _oldLength);
        _oldLength = _length;
        _length = 0;
        _file = Create(FileMode.Create);
    }

    // Unbuffered: whoever follows the file sees what the guest wrote; the bytes come in pieces already.
    private FileStream Create(FileMode mode) => new(_path, mode, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
}
