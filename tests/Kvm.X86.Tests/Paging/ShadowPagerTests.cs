using Iced.Intel;
using Kvm.X86.Paging;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Paging;

/// <summary>Shadow page tables: filled by faults, kept across CR3 loads, brought up to date by flushes, bounded.</summary>
public sealed class ShadowPagerTests : IDisposable
{
    private const ulong Window = 0x800000, Small = EngineRig.Tables + 0x5000, Directory = EngineRig.Tables + 0x2000, Other = 0x20000;
    private readonly SoftRig _rig = new(shadow: true);

    public ShadowPagerTests()
    {
        _rig.Memory.Write64(Directory + (4 * 8), Small | 7);
        for (ulong n = 0; n < 16; n++)
        {
            _rig.Memory.Write64(Small + (n * 8), (EngineRig.Data + (n << 12)) | 7);
            _rig.Memory.Write64(EngineRig.Data + (n << 12), 0x1000 + n);
        }

        _rig.State.Gpr[5] = Small;
        _rig.State.Gpr[6] = Window;
    }

    private ShadowStatistics Run(Action<Assembler> program)
    {
        _rig.Run(a =>
        {
            program(a);
            a.@out((byte)SoftRig.EndPort, al);
        });
        _rig.Ended.Should().BeTrue();
        return _rig.Processor.Shadow!.Value;
    }

    private static void LoadCr3(Assembler a, ulong value)
    {
        a.mov(rax, value);
        a.mov(cr3, rax);
    }

    [Fact]
    public void APageReadAgainAfterACr3LoadIsAnsweredByTheShadow()
    {
        var s = Run(a =>
        {
            for (int n = 0; n < 10; n++)
            {
                a.mov(rbx, __qword_ptr[rsi]);
                LoadCr3(a, EngineRig.Tables);
            }

            a.mov(rbx, __qword_ptr[rsi]);
        });
        _rig.State.Gpr[3].Should().Be(0x1000);
        s.Roots.Should().Be(1);
        s.RootHits.Should().Be(10);
        s.Syncs.Should().BeGreaterThanOrEqualTo(10);
        s.Fills.Should().BeLessThan(8, "the window, the code and little else");
        s.Hits.Should().BeGreaterThanOrEqualTo(10);
        _rig.Processor.PageWalks.Should().BeGreaterThanOrEqualTo(s.Fills + s.Hits);
    }

