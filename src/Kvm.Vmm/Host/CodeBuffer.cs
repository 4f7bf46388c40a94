using System.Runtime.InteropServices;
using Kvm.Interop;
using Kvm.X86.Translate;

namespace Kvm.Vmm.Host;

/// <summary>Memory the software engine writes translated code to: a memfd mapped twice, so that no page is writable and executable.</summary>
internal sealed class CodeBuffer : ICodeMemory
{
    /// <summary>Bytes for one processor: a kernel boot translates some 60,000 instructions to about 60 bytes each.</summary>
    public const int DefaultLength = 32 << 20;

    private readonly CodeMapping _mapping;

    private CodeBuffer(CodeMapping mapping) => _mapping = mapping;

    /// <inheritdoc/>
    public nint Writable => _mapping.Writable;

    /// <inheritdoc/>
    public nint Executable => _mapping.Executable;

    /// <inheritdoc/>
    public int Length => _mapping.Length;

    /// <summary>
    /// A buffer, or null where code made at run time cannot run: another processor architecture, or a host that forbids
    /// executable memory. The engine then interprets.
    /// </summary>
    /// <param name="length">Bytes, a positive multiple of the page size.</param>
    public static CodeBuffer? TryCreate(int length = DefaultLength)
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return null;
        try
        {
            return new CodeBuffer(CodeMapping.Create(length));
        }
        catch (KvmException)
        {
            return null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _mapping.Dispose();
}
