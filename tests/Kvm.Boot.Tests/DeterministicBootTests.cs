using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests;

/// <summary>Linux booted more than once in deterministic mode: always the same run.</summary>
public class DeterministicBootTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [SkippableTheory]
    [InlineData(1, "")]
    [InlineData(2, "")]
    [InlineData(2, "programs")]
    public void Small_kernel_boots_twice_to_the_same_end_translated_and_interpreted(int cpus, string task)
    {
        var first = Boot("small/vmlinux", c => c with { Cpus = cpus, Entropy = true }, task);
        var again = Boot("small/vmlinux", c => c with { Cpus = cpus, Entropy = true, Translate = false }, task);
        first.Result.Outcome.Should().Be(VmOutcome.PowerOff, first.Tail);
        first.Console.Should().Contain("GUEST-UP 6.1.", first.Tail).And.NotContain("BUG:").And.NotContain("WARNING:").And.NotContain("GUEST-FAILED");
        first.Result.Vcpus.Should().OnlyContain(v => v.Instructions > 1_000_000);
        ShouldBeTheSame(first, again);
    }

    [SkippableFact]
    public void Shadow_page_tables_cannot_be_told_from_walks()
    {
        var first = Boot("small/vmlinux", c => c with { Cpus = 2 }, "programs");
        var shadow = Boot("small/vmlinux", c => c with { Cpus = 2, Paging = PagingMode.Shadow }, "programs");
        shadow.Result.Determinism.Should().NotBeNull().And.Be(first.Result.Determinism);
        shadow.Console.Should().Be(first.Console);
    }

    [SkippableFact]
    public void Stock_kernel_boots_twice_to_the_same_end()
    {
        var first = Boot("stock/bzImage", c => c with { MemoryBytes = 512 << 20 });
        var again = Boot("stock/bzImage", c => c with { MemoryBytes = 512 << 20, Translate = false });
        first.Result.Outcome.Should().Be(VmOutcome.PowerOff, first.Tail);
        first.Console.Should().Contain("setting system clock to 2025-01-01T00:00:00 UTC", "the epoch is documented");
        ShouldBeTheSame(first, again);
    }

    [SkippableFact]
    public void The_seed_changes_what_a_guest_draws()
    {
        var first = Boot("small/vmlinux", c => c with { Seed = 1 }, "machine");
        var other = Boot("small/vmlinux", c => c with { Seed = 2 }, "machine");
        other.Result.Determinism!.MemoryHash.Should().NotBe(first.Result.Determinism!.MemoryHash);
        other.Result.Determinism.Seed.Should().Be(2);
    }

    [Fact]
    public void A_tiny_guest_ends_behind_the_instruction_that_ends_it()
    {
        var (first, _) = TinyMachine.Run(TinyKernel.Assemble(a => a.DebugExit(3)), Deterministic, quiet: true);
        first.Outcome.Should().Be(VmOutcome.DebugExit);
        first.Determinism!.Instructions.Should().Be(2);
        first.Determinism.GuestTime.Should().Be(TimeSpan.Zero, "two nanoseconds are less than a tick");
        var (again, _) = TinyMachine.Run(TinyKernel.Assemble(a => a.DebugExit(3)), Deterministic, quiet: true);
        again.Determinism.Should().Be(first.Determinism);
    }

    [Fact]
    public void A_guest_that_halts_for_ever_ends_at_once()
    {
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a =>
        {
            a.cli();
            a.hlt();
        }), Deterministic, quiet: true);
        result.Outcome.Should().Be(VmOutcome.Halted);
        result.ExitCode.Should().Be(14);
        result.Exits.Should().Equal(new Dictionary<string, long> { ["hlt"] = 1 });
    }

    [Fact]
    public void A_triple_fault_is_told_with_its_registers()
    {
        var (result, _) = TinyMachine.Run(TinyKernel.Assemble(a => a.ud2()), Deterministic, quiet: true);
        result.Outcome.Should().Be(VmOutcome.TripleFault);
        result.Explanation.Should().Contain("triple fault");
    }

    [Fact]
    public void KVM_cannot()
    {
        var build = () => TinyMachine.Run(TinyKernel.Assemble(a => a.hlt()), c => c with { Deterministic = true, Engine = EngineChoice.Kvm });
        build.Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0208");
        var nested = () => TinyMachine.Run(TinyKernel.Assemble(a => a.hlt()), c => Deterministic(c) with { Nested = true });
        nested.Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0208");
    }

    private static VmConfig Deterministic(VmConfig config) => config with { Deterministic = true, Engine = EngineChoice.Auto };

    private static LinuxRun Boot(string kernel, Func<VmConfig, VmConfig> change, string? task = null) =>
        LinuxGuest.Boot(kernel, EngineChoice.Soft, task is "" ? null : task, s_limit, c => change(c with { MemoryBytes = 64 << 20, Deterministic = true }));

    private static void ShouldBeTheSame(LinuxRun first, LinuxRun again)
    {
        again.Console.Should().Be(first.Console);
        again.Result.Outcome.Should().Be(first.Result.Outcome);
        again.Result.Exits.Should().Equal(first.Result.Exits);
        again.Result.Vcpus.Select(v => v.Instructions).Should().Equal(first.Result.Vcpus.Select(v => v.Instructions));
        again.Result.Determinism.Should().NotBeNull().And.Be(first.Result.Determinism);
    }
}