    [Fact]
    public void AnEntryWrittenIsSeenAfterCr3IsLoadedAndCountsAsAWriteProtectHit()
    {
        var s = Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(rcx, EngineRig.Data + 0x3000 + 7);
            a.mov(__qword_ptr[rbp], rcx);
            LoadCr3(a, EngineRig.Tables);
            a.mov(rdx, __qword_ptr[rsi]);
        });
        (_rig.State.Gpr[3], _rig.State.Gpr[2]).Should().Be((0x1000UL, 0x1003UL));
        s.WriteProtectHits.Should().Be(1);
        s.Dropped.Should().BePositive();
    }

    [Fact]
    public void AnEntryTheDirectoryLedToIsForgottenWhenTheDirectoryChanges()
    {
        // A second table with another frame first.
        _rig.Memory.Write64(Other, (EngineRig.Data + 0x5000) | 7);
        var s = Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(rcx, Other + 7);
            a.mov(rdi, Directory + (4 * 8));
            a.mov(__qword_ptr[rdi], rcx);
            a.invlpg(__byte_ptr[rsi]);
            a.mov(rdx, __qword_ptr[rsi]);
        });
        (_rig.State.Gpr[3], _rig.State.Gpr[2]).Should().Be((0x1000UL, 0x1005UL));
        s.WriteProtectHits.Should().Be(1);
    }

    [Fact]
    public void RightsTheGuestHasGrantedSinceAreFoundWithoutAFlush()
    {
        // Read-only when it is filled (CR0.WP is set), written after the guest has allowed it.
        _rig.Memory.Write64(Small, EngineRig.Data | 1);
        Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(rcx, EngineRig.Data + 7);
            a.mov(__qword_ptr[rbp], rcx);
            a.mov(__qword_ptr[rsi], rcx);
        });
        _rig.Memory.Read64(EngineRig.Data).Should().Be(EngineRig.Data + 7);
        (_rig.Memory.Read64(Small) & 0x60).Should().Be(0x60, "accessed and dirty are the guest's to see");
    }

    [Fact]
    public void ATableThatHasBecomeDataIsGivenUp()
    {
        var s = Run(a =>
        {
            var top = a.CreateLabel();
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(ecx, 1000);
            a.Label(ref top);
            a.mov(__qword_ptr[rbp + 0x800], rcx);
            a.dec(ecx);
            a.jne(top);
            a.mov(rdx, __qword_ptr[rsi]);
        });
        s.Floods.Should().Be(1);
        s.WriteProtectHits.Should().BeLessThan(10);
        _rig.State.Gpr[2].Should().Be(0x1000);
    }

    [Fact]
    public void AWriteByADeviceIsSeenAfterAFlush()
    {
        Run(a => a.mov(rbx, __qword_ptr[rsi]));
        _rig.Memory.Memory.TryWrite(Small, (EngineRig.Data + 0x7000) | 7).Should().BeTrue();
        _rig.Processor.Context.Shadow!.Synchronize();
        _rig.Processor.Shadow!.Value.Dropped.Should().BePositive();
    }

    [Fact]
    public void MoreAddressSpacesThanRootsPushTheOldestOut()
    {
        // 100 copies of the top table, each loaded in turn, twice.
        const int Spaces = 100;
        const ulong First = 0x900000;
        for (ulong n = 0; n < Spaces; n++)
            _rig.Memory.Write64(First + (n << 12), (EngineRig.Tables + 0x1000) | 7);
        var s = Run(a =>
        {
            var again = a.CreateLabel();
            var top = a.CreateLabel();
            a.mov(r8d, 2);
            a.Label(ref again);
            a.mov(rax, First);
            a.mov(ecx, Spaces);
            a.Label(ref top);
            a.mov(cr3, rax);
            a.mov(rbx, __qword_ptr[rsi]);
            a.add(rax, 4096);
            a.dec(ecx);
            a.jne(top);
            a.dec(r8d);
            a.jne(again);
        });
        _rig.State.Gpr[3].Should().Be(0x1000);
        s.Roots.Should().BeGreaterThan(Spaces);
        s.Evictions.Should().BeGreaterThan(Spaces);
        s.Tables.Should().BeLessThan(80, "roots share what lies below them");
    }

    [Fact]
    public void MoreTablesThanRoomAreGivenUpAndTheGuestGoesOn()
    {
        // One large table region: page directories that all lead to one table, reached through many pointers.
        ShadowTables tables = new();
        int tracked = 0;
        tables.Tracked = (_, on) => tracked += on ? 1 : -1;
        for (ulong n = 0; n < ShadowTables.Most; n++)
            tables.Add(ShadowTables.Key(n << 12, 1, ShadowPager.Long)).Should().BeGreaterThanOrEqualTo(0);
        tables.Add(ShadowTables.Key(0x7fff_f000, 1, ShadowPager.Long)).Should().Be(-1);
        tracked.Should().Be(ShadowTables.Most);
        ulong link = ShadowEntry.Link(5, tables.Generation(5));
        tables.Follow(link).Should().Be(5);
        tables.Clear();
        tracked.Should().Be(0);
        tables.Count.Should().Be(0);
        tables.Follow(link).Should().Be(-1, "its generation is over");
    }

    [Fact]
    public void PagesOf32BitAndPaeTablesAreShadowedToo()
    {
        foreach (bool pae in new[] { false, true })
        {
            using EngineRig rig = new();
            ShadowPager pager = new(rig.Context.Physical, (_, _) => { });
            ref var cpu = ref rig.Context.State;
            cpu.Efer = 0;
            cpu.Cr0 = 0x80010011;
            cpu.Cr4 = pae ? 0x20u : 0x10u;
            cpu.Cr3 = 0x40000;
            if (pae)
            {
                rig.Write64(0x40000 + (3 * 8), 0x41001);
                rig.Write64(0x41000 + (0x1ff * 8), 0x42007);
                rig.Write64(0x42000 + (0x1fe * 8), 0x123007);
            }
            else
            {
                rig.Write64(0x40000 + (0x3ff * 4), 0x42007);
                rig.Write64(0x42000 + (0x3fe * 4), 0x123007);
            }

            for (int n = 0; n < 2; n++)
            {
                pager.TryTranslate(ref cpu, 0xffffe000, AccessKind.Write, Privilege.User, out var mapping, out _).Should().BeTrue();
                (mapping.Physical, mapping.Writable, mapping.Dirty).Should().Be((0x123000UL, true, true));
            }

            (pager.Statistics.Fills, pager.Statistics.Hits).Should().Be((1L, 1L));
            rig.Write64((pae ? 0x42000UL + (0x1fe * 8) : 0x42000 + (0x3fe * 4)), 0x124007);
            pager.Written(pae ? 0x42000UL + (0x1fe * 8) : 0x42000 + (0x3fe * 4), 4);
            pager.Synchronize();
            pager.TryTranslate(ref cpu, 0xffffe000, AccessKind.Read, Privilege.User, out var moved, out _).Should().BeTrue();
            moved.Physical.Should().Be(0x124000);
            pager.Statistics.Dropped.Should().Be(1);
        }
    }

    public void Dispose() => _rig.Dispose();
}
