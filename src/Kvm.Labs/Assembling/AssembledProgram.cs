namespace Kvm.Labs.Assembling;

/// <summary>One line's bytes in the program.</summary>
/// <param name="Address">Where they begin.</param>
/// <param name="Length">How many.</param>
/// <param name="Line">Line of the source, from 1.</param>
/// <param name="Bits">16, 32 or 64 for instructions; 0 for data.</param>
public readonly record struct ListedBytes(uint Address, int Length, int Line, int Bits);

/// <summary>A source as bytes.</summary>
public sealed record AssembledProgram
{
    /// <summary>Guest-physical address of the first byte: the first <c>org</c>, 0x7c00 without one.</summary>
    public required uint Origin { get; init; }

    /// <summary>The bytes.</summary>
    public required byte[] Image { get; init; }

    /// <summary>The mode of the first instruction: 16, 32 or 64.</summary>
    public required int Bits { get; init; }

    /// <summary>Labels and constants by name.</summary>
    public required IReadOnlyDictionary<string, long> Symbols { get; init; }

    /// <summary>Which line became which bytes, by address.</summary>
    public required IReadOnlyList<ListedBytes> Listing { get; init; }

    /// <summary>The lines of the source.</summary>
    public required IReadOnlyList<string> Lines { get; init; }

    /// <summary>The listed bytes that hold an address, or null.</summary>
    public ListedBytes? At(ulong address)
    {
        int low = 0, high = Listing.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            var listed = Listing[middle];
            if (address < listed.Address)
                high = middle - 1;
            else if (address - listed.Address >= (ulong)listed.Length)
                low = middle + 1;
            else
                return listed;
        }

        return null;
    }
}

/// <summary>A program, or what keeps the source from being one.</summary>
/// <param name="Program">The program; null if there are errors.</param>
/// <param name="Errors">The mistakes, by line.</param>
public readonly record struct AssemblyResult(AssembledProgram? Program, IReadOnlyList<SourceError> Errors);
