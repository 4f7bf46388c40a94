using Kvm.Devices.Memory;

namespace Kvm.Devices.Block;

/// <summary>What became of a disk request.</summary>
public enum DiskResult : byte
{
    /// <summary>It was done, all of it.</summary>
    Done,

    /// <summary>The host could not; what was transferred before is undefined.</summary>
    Failed,

    /// <summary>The host has no room for it.</summary>
    NoSpace,

    /// <summary>This disk cannot do that.</summary>
    Unsupported,
}

/// <summary>
/// A disk's content, whatever the format of the file behind it. Positions and lengths are bytes, multiples of <see cref="SectorSize"/>, and
/// lie inside <see cref="Length"/>: the caller has checked both.
/// </summary>
/// <remarks>Safe from several threads at once; requests that overlap in time and place are in no order. Nothing throws at run time.</remarks>
public interface IDiskImage : IDisposable
{
    /// <summary>Bytes of a sector, the unit of all requests.</summary>
    const int SectorSize = 512;

    /// <summary>Bytes of the disk, a multiple of <see cref="SectorSize"/>.</summary>
    ulong Length { get; }

    /// <summary>True if writes are refused.</summary>
    bool IsReadOnly { get; }

    /// <summary>Bytes a guest should make its requests multiples of, a power of two from 512 to 4096.</summary>
    int BlockSize { get; }

    /// <summary>Bytes from which on requests are cheap, a power of two and at least <see cref="BlockSize"/>.</summary>
    int PhysicalBlockSize { get; }

    /// <summary>True if discarded ranges give storage back to the host.</summary>
    bool CanDiscard { get; }

    /// <summary>Bytes whose multiples, at multiples of them, are what a discard gives back: a power of two.</summary>
    int DiscardAlignment => PhysicalBlockSize;

    /// <summary>The most bytes to write as zeros in one request, so that none takes long: less where the host has no quick way.</summary>
    uint MaxZeroes { get; }

    /// <summary>What it counts of itself, for people, by name. Any thread.</summary>
    IReadOnlyList<(string Name, long Value)> Counters => [];

    /// <summary>Reads.</summary>
    DiskResult Read(ulong position, ReadOnlySpan<HostBuffer> buffers);

    /// <summary>Writes; durable after the next <see cref="Flush"/>.</summary>
    DiskResult Write(ulong position, ReadOnlySpan<HostBuffer> buffers);

    /// <summary>Makes all writes that were done before durable.</summary>
    DiskResult Flush();

    /// <summary>Lets the host forget a range: what it reads as afterwards is the image's to say.</summary>
    DiskResult Discard(ulong position, ulong length);

    /// <summary>Makes a range read as zeros, giving its storage back if <paramref name="mayUnmap"/>.</summary>
    DiskResult WriteZeroes(ulong position, ulong length, bool mayUnmap);

    /// <summary>Opens queues for requests that go on while their caller does something else. They are the image's to dispose of.</summary>
    /// <param name="count">How many.</param>
    /// <param name="depth">The most requests under way in each.</param>
    /// <returns>So many, or none where the image is used by the calls above.</returns>
    IReadOnlyList<IDiskQueue> OpenQueues(int count, int depth) => [];
}
