using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests;

/// <summary>Linux under shadow page tables: the same guest as by walks of its own tables.</summary>
public class ShadowPagingBootTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [SkippableTheory]
    [InlineData("small/vmlinux", 64, 1)]
    [InlineData("small/vmlinux", 64, 2)]
    [InlineData("stock/bzImage", 512, 1)]
    public void Kernel_reaches_user_space_and_powers_off(string kernel, int mebibytes, int cpus)
    {
        var run = Boot(kernel, null, c => c with { MemoryBytes = (ulong)mebibytes << 20, Cpus = cpus, Paging = PagingMode.Shadow });
        run.Console.Should().Contain("GUEST-UP 6.1.", run.Tail).And.NotContain("BUG:").And.NotContain("WARNING:");
        run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
        var shadow = run.Result.Paging!.Shadow!.Value;
        shadow.Hits.Should().BeGreaterThan(shadow.Fills, "most translations do not take a walk of the guest's tables");
        shadow.WriteProtectHits.Should().BePositive();
        shadow.RootHits.Should().BePositive();
        shadow.Syncs.Should().BePositive();
    }

    [SkippableFact]
    public void Test_programs_find_nothing_wrong_on_two_processors()
    {
        var run = Boot("small/vmlinux", "programs", c => c with { Cpus = 2, Paging = PagingMode.Shadow });
        run.Console.Should().Contain("GUEST-DONE programs", run.Tail).And.NotContain("GUEST-FAILED", run.Tail);
    }

    [SkippableFact]
    public void A_deterministic_run_ends_with_the_same_memory_either_way()
    {
        var walked = Boot("small/vmlinux", "programs", c => c with { Deterministic = true });
        var shadowed = Boot("small/vmlinux", "programs", c => c with { Deterministic = true, Paging = PagingMode.Shadow });
        walked.Result.Outcome.Should().Be(VmOutcome.PowerOff, walked.Tail);
        shadowed.Result.Determinism.Should().NotBeNull().And.Be(walked.Result.Determinism);
        shadowed.Console.Should().Be(walked.Console);
        walked.Result.Paging!.Shadow.Should().BeNull();
        shadowed.Result.Paging!.Shadow!.Value.Fills.Should().BeLessThan(walked.Result.Paging.Walks);
    }

    [Fact]
    public void KVM_cannot()
    {
        var build = () => TinyMachine.Run(TinyKernel.Assemble(a => a.hlt()), c => c with { Paging = PagingMode.Shadow, Engine = EngineChoice.Kvm });
        build.Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0209");
        var nested = () => TinyMachine.Run(TinyKernel.Assemble(a => a.hlt()), c => c with { Paging = PagingMode.Shadow, Engine = EngineChoice.Auto, Nested = true });
        nested.Should().Throw<VmmException>().Which.Error.Id.Should().Be("KVM0209");
    }

    private static LinuxRun Boot(string kernel, string? task, Func<VmConfig, VmConfig> change) =>
        LinuxGuest.Boot(kernel, EngineChoice.Soft, task, s_limit, change);
}
