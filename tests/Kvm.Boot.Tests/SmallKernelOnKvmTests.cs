using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests;

/// <summary>One boot of the small kernel over KVM, shared: where KVM interprets kernels it takes half a minute.</summary>
public sealed class SmallKernelOnKvm
{
    private readonly Lazy<LinuxRun> _run = new(() =>
        LinuxGuest.Boot("small/vmlinux", EngineChoice.Kvm, "programs", TimeSpan.FromMinutes(5), c => c with { MemoryBytes = 64 << 20, Append = $"{c.Append} loglevel=7" }));

    /// <summary>The boot; the first caller waits for it.</summary>
    public LinuxRun Run
    {
        get
        {
            TinyMachine.RequireKvm();
            return _run.Value;
        }
    }
}

public class SmallKernelOnKvmTests(SmallKernelOnKvm guest) : IClassFixture<SmallKernelOnKvm>
{
    [SkippableFact]
    public void Unmodified_kernel_reaches_user_space_and_powers_off()
    {
        guest.Run.Console.Should().Contain("GUEST-UP 6.1.");
        guest.Run.Result.Outcome.Should().Be(VmOutcome.PowerOff, guest.Run.Tail);
        guest.Run.Result.Ready.Should().NotBeNull();
        guest.Run.Result.Ready.Should().BeLessThan(guest.Run.Result.Total);
    }

    [SkippableFact]
    public void Vector_registers_survive_context_switches()
    {
        guest.Run.Console.Should().Contain("vectors ok", guest.Run.Tail).And.NotContain("GUEST-FAILED");
    }

    [SkippableFact]
    public void The_kernel_finds_its_tables_and_chips()
    {
        guest.Run.Console.Should().Contain("ACPI: Core revision").And.Contain("Switched to clocksource");
        guest.Run.Console.Should().NotContain("ACPI Error").And.NotContain("BUG:").And.NotContain("WARNING:");
    }

    [SkippableFact]
    public void What_this_KVM_gave_up_on_was_completed_and_counted()
    {
        var result = guest.Run.Result;
        result.Exits.TryGetValue("internal-error", out long gaveUp);
        result.Completions.Where(c => c.Key != "syscall").Sum(c => c.Value).Should().Be(gaveUp);
    }
}
