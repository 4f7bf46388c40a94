using Kvm.X86.State;

namespace Kvm.X86.Tests.Hostile;

/// <summary>Makes guests that are wrong in interesting ways: mostly plausible structures with random damage.</summary>
internal sealed unsafe class HostileGuest(Random random, int size, byte* memory)
{
    // First bytes that lead to most of the instruction set, and the escapes to the rest.
    private static readonly byte[] Openers =
    [
        0x0f, 0x0f, 0x0f, 0x66, 0xf2, 0xf3, 0xf0, 0x48, 0x4c, 0xc4, 0xc5, 0xcd, 0xcf, 0xcb, 0xca, 0x9a, 0xea, 0xff, 0x8e, 0xcc, 0xa4, 0xa5, 0xaa,
        0xab, 0xae, 0xa6, 0x6c, 0x6e, 0xe4, 0xec, 0x9c, 0x9d, 0xfa, 0xfb, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xf7, 0xc8, 0xc9,
        0x60, 0x61, 0x62, 0xe8, 0xe9, 0xeb, 0x74, 0x75, 0xe2, 0x8f, 0xff, 0x87, 0x0f, 0x67, 0x65, 0x64, 0x8b, 0x89, 0x01, 0x03, 0x50, 0x58,
    ];

    private static readonly byte[] Second = [0x01, 0x00, 0x20, 0x22, 0x21, 0x23, 0x30, 0x32, 0xa2, 0x05, 0x07, 0x34, 0x35, 0xae, 0xc7, 0xb1, 0xc1, 0xa3, 0xab, 0x1f, 0x38, 0x3a, 0x10, 0x6f, 0x7f, 0x28, 0x0b, 0xaa];

    public void FillMemory()
    {
        var all = new Span<byte>(memory, size);
        random.NextBytes(all);
        for (int n = 0; n < size; n += random.Next(1, 6))
        {
            all[n] = Openers[random.Next(Openers.Length)];
            if (all[n] == 0x0f && n + 1 < size)
                all[n + 1] = Second[random.Next(Second.Length)];
        }

        PageTables(0x1000);
        Descriptors(0x8000);
        Gates(0x9000);
        if (_plausible)
            PlausibleCode.Write(random, memory);
    }

    // Half of the guests have code that runs on, and tables that are rarely spoilt.
    private readonly bool _plausible = random.Next(2) == 0;

    private void Write64(int at, ulong value) => *(ulong*)(memory + at) = value;

    /// <summary>Two, three and four levels that map the first megabytes to themselves, some entries spoilt.</summary>
    private void PageTables(int at)
    {
        Write64(at, Entry((ulong)at + 0x1000));
        Write64(at + 0x1000, Entry((ulong)at + 0x2000));
        for (int n = 0; n < 512; n++)
            Write64(at + 0x2000 + (n * 8), random.Next(3) == 0 ? Entry((ulong)at + 0x3000) : Entry((ulong)n << 21) | 0x80);
        for (int n = 0; n < 512; n++)
            Write64(at + 0x3000 + (n * 8), Entry((ulong)n << 12));
        // 32-bit tables: large pages, then one small table.
        for (int n = 0; n < 1024; n++)
            *(uint*)(memory + 0x20000 + (n * 4)) = (uint)Entry(n % 3 == 0 ? 0x21000UL : (ulong)n << 22) | (n % 3 == 0 ? 0u : 0x80);
        for (int n = 0; n < 1024; n++)
            *(uint*)(memory + 0x21000 + (n * 4)) = (uint)Entry((ulong)n << 12);
    }

    private ulong Entry(ulong address)
    {
        ulong entry = address | 7;
        return random.Next(_plausible ? 1000 : 24) switch
        {
            0 => entry & ~1UL,
            1 => entry & ~2UL,
            2 => entry & ~4UL,
            3 => entry | (1UL << 63),
            4 => entry | (1UL << random.Next(64)),
            5 => (ulong)random.NextInt64(),
            _ => entry,
        };
    }

    private void Descriptors(int at)
    {
        ulong[] good = [0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0x00cf9b000000ffff, 0x00009b000000ffff];
        for (int n = 0; n < 256; n++)
        {
            ulong d = random.Next(3) == 0 ? (ulong)random.NextInt64() : good[n % good.Length];
            if (random.Next(6) == 0)
                d ^= 1UL << random.Next(64);
            Write64(at + (n * 8), d);
        }
    }

