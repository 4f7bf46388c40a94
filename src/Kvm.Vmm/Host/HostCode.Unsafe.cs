using Kvm.Interop;
using Kvm.X86.Engine;

namespace Kvm.Vmm.Host;

/// <summary>
/// The few machine instructions that C# cannot say, in a page of this process that is written once and then only executed.
/// </summary>
internal sealed unsafe class HostCode : IHostCode
{
    private static readonly Lazy<HostCode> s_instance = new(() => new HostCode());

    private readonly delegate* unmanaged<nint, UInt128*, UInt128*, byte> _compareExchange;

    // SAFETY: the page is ours, as long as the code fits in it; it is made executable only after it is no longer writable, and is
    // never unmapped, so the pointer stays good.
    private HostCode()
    {
        void* page = Libc.mmap(null, (nuint)Environment.SystemPageSize, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        if (page == Libc.MAP_FAILED)
            throw new KvmException("mmap (host code)", Errno.Last);
        CompareExchange16.CopyTo(new Span<byte>(page, Environment.SystemPageSize));
        if (Libc.mprotect(page, (nuint)Environment.SystemPageSize, Libc.PROT_READ | Libc.PROT_EXEC) != 0)
            throw new KvmException("mprotect (host code)", Errno.Last);
        _compareExchange = (delegate* unmanaged<nint, UInt128*, UInt128*, byte>)page;
    }

    /// <summary>One for the process, made at the first use.</summary>
    public static HostCode Instance => s_instance.Value;

    /// <summary>System V: RDI address, RSI expected, RDX value; AL is the answer. Every x86-64 processor since 2006 has the instruction.</summary>
    private static ReadOnlySpan<byte> CompareExchange16 =>
    [
        0x53, // push rbx
        0x49, 0x89, 0xd0, // mov r8, rdx
        0x48, 0x8b, 0x06, // mov rax, [rsi]
        0x48, 0x8b, 0x56, 0x08, // mov rdx, [rsi + 8]
        0x49, 0x8b, 0x18, // mov rbx, [r8]
        0x49, 0x8b, 0x48, 0x08, // mov rcx, [r8 + 8]
        0xf0, 0x48, 0x0f, 0xc7, 0x0f, // lock cmpxchg16b [rdi]
        0x48, 0x89, 0x06, // mov [rsi], rax
        0x48, 0x89, 0x56, 0x08, // mov [rsi + 8], rdx
        0x0f, 0x94, 0xc0, // setz al
        0x5b, // pop rbx
        0xc3, // ret
    ];

    // SAFETY: the caller promises sixteen writable bytes at an aligned address; the two values are on our stack.
    /// <inheritdoc/>
    public bool CompareExchange128(nint address, ref UInt128 expected, UInt128 value)
    {
        var wanted = expected;
        bool replaced = _compareExchange(address, &wanted, &value) != 0;
        expected = wanted;
        return replaced;
    }
}
