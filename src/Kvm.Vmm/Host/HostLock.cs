using System.Diagnostics;
using Kvm.Interop;

namespace Kvm.Vmm.Host;

/// <summary>One of a file's locks, by number: between processes and threads, ended by <see cref="Dispose"/> or by the process's end, however that comes.</summary>
public sealed class HostLock : IDisposable
{
    private const int RetryMs = 2;

    private readonly LockFile _file;

    private HostLock(LockFile file) => _file = file;

    /// <summary>Waits for a lock.</summary>
    /// <param name="path">The file, made where it is missing, with mode 0600. Never to be deleted while anybody uses it.</param>
    /// <param name="place">Which of its locks, from 0.</param>
    /// <param name="patience">How long at most.</param>
    /// <param name="cancel">Ends the wait.</param>
    /// <returns>Null where another had it all the time.</returns>
    /// <exception cref="IOException">The file cannot be used.</exception>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    public static HostLock? TryAcquire(string path, long place, TimeSpan patience, CancellationToken cancel = default)
    {
        var waited = Stopwatch.StartNew();
        try
        {
            while (true)
            {
                if (LockFile.TryAcquire(path, place) is { } file)
                    return new HostLock(file);
                if (waited.Elapsed >= patience)
                    return null;
                cancel.WaitHandle.WaitOne(RetryMs);
                cancel.ThrowIfCancellationRequested();
            }
        }
        catch (KvmException e)
        {
            throw new IOException(e.Message, e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
