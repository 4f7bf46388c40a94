using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>An operation of an <see cref="IHostFileQueue"/> that has ended.</summary>
/// <param name="Tag">What it was given.</param>
/// <param name="Result">What became of it; of an operation that transfers nothing the number of bytes means nothing.</param>
public readonly record struct HostFileCompletion(int Tag, HostFileResult Result);

/// <summary>
/// Operations of a host file that go on while their caller does something else (io_uring): prepared one by one, handed to the host together,
/// ended in any order. As with <see cref="IHostFile"/>, short transfers and interruptions are the caller's to go on from, and tests make them
/// happen here.
/// </summary>
/// <remarks>
/// Not thread-safe, but any thread may use it. Tags are numbers below the queue's depth, each of at most one operation at a time. Memory is
/// left alone from an operation's completion on. Nothing throws at run time, nothing is allocated.
/// </remarks>
public interface IHostFileQueue : IDisposable
{
    /// <summary>Prepares reading into buffers; more than one lie in an array that does not move.</summary>
    void Read(int tag, ulong position, ReadOnlySpan<HostBuffer> buffers);

    /// <summary>Prepares writing from buffers; more than one lie in an array that does not move.</summary>
    void Write(int tag, ulong position, ReadOnlySpan<HostBuffer> buffers);

    /// <summary>Prepares <see cref="IHostFile.Flush"/>: it covers what had ended when it was submitted.</summary>
    void Flush(int tag);

    /// <summary>Prepares <see cref="IHostFile.Discard"/>.</summary>
    void Discard(int tag, ulong position, ulong length);

    /// <summary>Prepares <see cref="IHostFile.WriteZeroes"/>.</summary>
    void WriteZeroes(int tag, ulong position, ulong length);

    /// <summary>Hands what was prepared to the host. What the host does not take ends at once, with an error.</summary>
    void Submit();

    /// <summary>True if <see cref="TryTake"/> would take one. Reads memory.</summary>
    bool HasEnded { get; }

    /// <summary>Takes an operation that has ended, if there is one.</summary>
    bool TryTake(out HostFileCompletion completion);

    /// <summary>Blocks until <see cref="TryTake"/> has something. Some operation is submitted.</summary>
    void Wait();

    /// <summary>Asks the host to give up all that is submitted: each still ends, sooner where that is possible, <see cref="HostFileError.Cancelled"/> where it was.</summary>
    void Cancel();

    /// <summary>Whoever uses the queue need not be woken: it looks by itself.</summary>
    void Mute();

    /// <summary>From now on operations that end wake whoever uses the queue.</summary>
    /// <returns>True if some have ended meanwhile, for which it need not be woken.</returns>
    bool Unmute();
}
