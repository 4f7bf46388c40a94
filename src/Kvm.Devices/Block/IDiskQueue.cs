using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>A range of a disk.</summary>
/// <param name="Position">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Unmap">The storage may be given back.</param>
public readonly record struct DiskRange(ulong Position, ulong Length, bool Unmap);

/// <summary>A request of an <see cref="IDiskQueue"/> that has ended.</summary>
/// <param name="Tag">What it was given.</param>
/// <param name="Result">What became of it.</param>
public readonly record struct DiskCompletion(int Tag, DiskResult Result);

/// <summary>
/// Requests of a disk that go on while their caller does something else. They end in any order, but a flush is a wall for changes (writes,
/// discards, zeros): it begins when all that were asked for before it have ended, and those asked for after it begin when it has ended.
/// Reads go past it. So nothing that a flush covers is lost, and after a crash nothing from behind a flush is there without what was before it.
/// </summary>
/// <remarks>
/// Not thread-safe, but any thread may use it. Tags are numbers below the queue's depth, each of at most one request from when it is asked for
/// until <see cref="TryTake"/> gave it back. Arrays of buffers and ranges do not move (they are allocated pinned) and are not changed as long.
/// Positions and lengths are as of <see cref="IDiskImage"/>. Nothing throws at run time, nothing is allocated.
/// </remarks>
public interface IDiskQueue : IDisposable
{
    /// <summary>Requests that were asked for and not yet taken back.</summary>
    int UnderWay { get; }

    /// <summary>Reads.</summary>
    void Read(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers);

    /// <summary>Writes; durable when it ends if <paramref name="durable"/>, else after the next <see cref="Flush"/>.</summary>
    void Write(int tag, ulong position, ReadOnlyMemory<HostBuffer> buffers, bool durable);

    /// <summary>Makes all changes that were asked for before durable.</summary>
    void Flush(int tag);

    /// <summary>Lets the host forget ranges, one after another.</summary>
    void Discard(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable);

    /// <summary>Makes ranges read as zeros, one after another.</summary>
    void WriteZeroes(int tag, ReadOnlyMemory<DiskRange> ranges, bool durable);

    /// <summary>Takes a request that has ended; hands all that was asked for to the host before it says that there is none.</summary>
    bool TryTake(out DiskCompletion completion);

    /// <summary>True if it is worth asking <see cref="TryTake"/> again, after it said that there is none. Reads memory.</summary>
    bool HasEnded { get; }

    /// <summary>Blocks until it is worth asking <see cref="TryTake"/> again, after it said that there is none. Something is under way.</summary>
    void Wait();

    /// <summary>
    /// Gives all requests up: those that did not begin never do, the rest is ended as soon as the host can. When it returns nothing is under
    /// way, no memory is touched any more, and no request will be given back.
    /// </summary>
    void Abandon();

    /// <summary>Whoever uses the queue need not be woken: it looks by itself.</summary>
    void Mute();

    /// <summary>From now on whoever uses the queue is woken when it is worth asking <see cref="TryTake"/>.</summary>
    /// <returns>True if it is already.</returns>
    bool Unmute();
}
