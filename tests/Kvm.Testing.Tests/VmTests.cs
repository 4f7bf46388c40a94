using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Testing.Tests;

/// <summary>The library in one call.</summary>
public sealed class VmTests
{
    [VmFact]
    public async Task A_kernel_runs_to_its_end_and_its_console_is_written_to_the_stream()
    {
        var image = GuestImage.Small;
        using var console = new MemoryStream();
        var result = await Vm.RunAsync(image.KernelPath, image.InitrdPath, "quiet", console);
        result.Outcome.Should().Be(VmOutcome.PowerOff);
        Encoding.UTF8.GetString(console.ToArray()).Should().Contain("GUEST-UP 6.1");
    }

    [VmFact]
    public async Task A_run_that_is_cancelled_ends_its_guest()
    {
        var image = GuestImage.Small;
        using var cancellation = new CancellationTokenSource();
        await using var console = new CancellingStream(cancellation);
        await FluentActions.Awaiting(() => Vm.RunAsync(image.KernelPath, image.InitrdPath, "kvmsharp.run=loop", console, cancellation.Token))
            .Should().ThrowAsync<OperationCanceledException>();
    }

    [VmFact]
    public async Task A_stream_that_takes_no_more_ends_the_guest()
    {
        var image = GuestImage.Small;
        await using var console = new MemoryStream(new byte[10]);
        await FluentActions.Awaiting(() => Vm.RunAsync(image.KernelPath, image.InitrdPath, console: console)).Should().ThrowAsync<IOException>();
    }

    [Fact]
    public async Task A_kernel_that_is_not_there_is_a_typed_error() =>
        await FluentActions.Awaiting(() => Vm.RunAsync("/no/such/kernel")).Should().ThrowAsync<VmmException>();

    /// <summary>Cancels when the guest says that it is up.</summary>
    private sealed class CancellingStream(CancellationTokenSource cancellation) : MemoryStream
    {
        public override void Write(ReadOnlySpan<byte> buffer)
        {
            base.Write(buffer);
            if (Encoding.UTF8.GetString(ToArray()).Contains("GUEST-UP", StringComparison.Ordinal))
                cancellation.Cancel();
        }
    }
}
