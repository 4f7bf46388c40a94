namespace Kvm.X86.Engine;

/// <summary>A debugger's points as one processor looks at them: by page first, as nearly all code and data is on others.</summary>
/// <remarks>Immutable. Breakpoints cost nothing outside their pages: code of a page that has one is not entered by blocks but stepped through.</remarks>
internal sealed class DebugPlan
{
    private readonly HashSet<ulong> _breakpoints = [];
    private readonly HashSet<ulong> _codePages = [];
    private readonly DebugPoint[] _watches;

    public DebugPlan(ReadOnlySpan<DebugPoint> points)
    {
        var watches = new List<DebugPoint>();
        foreach (ref readonly var point in points)
        {
            if (point.Kind != DebugPointKind.Execute)
            {
                watches.Add(point with { Length = Math.Clamp(point.Length, 1, DebugPoint.MostBytes) });
                continue;
            }

            _breakpoints.Add(point.Address);
            _codePages.Add(point.Address & ~0xfffUL);
        }

        _watches = [.. watches];
    }

    /// <summary>Whether code at this linear address is on a page with a breakpoint.</summary>
    public bool HasCode(ulong linear) => _codePages.Contains(linear & ~0xfffUL);

    /// <summary>Whether a breakpoint is exactly here.</summary>
    public bool IsBreakpoint(ulong linear) => _breakpoints.Contains(linear);

    /// <summary>Whether a byte of this linear page is watched.</summary>
    public bool HasData(ulong page)
    {
        foreach (ref readonly var watch in _watches.AsSpan())
        {
            if (Overlaps(watch, page, 4096))
                return true;
        }

        return false;
    }

    /// <summary>The watchpoint that an access hits.</summary>
    public bool TryHit(ulong linear, uint length, bool reads, bool writes, out DebugPoint hit)
    {
        foreach (ref readonly var watch in _watches.AsSpan())
        {
            bool waits = watch.Kind switch
            {
                DebugPointKind.Read => reads,
                DebugPointKind.Write => writes,
                _ => true,
            };
            if (waits && Overlaps(watch, linear, length))
            {
                hit = watch;
                return true;
            }
        }

        hit = default;
        return false;
    }

    private static bool Overlaps(in DebugPoint watch, ulong start, uint length) =>
        start - watch.Address < watch.Length || watch.Address - start < length;
}
