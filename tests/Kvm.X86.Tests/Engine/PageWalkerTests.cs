using Kvm.X86.Paging;
using Kvm.X86.State;
using Kvm.X86.Tests.Interrupts;

namespace Kvm.X86.Tests.Engine;

/// <summary>Page tables of every kind against SDM vol. 3, chapter 4.</summary>
public sealed class PageWalkerTests : IDisposable
{
    private const ulong P = 1, Rw = 2, Us = 4, A = 0x20, D = 0x40, Ps = 0x80, G = 0x100, Nx = 1UL << 63;
    private readonly TestMemory _ram = new(0x10000);
    private readonly PhysicalMemory _physical;
    private Cpu _cpu;

    public PageWalkerTests()
    {
        _physical = new PhysicalMemory(_ram.Memory);
        _cpu = new Cpu { Cr0 = Bits.Cr0Pe | Bits.Cr0Pg | Bits.Cr0Wp, Cr3 = 0x1000, PhysicalBits = 40, LinearBits = 48 };
    }

    private void Put(ulong address, ulong entry) => _ram.Memory.TryWrite(address, entry).Should().BeTrue();

    private void Put32(ulong address, uint entry) => _ram.Memory.TryWrite(address, entry).Should().BeTrue();

    private ulong Entry(ulong address) => _ram.Read<ulong>(address);

    /// <summary>Four levels at 0x1000–0x4000 for linear address 0; the leaf entry is given.</summary>
    private void FourLevels(ulong leaf, ulong upper = P | Rw | Us)
    {
        _cpu.Cr4 |= Bits.Cr4Pae;
        _cpu.Efer |= Bits.EferLma | Bits.EferNxe;
        Put(0x1000, 0x2000 | upper);
        Put(0x2000, 0x3000 | P | Rw | Us);
        Put(0x3000, 0x4000 | P | Rw | Us);
        Put(0x4000, leaf);
    }

    private bool Walk(ulong linear, AccessKind access, Privilege privilege, out PageMapping mapping, out uint error) =>
        PageWalker.TryWalk(ref _cpu, _physical, linear, access, privilege, out mapping, out error);

    [Fact]
    public void WithoutPagingAddressesAreTheirOwn()
    {
        _cpu.Cr0 = Bits.Cr0Pe;
        Walk(0x1_2345_6789, AccessKind.Write, Privilege.User, out var m, out _).Should().BeTrue();
        m.Physical.Should().Be(0x2345_6000);
        (m.Readable, m.Writable, m.Executable).Should().Be((true, true, true));
    }

    [Theory]
    [InlineData(P | Rw | Us, 2u, true, 0u)]
    [InlineData(P | Us, 2u, true, 7u)]
    [InlineData(P | Us, 0u, true, 0u)]
    [InlineData(P | Rw, 0u, true, 5u)]
    [InlineData(P | Rw, 0u, false, 0u)]
    [InlineData(0UL, 2u, true, 6u)]
    [InlineData(0UL, 0u, false, 0x1000u)] // not present: error code 0, told by the marker
    [InlineData(P | Rw | Us | Nx, 16u, true, 0x15u)]
    [InlineData(P | Us, 16u, true, 0u)]
    [InlineData(P | Rw | Us | (1UL << 41), 0u, false, 9u)] // above MAXPHYADDR 40
    public void FourLevelLeafDecidesByRights(ulong leaf, uint access, bool user, uint expected)
    {
        FourLevels(leaf == 0 ? 0 : leaf | 0x9000);
        bool ok = Walk(0, (AccessKind)access, user ? Privilege.User : Privilege.Supervisor, out var m, out uint error);
        ok.Should().Be(expected == 0);
        if (ok)
            m.Physical.Should().Be(0x9000);
        else
            error.Should().Be(expected & 0xfff);
    }

