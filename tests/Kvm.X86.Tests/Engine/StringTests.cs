using Iced.Intel;
using Kvm.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Engine;

/// <summary>String instructions against a model that moves one element at a time.</summary>
public sealed class StringTests : IDisposable
{
    private const int Area = 0x8000;
    private readonly SoftRig _rig = new();

    private byte[] Bytes()
    {
        _rig.Memory.Memory.TrySlice(EngineRig.Data, Area, out var bytes).Should().BeTrue();
        return bytes.ToArray();
    }

    private void Fill(int seed)
    {
        _rig.Memory.Memory.TrySlice(EngineRig.Data, Area, out var bytes).Should().BeTrue();
        new Random(seed).NextBytes(bytes);
    }

    [Theory]
    [InlineData(0x100, 0x2345, 5000, 1, false)]
    [InlineData(0x100, 0x103, 5000, 1, false)] // the target follows closely: a pattern
    [InlineData(0x103, 0x100, 5000, 1, false)]
    [InlineData(0xffd, 0x2ff9, 1500, 8, false)] // elements across pages
    [InlineData(0x5000, 0x6000, 700, 4, true)]
    [InlineData(0x5000, 0x5004, 700, 4, true)]
    [InlineData(0x5ffe, 0x7001, 600, 2, true)]
    [InlineData(0x100, 0x2345, 0, 8, false)]
    public void MovsMovesElementByElement(int from, int to, int count, int size, bool backward)
    {
        Fill(from + to);
        byte[] model = Bytes();
        int step = backward ? -size : size;
        for (int n = 0; n < count; n++)
            model.AsSpan(from + (n * step), size).ToArray().CopyTo(model, to + (n * step));
        Run(from, to, count, backward, a =>
        {
            switch (size)
            {
                case 1: a.rep.movsb(); break;
                case 2: a.rep.movsw(); break;
                case 4: a.rep.movsd(); break;
                default: a.rep.movsq(); break;
            }
        });
        Bytes().Should().Equal(model);
        _rig.State.Gpr[6].Should().Be(EngineRig.Data + (ulong)(from + (count * step)));
        _rig.State.Gpr[7].Should().Be(EngineRig.Data + (ulong)(to + (count * step)));
        _rig.State.Gpr[1].Should().Be(0);
    }

    [Theory]
    [InlineData(0x123, 9000, 1, false)]
    [InlineData(0xffd, 1000, 8, false)]
    [InlineData(0x7000, 1000, 4, true)]
    public void StosStoresElementByElement(int to, int count, int size, bool backward)
    {
        byte[] model = Bytes();
        byte[] value = BitConverter.GetBytes(0x1122334455667788);
        int step = backward ? -size : size;
        for (int n = 0; n < count; n++)
            value.AsSpan(0, size).CopyTo(model.AsSpan(to + (n * step)));
        _rig.State.Gpr[0] = 0x1122334455667788;
        Run(0, to, count, backward, a =>
        {
            switch (size)
            {
                case 1: a.rep.stosb(); break;
                case 4: a.rep.stosd(); break;
                default: a.rep.stosq(); break;
            }
        });
        Bytes().Should().Equal(model);
    }

    [Fact]
    public void RepneScasStopsBehindTheMatch()
    {
        Fill(3);
        _rig.Memory.Memory.TrySlice(EngineRig.Data, Area, out var bytes).Should().BeTrue();
        bytes[..0x5000].Replace((byte)0, (byte)1);
        bytes[0x4321] = 0;
        _rig.State.Gpr[0] = 0;
        Run(0, 0x10, 0x7fff, false, a => a.repne.scasb());
        _rig.State.Gpr[7].Should().Be(EngineRig.Data + 0x4322);
        _rig.State.Gpr[1].Should().Be(0x7fff - (0x4322 - 0x10));
        (_rig.State.Rflags & Bits.Zf).Should().NotBe(0);
    }

    [Fact]
    public void RepeCmpsStopsBehindTheDifference()
    {
        _rig.Memory.Memory.TrySlice(EngineRig.Data, Area, out var bytes).Should().BeTrue();
        bytes.Fill(7);
        bytes[0x3000 + 1234] = 9;
        Run(0x10, 0x3000, 4000, false, a => a.repe.cmpsb());
        _rig.State.Gpr[6].Should().Be(EngineRig.Data + 0x10 + 1235);
        (_rig.State.Rflags & (Bits.Zf | Bits.Cf)).Should().Be(Bits.Cf, "7 is below 9");
    }

    [Fact]
    public void LodsLeavesTheLastElementInTheAccumulator()
    {
        Fill(9);
        Run(0xff0, 0, 100, false, a => a.rep.lodsw());
        ((ushort)_rig.State.Gpr[0]).Should().Be(BitConverter.ToUInt16(Bytes(), 0xff0 + 198));
    }

    [Fact]
    public void AddressSize32WrapsAndClearsTheUpperHalf()
    {
        Fill(11);
        _rig.State.Gpr[6] = 0xffff_ffff_0000_0000 | (EngineRig.Data + 8);
        _rig.State.Gpr[7] = 0xffff_ffff_0000_0000 | (EngineRig.Data + 0x100);
        _rig.State.Gpr[1] = 0xffff_ffff_0000_0010;
        byte[] model = Bytes();
        model.AsSpan(8, 16).ToArray().CopyTo(model, 0x100);
        Program(a => a.db(0x67, 0xf3, 0xa4));
        Bytes().Should().Equal(model);
        (_rig.State.Gpr[1], _rig.State.Gpr[6]).Should().Be((0UL, EngineRig.Data + 24));
    }

    [Fact]
    public void FaultInTheMiddleKeepsWhatWasDone()
    {
        // The page behind Data + 2 MiB is taken away.
        _rig.Memory.Write64(EngineRig.Tables + 0x2000 + 16, 0);
        const ulong End = 0x400000;
        _rig.State.Gpr[0] = 0x41;
        _rig.State.Gpr[1] = 100;
        _rig.State.Gpr[7] = End - 60;
        Program(a => a.rep.stosb());
        _rig.Seen.Should().Be((14UL, 2UL, EngineRig.Code, End));
        (_rig.State.Gpr[1], _rig.State.Gpr[7]).Should().Be((40UL, End));
    }

    [Fact]
    public void EachIterationIsRetired()
    {
        ulong before = _rig.Processor.Instructions;
        Run(0, 0x100, 1000, false, a => a.rep.stosb());
        (_rig.Processor.Instructions - before).Should().Be(1000 + 1, "a thousand iterations and the OUT");
    }

    private void Run(int from, int to, int count, bool backward, Action<Assembler> program)
    {
        _rig.State.Gpr[6] = EngineRig.Data + (ulong)from;
        _rig.State.Gpr[7] = EngineRig.Data + (ulong)to;
        _rig.State.Gpr[1] = (ulong)count;
        _rig.State.Rflags = 2u | (backward ? Bits.Df : 0);
        Program(program);
    }

    private void Program(Action<Assembler> program)
    {
        _rig.Run(a =>
        {
            program(a);
            a.@out((byte)SoftRig.EndPort, al);
        });
        _rig.Ended.Should().BeTrue();
    }

    public void Dispose() => _rig.Dispose();
}
