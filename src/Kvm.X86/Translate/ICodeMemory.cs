namespace Kvm.X86.Translate;

/// <summary>
/// Memory for translated code, supplied by the host layer: the same bytes seen twice, to be written through one view and run
/// through the other. No page may be writable and executable at once. Owned by one processor; used by its thread alone.
/// </summary>
public interface ICodeMemory : IDisposable
{
    /// <summary>First byte of the view that can be written.</summary>
    nint Writable { get; }

    /// <summary>First byte of the view that can be run.</summary>
    nint Executable { get; }

    /// <summary>Bytes of each view.</summary>
    int Length { get; }
}
