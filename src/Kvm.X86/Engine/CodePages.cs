using Kvm.Devices.Memory;

namespace Kvm.X86.Engine;

/// <summary>
/// Which processors keep decoded code of which physical page: one 64-bit mask a page, made for two megabytes at a time when the first
/// code there is decoded. Shared by the processors of a machine; lock-free.
/// </summary>
/// <remarks>Processor n has bit n modulo 64: with more than 64, some hear of writes that do not concern them.</remarks>
internal sealed class CodePages
{
    private const int PagesInChunk = 512, ChunkShift = 21;

    /// <summary>A region of at most this size has all its chunks from the start: 4 KiB for every 2 MiB.</summary>
    private const ulong EagerSize = 512UL << 20;

    private readonly ulong[] _starts;
    private readonly ulong[] _sizes;
    private readonly ulong[]?[][] _chunks;

    public CodePages(GuestMemory memory)
    {
        var regions = memory.Regions;
        _starts = new ulong[regions.Length];
        _sizes = new ulong[regions.Length];
        _chunks = new ulong[]?[regions.Length][];
        for (int n = 0; n < regions.Length; n++)
        {
            _starts[n] = regions[n].Start;
            _sizes[n] = regions[n].Size;
            _chunks[n] = new ulong[]?[(regions[n].Size + (1UL << ChunkShift) - 1) >> ChunkShift];
            // A running processor allocates nothing; of a large memory only what comes to hold code is worth its table.
            for (int chunk = 0; regions[n].Size <= EagerSize && chunk < _chunks[n].Length; chunk++)
                _chunks[n][chunk] = new ulong[PagesInChunk];
        }
    }

    /// <summary>The owners of a page's code; zero outside memory.</summary>
    public ulong Owners(ulong address)
    {
        ulong[]? chunk = Chunk(address, false, out int index);
        return chunk == null ? 0 : Volatile.Read(ref chunk[index]);
    }

    /// <summary>Adds an owner. True if the page had none.</summary>
    public bool Add(ulong address, int processor)
    {
        ulong[]? chunk = Chunk(address, true, out int index);
        return chunk != null && Interlocked.Or(ref chunk[index], 1UL << (processor & 63)) == 0;
    }

    /// <summary>Removes an owner.</summary>
    public void Remove(ulong address, int processor)
    {
        ulong[]? chunk = Chunk(address, false, out int index);
        if (chunk != null)
            Interlocked.And(ref chunk[index], ~(1UL << (processor & 63)));
    }

    private ulong[]? Chunk(ulong address, bool create, out int index)
    {
        for (int n = 0; n < _starts.Length; n++)
        {
            ulong offset = address - _starts[n];
            if (address < _starts[n] || offset >= _sizes[n])
                continue;
            index = (int)(offset >> 12) & (PagesInChunk - 1);
            ref ulong[]? chunk = ref _chunks[n][offset >> ChunkShift];
            if (chunk == null && create)
                Interlocked.CompareExchange(ref chunk, new ulong[PagesInChunk], null);
            return chunk;
        }

        index = 0;
        return null;
    }
}
