// Invariants: none needed, no pointers; in this folder because it belongs to the XSAVE family.
namespace Kvm.X86.Execute.Fpu;

/// <summary>One state component of the XSAVE area as CPUID leaf 0DH sub-leaf <see cref="Number"/> describes it.</summary>
/// <param name="Number">2 to 62.</param>
/// <param name="Offset">Bytes from the area's start in standard format (EBX); 0 for supervisor components, which have no such place.</param>
/// <param name="Size">Bytes (EAX).</param>
/// <param name="Aligned">In compacted format it begins at a multiple of 64 (ECX bit 1).</param>
/// <param name="Supervisor">Enabled by IA32_XSS instead of XCR0 (ECX bit 0).</param>
public readonly record struct XsaveComponent(int Number, int Offset, int Size, bool Aligned, bool Supervisor);

/// <summary>
/// Where the components of extended state lie: the architecture fixes x87, SSE and AVX, everything else is the processor's choice and
/// comes from CPUID leaf 0DH of the processor whose state is held. Immutable.
/// </summary>
public sealed class XsaveLayout
{
    /// <summary>Bytes of the legacy region and the header: components 2 and above begin here or later.</summary>
    public const int HeaderEnd = 576;

    private const int MaxSize = 1 << 16;

    private readonly XsaveComponent[] _components = new XsaveComponent[63];

    /// <summary>x87, SSE and AVX only.</summary>
    public static XsaveLayout Default { get; } = new([new XsaveComponent(2, HeaderEnd, 256, false, false)]);

    /// <summary>Takes sub-leaves in any order. Those outside <c>ArchitecturalState.ExtendedSize</c> are never in use, see <see cref="Known"/>.</summary>
    public XsaveLayout(IEnumerable<XsaveComponent> components)
    {
        ArgumentNullException.ThrowIfNull(components);
        Known = 3;
        foreach (XsaveComponent component in components)
        {
            if (component.Number is < 2 or > 62 || component.Size is <= 0 or > MaxSize)
                continue;
            _components[component.Number] = component;
            // Sizes always count: a component without a place here still takes room in compacted areas.
            if (component.Offset >= HeaderEnd && component.Size <= State.ArchitecturalState.ExtendedSize - component.Offset)
                Known |= 1UL << component.Number;
        }
    }

    /// <summary>One bit a component whose state is held; 0 and 1 always are. Others count as in their initial configuration.</summary>
    public ulong Known { get; }

    /// <summary>Size in bytes; 0 for a component nobody described.</summary>
    public int Size(int number) => _components[number].Size;

    /// <summary>Offset in standard format, which is also where the processor's state holds it; 0 when it has no place there.</summary>
    public int Offset(int number) => _components[number].Offset;

    /// <summary>Offset of a component in compacted format for the given XCOMP_BV (SDM vol. 1, 13.4.3).</summary>
    public int CompactedOffset(ulong xcompBv, int number)
    {
        int offset = HeaderEnd;
        for (int i = 2; i < 63; i++)
        {
            if (((xcompBv >> i) & 1) == 0)
                continue;
            if (_components[i].Aligned)
                offset = (offset + 63) & ~63;
            if (i == number)
                return offset;
            offset += _components[i].Size;
        }
        return offset;
    }
}
