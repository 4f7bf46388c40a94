using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Interop.Tests.Kvm;

/// <summary>The run page without a vCPU: what it shows is bounded, whatever the fields say.</summary>
public sealed class RunPageTests
{
    private const int Size = 3 * 4096;

    [Fact]
    public void Io_data_is_size_times_count_bytes_at_the_offset()
    {
        using KvmRunPage page = KvmRunPage.CreateDetached();
        page.ExitReason = KvmExit.Io;
        page.Io = new KvmRunIo { Size = 4, Count = 3, DataOffset = 4096 };

        page.IoData[11] = 7;

        page.IoData.Length.Should().Be(12);
        page.IoData[11].Should().Be(7);
        page.ExitReason.Should().Be(KvmExit.Io);
    }

    [Theory]
    [InlineData(1, 1u, Size - 1UL, 1)]
    [InlineData(1, 1u, (ulong)Size, 0)]
    [InlineData(2, 1u, Size - 1UL, 0)]
    [InlineData(4, 0x40000000u, 4096UL, 0)]
    [InlineData(1, 1u, ulong.MaxValue, 0)]
    [InlineData(255, uint.MaxValue, 0UL, 0)]
    [InlineData(4, 0u, 4096UL, 0)]
    public void Io_data_never_leaves_the_mapping(byte size, uint count, ulong offset, int expected)
    {
        using KvmRunPage page = KvmRunPage.CreateDetached(Size);
        page.Io = new KvmRunIo { Size = size, Count = count, DataOffset = offset };

        page.IoData.Length.Should().Be(expected);
    }

    [Fact]
    public void Io_data_of_any_fields_lies_inside_the_mapping()
    {
        using KvmRunPage page = KvmRunPage.CreateDetached(Size);

        Prop.ForAll<byte, uint, ulong>((size, count, offset) =>
        {
            page.Io = new KvmRunIo { Size = size, Count = count, DataOffset = offset };
            ulong wanted = (ulong)size * count;
            bool fits = offset <= Size && wanted <= Size - offset;
            return page.IoData.Length == (fits ? (int)wanted : 0);
        }).QuickCheckThrowOnFailure();
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(4u, 4)]
    [InlineData(8u, 8)]
    [InlineData(9u, 8)]
    [InlineData(uint.MaxValue, 8)]
    public void Mmio_data_has_at_most_eight_bytes(uint length, int expected)
    {
        using KvmRunPage page = KvmRunPage.CreateDetached();
        page.Mmio = new KvmRunMmio { PhysAddr = 1, Len = length };

        page.MmioData.Length.Should().Be(expected);
    }

    [Fact]
    public void Mmio_data_is_the_field()
    {
        using KvmRunPage page = KvmRunPage.CreateDetached();
        page.Mmio = new KvmRunMmio { Len = 8 };

        page.MmioData[7] = 0x5a;

        page.Mmio.Data[7].Should().Be(0x5a);
    }

    [Theory]
    [InlineData(3u, 1UL, (byte)2, 2)]
    [InlineData(3u, 1UL, (byte)200, 15)]
    [InlineData(3u, 0UL, (byte)2, 0)]
    [InlineData(2u, 1UL, (byte)2, 0)]
    [InlineData(0u, 0UL, (byte)0, 0)]
    public void The_failed_instruction_is_shown_only_where_the_kernel_tells_it(uint ndata, ulong flags, byte size, int expected)
    {
        using KvmRunPage page = KvmRunPage.CreateDetached();
        page.EmulationFailure = new KvmRunEmulationFailure
        {
            Suberror = KvmConst.KVM_INTERNAL_ERROR_EMULATION,
            Ndata = ndata,
            Flags = flags,
            InsnSize = size,
        };

        page.FailedInstruction.Length.Should().Be(expected);
    }

    [Fact]
    public void Another_internal_error_has_no_instruction_but_data()
    {
        using KvmRunPage page = KvmRunPage.CreateDetached();
        page.Internal = new KvmRunInternal { Suberror = KvmConst.KVM_INTERNAL_ERROR_DELIVERY_EV, Ndata = 99 };
        page.Internal.Data[0] = 1;

        page.FailedInstruction.Length.Should().Be(0);
        page.InternalData.Length.Should().Be(16);
    }

    [Fact]
    public void The_data_of_a_system_event_are_bounded()
    {
        using KvmRunPage page = KvmRunPage.CreateDetached();
        page.SystemEvent = new KvmRunSystemEvent { Type = KvmConst.KVM_SYSTEM_EVENT_RESET, Ndata = 1000 };
        page.SystemEventData.Length.Should().Be(16);

        page.SystemEvent.Ndata = 2;

        page.SystemEventData.Length.Should().Be(2);
    }

    [Fact]
    public void The_flags_of_the_page_are_kept_apart()
    {
        using KvmRunPage page = KvmRunPage.CreateDetached();

        page.ImmediateExit = true;
        page.RequestInterruptWindow = true;
        page.IfFlag = true;
        page.ReadyForInterruptInjection = true;
        page.Flags = KvmConst.KVM_RUN_X86_SMM;
        page.Cr8 = 3;
        page.ApicBase = 0xfee00900;
        page.ImmediateExit = false;

        page.ImmediateExit.Should().BeFalse();
        page.RequestInterruptWindow.Should().BeTrue();
        page.IfFlag.Should().BeTrue();
        page.ReadyForInterruptInjection.Should().BeTrue();
        page.Flags.Should().Be(KvmConst.KVM_RUN_X86_SMM);
        page.Cr8.Should().Be(3);
        page.ApicBase.Should().Be(0xfee00900);
    }

    [Fact]
    public void The_views_of_the_union_share_their_bytes()
    {
        using KvmRunPage page = KvmRunPage.CreateDetached();
        page.Hw.HardwareExitReason = 0x1122334455667788;

        page.Hypercall.Nr.Should().Be(0x1122334455667788);
        page.FailEntry.HardwareEntryFailureReason.Should().Be(0x1122334455667788);
        page.TprAccess.Rip.Should().Be(0x1122334455667788);
        page.Ex.Exception.Should().Be(0x55667788);
        page.Eoi.Vector.Should().Be(0x88);
        page.Notify.Flags.Should().Be(0x55667788);
        page.Xen.Type.Should().Be(0x55667788);
        page.Hyperv.Type.Should().Be(0x55667788);
        page.MemoryFault.Flags.Should().Be(0x1122334455667788);
        page.Debug.Exception.Should().Be(0x55667788);
        page.Msr.Error.Should().Be(0x88);
    }

    [Fact]
    public void A_page_of_no_vcpu_is_zero_and_can_be_freed_twice()
    {
        KvmRunPage page = KvmRunPage.CreateDetached(4096);

        page.Size.Should().Be(4096);
        page.ExitReason.Should().Be(KvmExit.Unknown);
        page.IoData.Length.Should().Be(0);
        page.KvmValidRegs.Should().Be(0);
        page.Dispose();
        page.Dispose();
    }

    [Fact]
    public void A_page_smaller_than_a_page_is_refused()
    {
        FluentActions.Invoking(() => KvmRunPage.CreateDetached(4095)).Should().Throw<ArgumentOutOfRangeException>();
    }
}
