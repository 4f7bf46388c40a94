using Kvm.Interop;
using Kvm.Vmm.Cpu;

namespace Kvm.Vmm.Tests.Cpu;

public class CpuidPolicyTests
{
    private const uint Popcnt = 1u << 23, Cmpxchg16b = 1u << 13, Hypervisor = 1u << 31, X2Apic = 1u << 21, Vmx = 1u << 5, Smap = 1u << 20;

    private static readonly KvmCpuidEntry2[] s_supported =
    [
        new() { Function = 0, Eax = 0xd },
        new() { Function = 1, Ebx = 0x0123_4567, Ecx = Popcnt | Cmpxchg16b | Vmx, Edx = 1u << 28 },
        new() { Function = 7, Index = 0, Flags = 1, Ebx = Smap },
        new() { Function = 0xb, Index = 0, Flags = 1, Edx = 77 },
        new() { Function = 0x40000001, Eax = uint.MaxValue },
        new() { Function = 0x80000001, Ecx = 4 },
        new() { Function = 0x80000008, Ecx = 0xff },
    ];

    [Fact]
    public void Each_vcpu_sees_its_own_identifier_and_the_number_of_processors()
    {
        var leaf1 = Leaf(1, index: 3, Plain(cpus: 4));
        (leaf1.Ebx >> 24).Should().Be(3);
        (leaf1.Ebx >> 16 & 0xff).Should().Be(4);
        (leaf1.Ebx & 0xffff).Should().Be(0x4567, "brand and cache line size are the processor's");
        Leaf(0xb, index: 3, Plain(cpus: 4)).Edx.Should().Be(3);
        Leaf(0x80000008, index: 3, Plain(cpus: 4)).Ecx.Should().Be(3 | 2 << 12);
    }

    [Fact]
    public void Hypervisor_and_x2APIC_are_always_shown()
    {
        (Leaf(1, 0, Plain()).Ecx & (Hypervisor | X2Apic)).Should().Be(Hypervisor | X2Apic);
    }

    [Fact]
    public void A_host_that_runs_every_instruction_keeps_its_features()
    {
        (Leaf(1, 0, Plain()).Ecx & (Popcnt | Cmpxchg16b)).Should().Be(Popcnt | Cmpxchg16b);
        Leaf(7, 0, Plain()).Ebx.Should().Be(Smap);
        Leaf(0x40000001, 0, Plain()).Eax.Should().Be(uint.MaxValue);
    }

    [Fact]
    public void A_host_that_gives_up_on_instructions_hides_their_features_and_hypercalls()
    {
        var facts = Plain() with { GivesUpOnInstructions = true };
        (Leaf(1, 0, facts).Ecx & (Popcnt | Cmpxchg16b)).Should().Be(0);
        Leaf(7, 0, facts).Ebx.Should().Be(0);
        const uint sendIpi = 1u << 11, clock = 1u << 3;
        (Leaf(0x40000001, 0, facts).Eax & (sendIpi | clock)).Should().Be(clock);
    }

    [Fact]
    public void Nested_virtualization_is_hidden_unless_asked_for()
    {
        (Leaf(1, 0, Plain()).Ecx & Vmx).Should().Be(0);
        Leaf(0x80000001, 0, Plain()).Ecx.Should().Be(0);
        (Leaf(1, 0, Plain() with { Nested = true }).Ecx & Vmx).Should().Be(Vmx);
    }

    [Fact]
    public void Nested_on_a_host_without_it_is_refused_with_the_reason()
    {
        Action ask = () => CpuidPolicy.RequireNested(true, [new KvmCpuidEntry2 { Function = 1 }]);
        ask.Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0205");
        CpuidPolicy.RequireNested(true, s_supported);
        CpuidPolicy.RequireNested(false, []);
    }

    [Fact]
    public void The_TSC_frequency_follows_from_the_leaves_without_waiting()
    {
        var leaf = Leaf(0x15, 0, Plain());
        // SDM vol. 2, leaf 15H: TSC frequency = crystal × EBX ÷ EAX.
        ((ulong)leaf.Ecx * leaf.Ebx / leaf.Eax).Should().Be(2_600_000_000UL);
        Leaf(0, 0, Plain()).Eax.Should().BeGreaterThanOrEqualTo(0x15);
        CpuidPolicy.ForVcpu(s_supported, 0, Plain() with { TscKhz = 0 }).Should().NotContain(e => e.Function == 0x15);
    }

    private static CpuidPolicy.Facts Plain(int cpus = 1) => new(cpus, 2_600_000, true, false, false);

    private static KvmCpuidEntry2 Leaf(uint function, int index, CpuidPolicy.Facts facts) =>
        CpuidPolicy.ForVcpu(s_supported, index, facts).First(e => e.Function == function);
}
