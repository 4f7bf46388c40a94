namespace Kvm.X86.Translate;

/// <summary>Why translated code came back.</summary>
internal enum ExitKind : byte
{
    /// <summary>The translation buffer did not let an access pass; its address is in Cpu.HostValue.</summary>
    Access,

    /// <summary>An op is to be run by its handler, alone.</summary>
    Single,

    /// <summary>The flags are wanted in the host's form.</summary>
    Flags,

    /// <summary>A direct jump is taken that is not patched yet.</summary>
    Chain,

    /// <summary>The interpreter is to go on at an op.</summary>
    Interpret,

    /// <summary>A jump by register or memory that the jump cache does not know, or behind which the run loop is wanted; its target is in Cpu.HostValue.</summary>
    Arrive,
}

/// <summary>
/// Stands behind the code of a block and tells what one of its exits wants. Translated code returns its address. Distances are
/// from the record itself.
/// </summary>
internal struct ExitRecord
{
    /// <summary>Size in the code buffer.</summary>
    public const int Size = 24;

    public ExitKind Kind;

    /// <summary>Access: bytes.</summary>
    public byte Bytes;

    /// <summary>Access: an <see cref="AccessForm"/>.</summary>
    public AccessForm Form;

    /// <summary>Non-zero: what resumes wants the flags in the host's form.</summary>
    public byte NeedsFlags;

    /// <summary>Access: the code that tries again. Chain: the jump's displacement, to be patched.</summary>
    public int Retry;

    /// <summary>The code behind the op.</summary>
    public int Resume;

    /// <summary>The op, in its block. Chain: the jump.</summary>
    public nint Op;
}

/// <summary>What an access does.</summary>
internal enum AccessForm : byte
{
    Read, Write, ReadWrite, LoadToModify,
}
