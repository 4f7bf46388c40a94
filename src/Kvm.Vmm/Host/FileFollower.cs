using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>
/// Reads a file that grows, and that becomes FILE.old now and then and begins anew (<see cref="RotatingFileTarget"/>). Not thread-safe.
/// </summary>
public sealed class FileFollower : IDisposable
{
    private readonly string _path;
    private readonly FolderWatch _watch;
    private readonly EventFd _wake = new();
    private long _position;

    /// <summary>Begins.</summary>
    /// <param name="path">The file; it need not be there yet, its folder does.</param>
    /// <param name="fromEnd">Leaves away what is there now.</param>
    /// <exception cref="IOException">The folder cannot be watched.</exception>
    public FileFollower(string path, bool fromEnd)
    {
        _path = path;
        try
        {
            _watch = new FolderWatch(Path.GetDirectoryName(path)!);
        }
        catch (KvmException e)
        {
            _wake.Dispose();
            throw new IOException(e.Message, e);
        }

        _position = fromEnd ? LengthOf(path) : 0;
    }

    /// <summary>What has come; 0 where nothing has.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    public int Read(Span<byte> buffer)
    {
        long length = LengthOf(_path);
        if (length < _position)
        {
            // It was moved away: first what is left of it there.
            int rest = ReadAt(_path + ".old", buffer);
            if (rest > 0)
                return rest;
            _position = 0;
        }

        return ReadAt(_path, buffer);
    }

    /// <summary>Waits until something has happened in the file's folder.</summary>
    /// <param name="patience">How long at most.</param>
    /// <param name="cancel">Ends the wait.</param>
    public void Wait(TimeSpan patience, CancellationToken cancel)
    {
        using var ending = cancel.Register(() => _wake.Signal());
        Descriptor.Poll(
            [new PollFd { Fd = _watch.Handle.Fd, Events = PollFd.POLLIN }, new PollFd { Fd = _wake.Handle.Fd, Events = PollFd.POLLIN }],
            (int)Math.Clamp(patience.TotalMilliseconds, 0, int.MaxValue));
        _watch.Drain();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _watch.Dispose();
        _wake.Dispose();
    }

    private static long LengthOf(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : 0;

    private int ReadAt(string path, Span<byte> buffer)
    {
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            int count = RandomAccess.Read(file, buffer, _position);
            _position += count;
            return count;
        }
        catch (FileNotFoundException)
        {
            return 0;
        }
    }
}