    [Fact]
    public void RightsAreThoseOfEveryLevelTogether()
    {
        FourLevels(0x9000 | P | Rw | Us, upper: P | Us);
        Walk(0, AccessKind.Write, Privilege.User, out _, out uint error).Should().BeFalse();
        error.Should().Be(7);
        FourLevels(0x9000 | P | Rw | Us, upper: P | Rw);
        Walk(0, AccessKind.Read, Privilege.User, out _, out error).Should().BeFalse();
        error.Should().Be(5);
        FourLevels(0x9000 | P | Rw | Us, upper: P | Rw | Us | Nx);
        Walk(0, AccessKind.Execute, Privilege.Supervisor, out _, out error).Should().BeFalse();
        error.Should().Be(0x11);
    }

    [Fact]
    public void NxIsReservedWithoutNxe()
    {
        FourLevels(0x9000 | P | Rw | Us | Nx);
        _cpu.Efer &= ~Bits.EferNxe;
        Walk(0, AccessKind.Read, Privilege.Supervisor, out _, out uint error).Should().BeFalse();
        error.Should().Be(9);
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void WriteProtectionBindsTheSupervisorOnlyWithWp(bool wp, bool allowed)
    {
        FourLevels(0x9000 | P | Us);
        if (!wp)
            _cpu.Cr0 &= ~Bits.Cr0Wp;
        Walk(0, AccessKind.Write, Privilege.Supervisor, out _, out uint error).Should().Be(allowed);
        error.Should().Be(allowed ? 0u : 3);
    }

    [Fact]
    public void SmepAndSmapKeepTheSupervisorOutOfUserPages()
    {
        FourLevels(0x9000 | P | Rw | Us);
        _cpu.Cr4 |= Bits.Cr4Smep | Bits.Cr4Smap;
        Walk(0, AccessKind.Execute, Privilege.Supervisor, out _, out uint error).Should().BeFalse();
        error.Should().Be(0x11);
        Walk(0, AccessKind.Read, Privilege.SupervisorSmap, out _, out error).Should().BeFalse();
        error.Should().Be(1);
        Walk(0, AccessKind.Read, Privilege.Supervisor, out _, out _).Should().BeTrue();
    }

    [Fact]
    public void AccessedIsSetOnEveryLevelAndDirtyOnTheLeafOfAWrite()
    {
        FourLevels(0x9000 | P | Rw | Us);
        Walk(0, AccessKind.Read, Privilege.User, out var m, out _).Should().BeTrue();
        foreach (ulong table in new ulong[] { 0x1000, 0x2000, 0x3000, 0x4000 })
            (Entry(table) & (A | D)).Should().Be(A);
        m.Dirty.Should().BeFalse();
        Walk(0, AccessKind.Write, Privilege.User, out m, out _).Should().BeTrue();
        (Entry(0x4000) & (A | D)).Should().Be(A | D);
        (Entry(0x3000) & D).Should().Be(0);
        m.Dirty.Should().BeTrue();
    }

    [Fact]
    public void AFaultSetsNoBits()
    {
        FourLevels(0x9000 | P);
        Walk(0, AccessKind.Read, Privilege.User, out _, out _).Should().BeFalse();
        foreach (ulong table in new ulong[] { 0x1000, 0x2000, 0x3000, 0x4000 })
            (Entry(table) & (A | D)).Should().Be(0);
    }

    [Theory]
    [InlineData(0x3000UL, 21, 0x4000_0000UL | P | Rw | Us | Ps | G)]
    [InlineData(0x2000UL, 30, 0x4000_0000UL | P | Rw | Us | Ps | G)]
    public void LargePagesTakeTheRestOfTheAddress(ulong table, int shift, ulong entry)
    {
        FourLevels(0);
        _cpu.Cr4 |= Bits.Cr4Pge;
        Put(table, entry);
        ulong linear = ((1UL << shift) - 1) & ~0x1234UL;
        if (shift == 30)
            linear &= 0x1fff_ffff; // stays in the first gigabyte, any 2 MiB page
        Walk(linear, AccessKind.Read, Privilege.User, out var m, out _).Should().BeTrue();
        m.Physical.Should().Be((0x4000_0000 | linear) & ~0xfffUL);
        (m.Large, m.Global).Should().Be((true, true));
    }

    [Theory]
    [InlineData(0x3000UL, 0x40_2000UL | P | Ps)] // bit 13 of a 2 MiB entry
    [InlineData(0x2000UL, 0x20_0000UL | P | Ps)] // bit 21 of a 1 GiB entry
    [InlineData(0x1000UL, 0x2000UL | P | Ps)] // PS in a PML4 entry
    public void ReservedBitsOfUpperLevelsFault(ulong table, ulong entry)
    {
        FourLevels(0x9000 | P | Rw | Us);
        Put(table, entry);
        Walk(0, AccessKind.Read, Privilege.Supervisor, out _, out uint error).Should().BeFalse();
        error.Should().Be(9);
    }

    [Fact]
    public void FiveLevelsBeginOneTableHigher()
    {
        FourLevels(0x9000 | P | Rw | Us);
        _cpu.Cr4 |= Bits.Cr4La57;
        _cpu.LinearBits = 57;
        Put(0x5000 + (3 * 8), 0x1000 | P | Rw | Us);
        _cpu.Cr3 = 0x5000;
        Walk(3UL << 48, AccessKind.Read, Privilege.User, out var m, out _).Should().BeTrue();
        m.Physical.Should().Be(0x9000);
        Walk(0, AccessKind.Read, Privilege.User, out _, out _).Should().BeFalse();
    }

    [Fact]
    public void PaePointersHaveNoRightsAndTheirReservedBitsFault()
    {
        _cpu.Cr4 = Bits.Cr4Pae;
        _cpu.Cr3 = 0x1020; // 32-byte aligned
        Put(0x1020 + 8, 0x3000 | P);
        Put(0x3000, 0x4000 | P | Rw | Us);
        Put(0x4000, 0x9000 | P | Rw | Us);
        Walk(0x4000_0000, AccessKind.Write, Privilege.User, out var m, out _).Should().BeTrue();
        m.Physical.Should().Be(0x9000);
        (Entry(0x1028) & A).Should().Be(0, "directory pointers have no accessed bit");
        Put(0x1028, 0x3000 | P | Rw);
        Walk(0x4000_0000, AccessKind.Read, Privilege.Supervisor, out _, out uint error).Should().BeFalse();
        error.Should().Be(9);
    }

    [Fact]
    public void TwoLevelTablesMapSmallAndLargePages()
    {
        _cpu.Cr4 = Bits.Cr4Pse;
        Put32(0x1000, 0x2000 | (uint)(P | Rw | Us));
        Put32(0x2000 + (5 * 4), 0x9000 | (uint)(P | Us));
        Put32(0x1000 + 4, 0x0080_0000 | (1 << 13) | (uint)(P | Rw | Us | Ps)); // PSE-36: address bit 32
        Walk(0x5123, AccessKind.Read, Privilege.User, out var m, out _).Should().BeTrue();
        m.Physical.Should().Be(0x9000);
        Walk(0x5123, AccessKind.Write, Privilege.User, out _, out uint error).Should().BeFalse();
        error.Should().Be(7);
        Walk(0x0040_3456, AccessKind.Write, Privilege.User, out m, out _).Should().BeTrue();
        m.Physical.Should().Be(0x1_0080_3000);
        (_ram.Read<uint>(0x1004) & (uint)(A | D)).Should().Be((uint)(A | D));
        (_ram.Read<uint>(0x2014) & (uint)(A | D)).Should().Be((uint)A);
    }

    [Fact]
    public void WithoutPseTheBitIsIgnoredInTwoLevelTables()
    {
        Put32(0x1000, 0x2000 | (uint)(P | Rw | Us | Ps));
        Put32(0x2000, 0x9000 | (uint)(P | Us));
        Walk(0, AccessKind.Read, Privilege.User, out var m, out _).Should().BeTrue();
        m.Physical.Should().Be(0x9000);
    }

    [Fact]
    public void TablesOutsideMemoryReadAsOnes()
    {
        FourLevels(0x9000 | P);
        Put(0x1000, 0xf0_0000 | P | Rw | Us);
        Walk(0, AccessKind.Read, Privilege.Supervisor, out _, out uint error).Should().BeFalse();
        error.Should().Be(9, "all-ones has reserved bits");
    }

    public void Dispose() => _ram.Dispose();
}
