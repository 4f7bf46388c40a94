namespace Kvm.Interop.Tests.Kvm;

public sealed class VcpuRunTests
{
    [SkippableFact]
    public void Hlt_ends_the_run_without_irqchip()
    {
        using TinyGuest guest = new([0xf4]);

        guest.Run().Should().Be(KvmExit.Hlt);
    }

    [SkippableFact]
    public void Out_of_al_42_to_port_e9_shows_port_size_direction_and_byte()
    {
        // mov al, 42 ; out 0xe9, al ; hlt
        using TinyGuest guest = new([0xb0, 42, 0xe6, 0xe9, 0xf4]);

        guest.Run().Should().Be(KvmExit.Io);
        KvmRunIo io = guest.Page.Io;
        io.Port.Should().Be(0xe9);
        io.Size.Should().Be(1);
        io.Count.Should().Be(1);
        io.Direction.Should().Be(KvmConst.KVM_EXIT_IO_OUT);
        guest.Page.IoData.ToArray().Should().Equal(42);
        guest.Run().Should().Be(KvmExit.Hlt);
    }

    [SkippableFact]
    public void Ten_thousand_port_writes_allocate_nothing()
    {
        // again: out 0xe9, al ; jmp again
        using TinyGuest guest = new([0xe6, 0xe9, 0xeb, 0xfc]);
        for (int i = 0; i < 100; i++)
        {
            guest.Vcpu.Run();
        }

        int ports = 0;
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10_000; i++)
        {
            if (guest.Vcpu.Run() == 0 && guest.Page.ExitReason == KvmExit.Io && guest.Page.IoData.Length == 1)
            {
                ports++;
            }
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        allocated.Should().Be(0);
        ports.Should().BeGreaterThan(9_900);
    }
}
