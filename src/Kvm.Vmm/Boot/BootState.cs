namespace Kvm.Vmm.Boot;

/// <summary>How the first instruction of the kernel runs.</summary>
public enum EntryMode
{
    /// <summary>64-bit mode with paging, zero page in RSI (Documentation/arch/x86/boot.rst, 64-bit boot protocol).</summary>
    Linux64,

    /// <summary>32-bit protected mode, start_info in EBX (Xen x86/HVM direct boot ABI).</summary>
    Pvh32,

    /// <summary>32-bit protected mode, zero page in ESI (boot.rst, 32-bit boot protocol).</summary>
    Linux32,

    /// <summary>32-bit protected mode, magic in EAX and information in EBX (Multiboot 0.6.96, 3.2).</summary>
    Multiboot32,
}

/// <summary>One segment register as the processor holds it (SDM vol. 3, 3.4.3): selector and hidden part.</summary>
/// <param name="Selector">Visible part.</param>
/// <param name="Base">Linear address of the segment's start.</param>
/// <param name="Limit">Last offset in bytes, granularity already applied.</param>
/// <param name="Type">The descriptor's four type bits.</param>
/// <param name="System">True for TSS and LDT (descriptor bit S clear), false for code and data.</param>
/// <param name="Dpl">Privilege level.</param>
/// <param name="Present">Descriptor bit P.</param>
/// <param name="Long">Descriptor bit L: 64-bit code.</param>
/// <param name="Big">Descriptor bit D/B: 32-bit code or stack.</param>
/// <param name="Granular">Descriptor bit G: the limit was counted in pages.</param>
public readonly record struct BootSegment(
    ushort Selector, ulong Base, uint Limit, byte Type, bool System, byte Dpl, bool Present, bool Long, bool Big, bool Granular)
{
    /// <summary>True if nothing can be reached through it (null selector).</summary>
    public bool Unusable => !Present;

    /// <summary>The descriptor in the form it has in a GDT (SDM vol. 3, figure 3-8); for a TSS the lower 8 bytes.</summary>
    public ulong ToDescriptor()
    {
        ulong limit = Granular ? Limit >> 12 : Limit;
        ulong access = Type | (System ? 0UL : 0x10) | ((ulong)Dpl << 5) | (Present ? 0x80UL : 0);
        ulong flags = (Long ? 2UL : 0) | (Big ? 4UL : 0) | (Granular ? 8UL : 0);
        return (limit & 0xffff) | ((Base & 0xff_ffff) << 16) | (access << 40) | (((limit >> 16) & 0xf) << 48)
            | (flags << 52) | (((Base >> 24) & 0xff) << 56);
    }
}

/// <summary>
/// Every register of vCPU 0 that a boot protocol sets, in no engine's terms. Registers that are not here are zero;
/// application processors start by INIT and SIPI and need none of this.
/// </summary>
public sealed record BootState
{
    /// <summary>Selector of code in the initial GDT (boot.rst: __BOOT_CS).</summary>
    public const ushort CodeSelector = 0x10;

    /// <summary>Selector of data and stack in the initial GDT (boot.rst: __BOOT_DS).</summary>
    public const ushort DataSelector = 0x18;

    /// <summary>Selector of the TSS in the initial GDT.</summary>
    public const ushort TssSelector = 0x20;

    /// <summary>Bytes of the initial GDT: null, unused, code, data, and a TSS of two entries.</summary>
    public const ushort GdtSize = 6 * 8;

    /// <summary>The mode this state puts the processor in.</summary>
    public required EntryMode Mode { get; init; }

    /// <summary>CS.</summary>
    public required BootSegment Code { get; init; }

    /// <summary>DS, ES, FS, GS and SS, all alike.</summary>
    public required BootSegment Data { get; init; }

    /// <summary>TR: a busy TSS, which VM entry wants.</summary>
    public required BootSegment Task { get; init; }

    /// <summary>Linear address of the GDT.</summary>
    public ulong GdtBase { get; init; } = MachineLayout.Gdt;

    /// <summary>Last offset in the GDT.</summary>
    public ushort GdtLimit { get; init; } = GdtSize - 1;

    /// <summary>CR0.</summary>
    public required ulong Cr0 { get; init; }

    /// <summary>CR3.</summary>
    public required ulong Cr3 { get; init; }

    /// <summary>CR4.</summary>
    public required ulong Cr4 { get; init; }

    /// <summary>EFER.</summary>
    public required ulong Efer { get; init; }

    /// <summary>RIP.</summary>
    public required ulong Rip { get; init; }

    /// <summary>RFLAGS: all clear but the bit that is always set, so interrupts are off.</summary>
    public ulong Rflags { get; init; } = 2;

    /// <summary>RAX.</summary>
    public ulong Rax { get; init; }

    /// <summary>RBX.</summary>
    public ulong Rbx { get; init; }

    /// <summary>RSI.</summary>
    public ulong Rsi { get; init; }

    /// <summary>RSP: where nothing is yet; kernels set their own.</summary>
    public ulong Rsp { get; init; }

    /// <summary>The state at a 64-bit Linux entry.</summary>
    /// <param name="entry">RIP.</param>
    public static BootState Linux64(ulong entry) => new()
    {
        Mode = EntryMode.Linux64,
        Code = new(CodeSelector, 0, uint.MaxValue, 0xb, false, 0, true, Long: true, Big: false, Granular: true),
        Data = FlatData,
        Task = IdleTask,
        Cr0 = 0x8005_0033, // PG AM WP NE ET MP PE
        Cr3 = MachineLayout.PageTables,
        Cr4 = 0x20, // PAE
        Efer = 0x500, // LMA LME
        Rip = entry,
        Rsi = MachineLayout.ZeroPage,
    };

    /// <summary>The state at a PVH entry: only PE set (and ET, which is hard-wired), CR4 clear.</summary>
    /// <param name="entry">EIP.</param>
    public static BootState Pvh32(ulong entry) => Protected32(EntryMode.Pvh32, entry) with { Rbx = MachineLayout.StartInfo };

    /// <summary>The state at a 32-bit Linux entry.</summary>
    /// <param name="entry">EIP.</param>
    public static BootState Linux32(ulong entry) => Protected32(EntryMode.Linux32, entry) with { Rsi = MachineLayout.ZeroPage };

    /// <summary>The state at a Multiboot entry.</summary>
    /// <param name="entry">EIP.</param>
    public static BootState Multiboot32(ulong entry) =>
        Protected32(EntryMode.Multiboot32, entry) with { Rax = 0x2badb002, Rbx = MachineLayout.StartInfo };

    private static BootState Protected32(EntryMode mode, ulong entry) => new()
    {
        Mode = mode,
        Code = new(CodeSelector, 0, uint.MaxValue, 0xb, false, 0, true, Long: false, Big: true, Granular: true),
        Data = FlatData,
        Task = IdleTask,
        Cr0 = 0x11, // ET PE
        Cr3 = 0,
        Cr4 = 0,
        Efer = 0,
        Rip = entry,
    };

    private static BootSegment FlatData => new(DataSelector, 0, uint.MaxValue, 0x3, false, 0, true, Long: false, Big: true, Granular: true);

    private static BootSegment IdleTask => new(TssSelector, 0, 0x67, 0xb, true, 0, true, Long: false, Big: false, Granular: false);
}
