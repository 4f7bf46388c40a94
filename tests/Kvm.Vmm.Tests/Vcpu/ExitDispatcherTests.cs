using Kvm.Devices.Bus;
using Kvm.Interop;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Tests.Vcpu;

/// <summary>What an exit means, asked of a run page of no vCPU (KVM api.rst, section 5).</summary>
public sealed class ExitDispatcherTests : IDisposable
{
    private const ushort Port = 0x60;
    private const ulong Register = 0xd000_0000;

    private readonly KvmRunPage _page = KvmRunPage.CreateDetached();
    private readonly IoBus _ports = new();
    private readonly IoBus _mmio = new();
    private readonly Recorder _device = new();

    public ExitDispatcherTests()
    {
        _ports.Add(Port, 4, _device);
        _mmio.Add(Register, 16, _device);
    }

    public void Dispose() => _page.Dispose();

    [Fact]
    public void Port_write_with_a_count_is_one_access_for_each_element()
    {
        SetIo(direction: 1, size: 2, count: 3);
        byte[] sent = [1, 2, 3, 4, 5, 6];
        sent.CopyTo(_page.IoData);
        Dispatch().Should().Be(ExitAction.Resume);
        _device.Writes.Should().BeEquivalentTo(new[] { (0UL, "0102"), (0UL, "0304"), (0UL, "0506") }, o => o.WithStrictOrdering());
    }

    [Fact]
    public void Port_read_puts_the_answer_into_the_page()
    {
        SetIo(direction: 0, size: 4, count: 1);
        Dispatch().Should().Be(ExitAction.Resume);
        _page.IoData.ToArray().Should().Equal(0xa0, 0xa1, 0xa2, 0xa3);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(8)]
    public void Port_access_of_a_size_no_processor_makes_reaches_no_device(byte size)
    {
        SetIo(direction: 1, size, count: 1);
        Dispatch().Should().Be(ExitAction.Resume);
        _device.Writes.Should().BeEmpty();
    }

    [Fact]
    public void Port_data_outside_the_page_is_no_access()
    {
        SetIo(direction: 1, size: 1, count: uint.MaxValue);
        Dispatch().Should().Be(ExitAction.Resume);
        _device.Writes.Should().BeEmpty();
    }

    [Fact]
    public void Memory_write_reaches_the_register_at_its_offset()
    {
        _page.ExitReason = KvmExit.Mmio;
        _page.Mmio = new KvmRunMmio { PhysAddr = Register + 4, Len = 4, IsWrite = 1 };
        new byte[] { 9, 8, 7, 6 }.CopyTo(_page.MmioData);
        Dispatch().Should().Be(ExitAction.Resume);
        _device.Writes.Should().Equal((4UL, "09080706"));
    }

    [Fact]
    public void Memory_read_where_nothing_lives_reads_ones()
    {
        _page.ExitReason = KvmExit.Mmio;
        _page.Mmio = new KvmRunMmio { PhysAddr = 0xfec0_1000, Len = 8 };
        Dispatch().Should().Be(ExitAction.Resume);
        _page.MmioData.ToArray().Should().OnlyContain(b => b == 0xff);
    }

    [Theory]
    [InlineData(KvmExit.Hlt, nameof(ExitAction.Halt))]
    [InlineData(KvmExit.Shutdown, nameof(ExitAction.TripleFault))]
    [InlineData(KvmExit.Debug, nameof(ExitAction.Debug))]
    [InlineData(KvmExit.X86Wrmsr, nameof(ExitAction.WriteMsr))]
    [InlineData(KvmExit.Intr, nameof(ExitAction.Resume))]
    [InlineData(KvmExit.IrqWindowOpen, nameof(ExitAction.Resume))]
    [InlineData(KvmExit.FailEntry, nameof(ExitAction.Fail))]
    [InlineData(KvmExit.Unknown, nameof(ExitAction.Fail))]
    [InlineData((KvmExit)12345, nameof(ExitAction.Fail))]
    public void Reason_decides_the_action(KvmExit reason, string action)
    {
        _page.ExitReason = reason;
        Dispatch().ToString().Should().Be(action);
    }

    [Fact]
    public void Only_an_emulation_failure_is_a_case_for_completion()
    {
        _page.ExitReason = KvmExit.InternalError;
        _page.Internal.Suberror = KvmConst.KVM_INTERNAL_ERROR_EMULATION;
        Dispatch().Should().Be(ExitAction.EmulationFailure);
        _page.Internal.Suberror = 3;
        Dispatch().Should().Be(ExitAction.Fail);
    }

    [Fact]
    public void Every_failure_is_explained_in_words()
    {
        foreach (var reason in Enum.GetValues<KvmExit>())
        {
            _page.ExitReason = reason;
            ExitDispatcher.Explain(_page).Should().NotBeNullOrWhiteSpace();
            ExitNames.Of(reason).Should().MatchRegex("^[a-z0-9-]+$");
        }
    }

    [Fact]
    public void Dispatching_allocates_nothing()
    {
        SetIo(direction: 0, size: 1, count: 1);
        Dispatch();
        Allocation.Of(_ => ExitDispatcher.Dispatch(_page, _ports, _mmio), 10_000).Should().Be(0);
    }

    private ExitAction Dispatch() => ExitDispatcher.Dispatch(_page, _ports, _mmio);

    private void SetIo(byte direction, byte size, uint count)
    {
        _page.ExitReason = KvmExit.Io;
        _page.Io = new KvmRunIo { Direction = direction, Size = size, Port = Port, Count = count, DataOffset = 4096 };
    }

    private sealed class Recorder : IBusDevice
    {
        public List<(ulong Offset, string Bytes)> Writes { get; } = [];

        public void Read(ulong offset, Span<byte> data)
        {
            for (int i = 0; i < data.Length; i++)
                data[i] = (byte)(0xa0 + (int)offset + i);
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data) => Writes.Add((offset, Convert.ToHexStringLower(data)));
    }
}
