using System.Threading.Channels;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Firecracker;

/// <summary>
/// Lines appended to a file or a named pipe. Nobody waits for it: a thread of its own writes, and of a pipe that nobody reads, or a disk that takes nothing, lines are lost once
/// some wait already, and counted. Thread-safe.
/// </summary>
internal sealed class LineFile : IDisposable
{
    private const int MostWaiting = 1024;
    // A file takes what waits; a pipe that nobody reads takes nothing.
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10), s_patienceWithPipes = TimeSpan.FromMilliseconds(200);

    private readonly Channel<byte[]> _lines = Channel.CreateBounded<byte[]>(new BoundedChannelOptions(MostWaiting) { SingleReader = true });
    private readonly FileStream _file;
    private readonly Thread _writer;
    private long _lost;

    /// <summary>Opens it; a file that is not there is made.</summary>
    /// <exception cref="VmmException">KVM0724.</exception>
    public LineFile(string path)
    {
        try
        {
            // Of a pipe both ends: a writer alone would wait for a reader (fifo(7)).
            _file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
            if (_file.CanSeek)
                _file.Seek(0, SeekOrigin.End);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new VmmException(FirecrackerErrors.CannotLog, $"{VisibleText.Quote(path)}: {HostFailureText.Of(e)}", e);
        }

        // A background thread: a pipe that nobody reads does not hold up the end.
        _writer = new Thread(Write) { IsBackground = true, Name = "lines" };
        _writer.Start();
    }

    /// <summary>Lines that were lost.</summary>
    public long Lost => Volatile.Read(ref _lost);

    /// <summary>Has a line written.</summary>
    /// <param name="line">In UTF-8, with its end.</param>
    public void Add(byte[] line)
    {
        if (!_lines.Writer.TryWrite(line))
            Interlocked.Increment(ref _lost);
    }

    /// <summary>Lets what waits be written, for a moment.</summary>
    public void Dispose()
    {
        _lines.Writer.TryComplete();
        if (_writer.Join(_file.CanSeek ? s_patience : s_patienceWithPipes))
            _file.Dispose();
    }

    private void Write()
    {
        while (_lines.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
        {
            while (_lines.Reader.TryRead(out byte[]? line))
            {
                try
                {
                    _file.Write(line);
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    Interlocked.Increment(ref _lost);
                }
            }
        }
    }
}
