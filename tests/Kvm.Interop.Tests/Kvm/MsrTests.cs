namespace Kvm.Interop.Tests.Kvm;

public sealed class MsrTests
{
    private const uint SysenterCs = 0x174;
    private const uint Lstar = 0xc0000082;

    /// <summary>mov ecx, index ; mov eax, value ; xor edx, edx ; wrmsr ; hlt, all 32-bit.</summary>
    private static byte[] WriteMsr(uint index, uint value) =>
        [0x66, 0xb9, .. BitConverter.GetBytes(index), 0x66, 0xb8, .. BitConverter.GetBytes(value), 0x66, 0x31, 0xd2, 0x0f, 0x30, 0xf4];

    /// <summary>mov ecx, index ; rdmsr ; hlt.</summary>
    private static byte[] ReadMsr(uint index) => [0x66, 0xb9, .. BitConverter.GetBytes(index), 0x0f, 0x32, 0xf4];

    [SkippableFact]
    public void An_msr_comes_back_as_it_was_set()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        guest.Vcpu.TrySetMsr(SysenterCs, 0x10).Should().BeTrue();

        guest.Vcpu.TryGetMsr(SysenterCs, out ulong value).Should().BeTrue();
        value.Should().Be(0x10);
    }

    [SkippableFact]
    public void The_count_stops_at_the_first_msr_kvm_refuses()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        KvmMsrEntry[] entries = [new(SysenterCs, 0x18), new(0xdeadbeef, 1), new(SysenterCs, 0x20)];

        guest.Vcpu.SetMsrs(entries).Should().Be(1);
        guest.Vcpu.GetMsrs(entries).Should().Be(1);

        entries[0].Data.Should().Be(0x18);
        guest.Vcpu.TryGetMsr(0xdeadbeef, out _).Should().BeFalse();
        guest.Vcpu.TrySetMsr(0xdeadbeef, 0).Should().BeFalse();
    }

    [SkippableFact]
    public void Most_of_the_hosts_msr_list_can_be_read()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        uint[] list = guest.System.GetMsrIndexList();

        list.Count(index => guest.Vcpu.TryGetMsr(index, out _)).Should().BeGreaterThan(list.Length / 2);
    }

    [SkippableFact]
    public void An_empty_list_reads_and_sets_nothing()
    {
        using TinyGuest guest = new(GuestCode.Hlt);

        guest.Vcpu.GetMsrs([]).Should().Be(0);
        guest.Vcpu.SetMsrs([]).Should().Be(0);
    }

    [SkippableFact]
    public void A_filtered_write_ends_the_run_and_goes_on_after_it()
    {
        using TinyGuest guest = CreateFiltered(WriteMsr(Lstar, 0x1234), KvmConst.KVM_MSR_FILTER_WRITE);

        guest.Run().Should().Be(KvmExit.X86Wrmsr);

        guest.Page.Msr.Index.Should().Be(Lstar);
        guest.Page.Msr.Data.Should().Be(0x1234);
        guest.Page.Msr.Reason.Should().Be(KvmConst.KVM_MSR_EXIT_REASON_FILTER);
        guest.Page.Msr.Error = 0;
        guest.Run().Should().Be(KvmExit.Hlt);
    }

    [SkippableFact]
    public void A_filtered_read_gets_the_answer_of_this_program()
    {
        using TinyGuest guest = CreateFiltered(ReadMsr(Lstar), KvmConst.KVM_MSR_FILTER_READ);

        guest.Run().Should().Be(KvmExit.X86Rdmsr);
        guest.Page.Msr.Data = 0x1_2345_6789;
        guest.Page.Msr.Error = 0;

        guest.Run().Should().Be(KvmExit.Hlt);
        guest.Regs.Rax.Should().Be(0x2345_6789);
        guest.Regs.Rdx.Should().Be(1);
    }

    [SkippableFact]
    public void A_filtered_write_answered_with_an_error_faults_in_the_guest()
    {
        using TinyGuest guest = CreateFiltered(WriteMsr(Lstar, 1), KvmConst.KVM_MSR_FILTER_WRITE);
        byte[] handler = [.. GuestCode.Out((byte)'G'), 0xf4];
        handler.CopyTo(guest.Memory.Span[0x2000..]);
        guest.Memory.Span[(13 * 4) + 1] = 0x20;
        guest.Run().Should().Be(KvmExit.X86Wrmsr);

        guest.Page.Msr.Error = 1;

        guest.RunToOut(0xe9).Should().Be((byte)'G');
    }

    [SkippableFact]
    public void An_allowed_bit_and_a_removed_filter_let_the_write_through()
    {
        byte[] write = WriteMsr(Lstar, 0x55);
        using TinyGuest guest = CreateFiltered(write, KvmConst.KVM_MSR_FILTER_WRITE, bitmap: new byte[] { 1 });
        guest.Run().Should().Be(KvmExit.Hlt);
        guest.Vcpu.TryGetMsr(Lstar, out ulong value).Should().BeTrue();
        value.Should().Be(0x55);

        guest.Vm.SetMsrFilter(defaultAllow: true);
        KvmRegs regs = guest.Regs with { Rip = TinyGuest.Origin };
        guest.Vcpu.SetRegs(in regs);

        guest.Run().Should().Be(KvmExit.Hlt);
    }

    [SkippableFact]
    public void More_ranges_or_registers_than_a_filter_holds_are_refused_here()
    {
        using TinyGuest guest = new(GuestCode.Hlt);
        KvmMsrFilterRange range = new(Lstar, 1, KvmConst.KVM_MSR_FILTER_WRITE);

        FluentActions.Invoking(() => guest.Vm.SetMsrFilter(true, Enumerable.Repeat(range, 17).ToArray())).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => guest.Vm.SetMsrFilter(true, range with { Count = 12_289 })).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => guest.Vm.SetMsrFilter(true, range with { Count = 9, Bitmap = new byte[] { 1 } })).Should().Throw<ArgumentOutOfRangeException>();
    }

    private static TinyGuest CreateFiltered(byte[] code, uint accesses, ReadOnlyMemory<byte>? bitmap = null) => new(
        code,
        beforeVcpu: vm =>
        {
            Skip.If(vm.CheckExtension(KvmCap.KVM_CAP_X86_MSR_FILTER) == 0, "KVM_CAP_X86_MSR_FILTER is missing");
            vm.EnableCap(KvmCap.KVM_CAP_X86_USER_SPACE_MSR, KvmConst.KVM_MSR_EXIT_REASON_FILTER);
            vm.SetMsrFilter(defaultAllow: true, new KvmMsrFilterRange(Lstar, 1, accesses, bitmap));
        });
}
