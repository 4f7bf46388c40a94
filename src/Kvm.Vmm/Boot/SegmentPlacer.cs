namespace Kvm.Vmm.Boot;

/// <summary>Brings the segments of a parsed image into guest memory: from a file, or from where it was unpacked to.</summary>
internal static class SegmentPlacer
{
    /// <summary>Refuses segments that are not in RAM or lie where boot data goes.</summary>
    internal static void Check(ImageSource file, ReadOnlySpan<ElfSegment> segments, GuestRam ram, bool isLinux)
    {
        foreach (var s in segments)
            ram.CheckRoom(file, $"segment {s.Index}", s.Range, isLinux);
    }

    /// <summary>Reads segments from a file straight to their places.</summary>
    internal static void PlaceFromFile(ImageSource file, ReadOnlySpan<ElfSegment> segments, GuestRam ram, bool memoryIsZero, bool isLinux)
    {
        Check(file, segments, ram, isLinux);
        foreach (var s in segments)
        {
            ram.ReadFile(file, s.FileOffset, s.Address, s.FileSize, $"segment {s.Index}");
            if (!memoryIsZero)
                ram.Clear(new(s.Address + s.FileSize, s.MemorySize - s.FileSize), "bss");
        }
    }

    /// <summary>
    /// Moves segments to their places within guest memory, where the whole image lies unpacked. The unpacked image is
    /// laid so that the largest segment is where it belongs already.
    /// </summary>
    /// <param name="file">The unpacked image, for messages.</param>
    /// <param name="segments">Its segments.</param>
    /// <param name="unpacked">Where it is.</param>
    /// <param name="ram">Guest memory.</param>
    /// <param name="memoryIsZero">True if guest memory outside <paramref name="unpacked"/> was never written.</param>
    internal static void PlaceFromGuest(ImageSource file, ElfSegment[] segments, AddressRange unpacked, GuestRam ram, bool memoryIsZero)
    {
        Check(file, segments, ram, isLinux: true);
        var moves = segments.Where(s => s.FileSize != 0).OrderBy(s => s.FileOffset).ToArray();
        bool disjoint = true, down = true, up = true;
        for (int i = 0; i < moves.Length; i++)
        {
            disjoint &= i == 0 || moves[i - 1].FileSize <= moves[i].FileOffset - moves[i - 1].FileOffset;
            down &= moves[i].Address <= unpacked.Start + moves[i].FileOffset;
            up &= moves[i].Address >= unpacked.Start + moves[i].FileOffset;
        }

        if (disjoint && (down || up))
            MoveInPlace(moves, unpacked.Start, ram, ascending: down);
        else
            MoveByCopy(moves, unpacked, ram);
        ClearBss(segments, unpacked, ram, memoryIsZero);
    }

    /// <summary>
    /// All move down: in ascending order none overwrites what is still to be moved, as its target ends no later than
    /// its source does, which is before the next source. All up: the same, descending.
    /// </summary>
    private static void MoveInPlace(ElfSegment[] moves, ulong from, GuestRam ram, bool ascending)
    {
        if (!ascending)
            Array.Reverse(moves);
        foreach (var s in moves)
        {
            if (from + s.FileOffset != s.Address)
                ram.Slice(from + s.FileOffset, (int)s.FileSize, "segment").CopyTo(ram.Slice(s.Address, (int)s.FileSize, "segment"));
        }
    }

    /// <summary>The order of the file is not that of memory: through a copy.</summary>
    private static void MoveByCopy(ElfSegment[] moves, AddressRange unpacked, GuestRam ram)
    {
        using var copy = new NativeBuffer((int)unpacked.Size);
        ram.Slice(unpacked.Start, (int)unpacked.Size, "unpacked kernel").CopyTo(copy.Span);
        foreach (var s in moves)
            copy.Span.Slice((int)s.FileOffset, (int)s.FileSize).CopyTo(ram.Slice(s.Address, (int)s.FileSize, "segment"));
    }

    /// <summary>Clears what is memory but not file; in fresh memory only where the unpacked image left bytes.</summary>
    private static void ClearBss(ElfSegment[] segments, AddressRange unpacked, GuestRam ram, bool memoryIsZero)
    {
        foreach (var s in segments)
        {
            ulong start = s.Address + s.FileSize, end = s.Range.End;
            if (memoryIsZero)
                (start, end) = (Math.Max(start, unpacked.Start), Math.Min(end, unpacked.End));
            if (start < end)
                ram.Clear(new(start, end - start), "bss");
        }
    }
}
