using Iced.Intel;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>What the translation buffers may remember and when they must forget (SDM vol. 3, 4.10).</summary>
public abstract class TranslationTests : IDisposable
{
    // A fourth table: small pages for the two megabytes at 0x800000.
    private const ulong Window = 0x800000, Small = EngineRig.Tables + 0x5000, Directory = EngineRig.Tables + 0x2000;
    private readonly SoftRig _rig;

    protected TranslationTests(bool shadow)
    {
        _rig = new SoftRig(shadow: shadow);
        _rig.Memory.Write64(Directory + (4 * 8), Small | 7);
        Map(0, EngineRig.Data);
        _rig.Memory.Write64(EngineRig.Data, 0x1111);
        _rig.Memory.Write64(EngineRig.Data + 0x1000, 0x2222);
        _rig.State.Gpr[5] = Small;
        _rig.State.Gpr[6] = Window;
    }

    private void Map(int page, ulong physical, ulong bits = 7) => _rig.Memory.Write64(Small + ((ulong)page * 8), physical | bits);

    private void Run(Action<Assembler> program)
    {
        _rig.Run(a =>
        {
            program(a);
            a.@out((byte)SoftRig.EndPort, al);
        });
        _rig.Ended.Should().BeTrue();
    }

    [Fact]
    public void InvlpgForgetsOnePage()
    {
        Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(rcx, EngineRig.Data + 0x1000 + 7);
            a.mov(__qword_ptr[rbp], rcx);
            a.invlpg(__byte_ptr[rsi]);
            a.mov(rdx, __qword_ptr[rsi]);
        });
        (_rig.State.Gpr[3], _rig.State.Gpr[2]).Should().Be((0x1111UL, 0x2222UL));
    }

    [Theory]
    [InlineData(false, 0x2222UL)]
    [InlineData(true, 0x1111UL)]
    public void Cr3KeepsGlobalPagesOnly(bool global, ulong expected)
    {
        _rig.State.Cr4 |= Bits.Cr4Pge;
        Map(0, EngineRig.Data, global ? 0x107u : 7);
        Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(rcx, EngineRig.Data + 0x1000 + 7);
            a.mov(__qword_ptr[rbp], rcx);
            a.mov(rax, cr3);
            a.mov(cr3, rax);
            a.mov(rdx, __qword_ptr[rsi]);
        });
        _rig.State.Gpr[2].Should().Be(expected);
    }

    [Fact]
    public void TogglingPgeForgetsGlobalPagesToo()
    {
        _rig.State.Cr4 |= Bits.Cr4Pge;
        Map(0, EngineRig.Data, 0x107);
        Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(rcx, EngineRig.Data + 0x1000 + 7);
            a.mov(__qword_ptr[rbp], rcx);
            a.mov(rax, cr4);
            a.xor(eax, 0x80);
            a.mov(cr4, rax);
            a.mov(rdx, __qword_ptr[rsi]);
        });
        _rig.State.Gpr[2].Should().Be(0x2222);
    }

    [Fact]
    public void InvlpgOfALargePageForgetsAllOfIt()
    {
        // The window becomes one large page over Data's two megabytes, and then another.
        _rig.Memory.Write64(Directory + (4 * 8), EngineRig.Data | 0x87);
        _rig.Memory.Write64(0x600000, 0x3333);
        _rig.State.Gpr[5] = Directory + (4 * 8);
        Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(rcx, 0x600087UL);
            a.mov(__qword_ptr[rbp], rcx);
            a.invlpg(__byte_ptr[rsi + 0x12345]);
            a.mov(rdx, __qword_ptr[rsi]);
        });
        (_rig.State.Gpr[3], _rig.State.Gpr[2]).Should().Be((0x1111UL, 0x3333UL));
    }

    [Fact]
    public void AFirstWriteAfterAReadSetsTheDirtyBit()
    {
        Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi]);
            a.mov(rdx, __qword_ptr[rbp]);
            a.mov(__qword_ptr[rsi], rbx);
            a.mov(rcx, __qword_ptr[rbp]);
        });
        (_rig.State.Gpr[2] & 0x60).Should().Be(0x20);
        (_rig.State.Gpr[1] & 0x60).Should().Be(0x60);
    }

    [Fact]
    public void CodeIsFetchedThroughTheNewMappingAfterInvlpg()
    {
        // A function in the window, first on one page, then on another.
        foreach (var (at, value) in new[] { (EngineRig.Data, 1), (EngineRig.Data + 0x1000, 2) })
        {
            var f = new Assembler(64);
            f.mov(eax, value);
            f.ret();
            _rig.Put(f, at);
        }

        Run(a =>
        {
            a.call(rsi);
            a.mov(ebx, eax);
            a.mov(rcx, EngineRig.Data + 0x1000 + 7);
            a.mov(__qword_ptr[rbp], rcx);
            a.invlpg(__byte_ptr[rsi]);
            a.call(rsi);
            a.mov(edx, eax);
        });
        (_rig.State.Gpr[3], _rig.State.Gpr[2]).Should().Be((1UL, 2UL));
    }

    [Fact]
    public void AccessAcrossTwoPagesUsesBothMappings()
    {
        Map(1, EngineRig.Data + 0x5000);
        _rig.Memory.Write64(EngineRig.Data + 0xff8, 0x8877665544332211);
        _rig.Memory.Write64(EngineRig.Data + 0x5000, 0x00ffeeddccbbaa99);
        Run(a =>
        {
            a.mov(rbx, __qword_ptr[rsi + 0xffc]);
            a.mov(rcx, 0x0102030405060708UL);
            a.mov(__qword_ptr[rsi + 0xffd], rcx);
        });
        _rig.State.Gpr[3].Should().Be(0xccbbaa9988776655);
        _rig.Memory.Read64(EngineRig.Data + 0xff8).Should().Be(0x0607085544332211);
        _rig.Memory.Read64(EngineRig.Data + 0x5000).Should().Be(0x00ffee0102030405);
    }

    [Fact]
    public void AWriteAcrossPagesThatFaultsOnTheSecondChangesNothing()
    {
        Run(a => a.mov(__qword_ptr[rsi + 0xffc], rbx));
        _rig.Seen.Should().Be((14UL, 2UL, EngineRig.Code, Window + 0x1000));
        _rig.Memory.Read64(EngineRig.Data + 0xff8).Should().Be(0);
    }

    public void Dispose()
    {
        GC.SuppressFinalize(this);
        _rig.Dispose();
    }
}

/// <summary>By walks of the guest's tables.</summary>
public sealed class WalkedTranslationTests() : TranslationTests(false);

/// <summary>By shadow tables.</summary>
public sealed class ShadowedTranslationTests() : TranslationTests(true);
