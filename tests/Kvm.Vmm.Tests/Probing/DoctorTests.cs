using System.Buffers;
using System.Text.Json;
using Kvm.Interop;
using Kvm.Vmm.Probing;

namespace Kvm.Vmm.Tests.Probing;

public sealed class DoctorTests
{
    private static JsonElement Json(DoctorReport report)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
            DoctorJson.Write(json, report);
        return JsonDocument.Parse(buffer.WrittenMemory).RootElement;
    }

    [Fact]
    public void Without_the_device_the_check_failed_with_cause_and_fix_and_kvm_cannot()
    {
        var report = Doctor.Examine(new DoctorHost("/nonexistent"), "/nonexistent/kvm");
        var device = report.Checks.Single(c => c.Id == "device");
        device.Status.Should().Be(DoctorStatus.Failed);
        device.Cause.Should().NotBeNullOrEmpty();
        device.Fix.Should().NotBeNullOrEmpty();
        report.Backend.Should().Be("none");
        report.Engines.Single(e => e.Name == "kvm").Usable.Should().BeFalse();
        report.ExitCode.Should().Be(report.Engines.Any(e => e.Usable) ? 0 : 4);
        (report.Advice is null).Should().Be(report.ExitCode == 4);
        Json(report).GetProperty("apiVersion").ValueKind.Should().Be(JsonValueKind.Null);
    }

    [Fact]
    public void A_file_that_is_no_KVM_is_no_crash()
    {
        var act = () => Doctor.Examine(new DoctorHost(), "/dev/null");
        act.Should().NotThrow().Which.Engines.Single(e => e.Name == "kvm").Usable.Should().BeFalse();
    }

    [SkippableFact]
    public void With_KVM_every_probe_has_a_result()
    {
        var error = KvmSystem.TryOpen("/dev/kvm", out var system);
        Skip.If(system is null, $"needs /dev/kvm: {Errno.TextOf(error)}");
        system.Dispose();
        var report = Doctor.Examine();
        report.ApiVersion.Should().Be(12);
        report.Probes.Should().BeEquivalentTo(new { RealMode = true, ProtectedMode = true, LongMode = true, UserMode = true });
        report.Probes.ExitMicroseconds.Should().BeInRange(0.2, 10_000);
        report.Probes.Profile!.NanosecondsPerKernelInstruction.Should().BePositive();
        report.Capabilities.Should().HaveCountGreaterThan(100).And.OnlyContain(c => c.Name.StartsWith("KVM_CAP_") && c.Gives.Length > 0);
        report.Checks.Should().NotContain(c => c.Status == DoctorStatus.Failed);
        report.Checks.Select(c => c.Id).Should().OnlyHaveUniqueItems().And.BeEquivalentTo(
            "processor", "device", "api", "machine", "backend", "capabilities", "cpu-modes", "kernel-code", "exit-cost", "quirks", "vcpus", "nested-guests",
            "memory", "huge-pages", "libraries", "user-network", "runtime-folder");
        report.Checks.Where(c => c.Status != DoctorStatus.Ok).Should().OnlyContain(c => c.Cause != null);
        report.ExitCode.Should().Be(0);
    }

    [Fact]
    public void A_missing_capability_that_is_needed_fails_and_one_that_is_useful_warns()
    {
        var all = KvmCaps.All.ToArray().Select(c => new DoctorCapability(c.Name, 1, c.Gives, true)).ToList();
        DoctorCapabilities.Check(all).Status.Should().Be(DoctorStatus.Ok);
        var noIrqfd = DoctorCapabilities.Check([.. all.Select(c => c.Name == "KVM_CAP_IRQFD" ? c with { Value = 0 } : c)]);
        (noIrqfd.Status, noIrqfd.Cause).Should().Be((DoctorStatus.Warning, "missing, used where they are: KVM_CAP_IRQFD"));
        var noChips = DoctorCapabilities.Check([.. all.Select(c => c.Name == "KVM_CAP_IRQCHIP" ? c with { Value = 0 } : c)]);
        (noChips.Status, noChips.Cause).Should().Be((DoctorStatus.Failed, "missing: KVM_CAP_IRQCHIP"));
    }

    [Fact]
    public void Every_quirk_and_slowness_is_a_warning_that_says_what_is_done()
    {
        var profile = new HostProfile { Backend = "pvm", NanosecondsPerKernelInstruction = 600, SyscallBroken = true, GivesUpOnInstructions = true };
        var probes = new DoctorProbes { RealMode = true, ProtectedMode = true, LongMode = true, UserMode = true, ExitMicroseconds = 80, Profile = profile };
        var checks = DoctorProbeChecks.All(probes).ToDictionary(c => c.Id);
        checks["cpu-modes"].Status.Should().Be(DoctorStatus.Ok);
        checks["kernel-code"].Finding.Should().Be("interpreted: 600 ns an instruction");
        checks["exit-cost"].Status.Should().Be(DoctorStatus.Warning);
        checks["quirks"].Finding.Should().Contain("repaired").And.Contain("completed in user space");
    }

    [Fact]
    public void A_plain_KVM_is_ok_everywhere()
    {
        var probes = new DoctorProbes
        {
            RealMode = true,
            ProtectedMode = true,
            LongMode = true,
            UserMode = true,
            ExitMicroseconds = 1.2,
            Profile = new HostProfile { Backend = "vmx", NanosecondsPerKernelInstruction = 0.4 },
        };
        DoctorProbeChecks.All(probes).Should().OnlyContain(c => c.Status == DoctorStatus.Ok);
    }

    [Fact]
    public void A_mode_that_does_not_run_fails_unless_it_is_real_mode()
    {
        var none = DoctorProbeChecks.All(new DoctorProbes()).ToDictionary(c => c.Id);
        none["cpu-modes"].Status.Should().Be(DoctorStatus.Failed);
        none["cpu-modes"].Finding.Should().Be("not: real, protected, 64-bit, 64-bit user");
        none["kernel-code"].Status.Should().Be(DoctorStatus.Failed);
        none["exit-cost"].Status.Should().Be(DoctorStatus.Failed);
        var real = DoctorProbeChecks.All(new DoctorProbes { RealMode = false, ProtectedMode = true, LongMode = true, UserMode = true }).First();
        real.Status.Should().Be(DoctorStatus.Warning);
    }

    [Fact]
    public void A_probe_that_never_comes_back_has_no_result()
    {
        using var never = new ManualResetEventSlim();
        DoctorProber.Guarded<bool?>(() =>
        {
            never.Wait();
            return true;
        }, TimeSpan.FromMilliseconds(20)).Should().BeNull();
        never.Set();
    }

    [Fact]
    public void A_probe_that_KVM_refuses_has_no_result() =>
        DoctorProber.Guarded<bool?>(() => throw new KvmException("KVM_CREATE_VM", Errno.EBUSY)).Should().BeNull();
}