    private void Gates(int at)
    {
        for (int n = 0; n < 512; n++)
        {
            ulong type = random.Next(6) switch { 0 => 0x85, 1 => 0x86, 2 => 0x8f, 3 => (ulong)random.Next(256), _ => 0xee };
            ulong offset = (ulong)random.Next(size);
            Write64(at + (n * 8), (offset & 0xffff) | ((ulong)random.Next(9) * 8 << 16) | (type << 40) | (offset >> 16 << 48));
        }

        for (int n = 0; n < 512 && random.Next(3) != 0; n += 2)
            Write64(at + (n * 8) + 8, random.Next(8) == 0 ? (ulong)random.Next() : 0);
    }

    /// <summary>Registers for one of the modes, with damage.</summary>
    public ArchitecturalState State()
    {
        var s = new ArchitecturalState { Rip = (ulong)random.Next(0x30000, 0x70000), Rflags = 2 | ((uint)random.Next() & 0x3f7fd5 & ~0x20000u) };
        for (int n = 0; n < 16; n++)
            s.Gpr[n] = random.Next(4) switch { 0 => (ulong)random.NextInt64(), 1 => (ulong)random.Next(300), _ => (ulong)random.Next(size) };
        s.Gdtr = new DescriptorTable { Base = 0x8000, Limit = (ushort)(random.Next(4) == 0 ? random.Next(0x10000) : 0x7ff) };
        s.Idtr = new DescriptorTable { Base = 0x9000, Limit = (ushort)(random.Next(4) == 0 ? random.Next(0x10000) : 0xfff) };
        if (random.Next(16) == 0)
            s.Idtr = new DescriptorTable { Base = (ulong)random.NextInt64(), Limit = 0xffff };
        s.Ldtr = new SegmentRegister { Base = 0x8000, Limit = 0x7ff, Attributes = 0x82 };
        s.Tr = new SegmentRegister { Selector = 8, Base = (ulong)random.Next(size), Limit = (uint)random.Next(0x200), Attributes = (ushort)(random.Next(2) == 0 ? 0x8b : 0x83) };
        bool begins = _plausible && random.Next(8) != 0;
        Mode(s, begins ? 5 : random.Next(7));
        if (random.Next(4) == 0)
            s.Dr7 = 0x400 | (uint)random.Next();
        for (int n = 0; n < 4; n++)
            s.Dr[n] = (ulong)random.Next(size);
        s.Msr.Lstar = (ulong)random.Next(size);
        s.Msr.Star = (ulong)random.NextInt64();
        s.Msr.SysenterCs = (ulong)random.Next(64);
        random.NextBytes(s.Extended.AsSpan(0, 416));
        s.Extended[512] = (byte)random.Next(8);
        if (begins)
            PlausibleCode.Begin(random, s);
        return s;
    }

    private void Mode(ArchitecturalState s, int mode)
    {
        int cpl = random.Next(3) == 0 ? 3 : 0;
        bool real = mode == 0, virtual86 = mode == 1;
        s.Cr0 = real ? 0x10u : 0x11 | (mode >= 3 ? 0x80000000 : 0) | (random.Next(2) == 0 ? 0x10000u : 0) | (random.Next(3) == 0 ? (uint)random.Next() & 0x4000e : 0u);
        s.Cr4 = (mode >= 4 ? 0x20u : 0) | 0x10 | (random.Next(2) == 0 ? 0x600u : 0) | (random.Next(4) == 0 ? 0x300000u : 0) | (random.Next(2) == 0 ? 0x50000u : 0);
        s.Cr3 = mode == 3 ? 0x20000u : mode == 4 ? 0x2000u : 0x1000;
        s.Efer = mode >= 5 ? 0xd01u : random.Next(2) == 0 ? 0x801u : 0;
        s.Xcr0 = random.Next(2) == 0 ? 3u : 7;
        ushort code = mode switch { 0 or 1 => 0x9b, 5 => 0xa9b, _ => (ushort)(random.Next(3) == 0 ? 0x9b : 0xc9b) };
        ushort data = (ushort)(real || virtual86 ? 0x93 : random.Next(8) == 0 ? 0x97 : 0xc93);
        if (real || virtual86)
        {
            s.Rip &= 0xffff;
            cpl = virtual86 ? 3 : 0;
            if (virtual86)
                s.Rflags |= 0x20000;
        }

        for (int n = 0; n < 6; n++)
        {
            uint limit = real || virtual86 || random.Next(8) == 0 ? 0xffff : uint.MaxValue;
            ulong start = real || virtual86 || random.Next(6) == 0 ? (ulong)random.Next(0x10000) << 4 : 0;
            s.Segments[n] = new SegmentRegister { Selector = (ushort)(random.Next(64) * 8 + cpl), Base = n >= 4 ? start : mode == 5 ? 0 : start, Limit = limit, Attributes = (ushort)((n == 1 ? code : data) | (cpl << 5)) };
        }
    }
}
