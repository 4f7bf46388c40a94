using System.Diagnostics;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Tests.Host;

public class ProcessClockTests
{
    private static TimeSpan Ms(double milliseconds) => TimeSpan.FromMilliseconds(milliseconds);

    [Theory]
    [InlineData(1000, 1006, 2, 1004)] // computed for 2 ms: started 2 ms ago
    [InlineData(1000, 1003, 5, 1000)] // never before its tick
    [InlineData(1000, 1500, 3, 1010)] // waited for something: at the end of its tick at the latest
    public void The_start_lies_in_the_kernel_s_tick_and_no_later_than_the_CPU_time_allows(double tick, double now, double used, double start) =>
        ProcessClock.Refine(Ms(tick), Ms(now), Ms(used)).Should().Be(Ms(start));

    [Fact]
    public void The_start_of_this_process_is_the_class_library_s_to_a_tick()
    {
        using var process = Process.GetCurrentProcess();
        var expected = DateTime.Now - process.StartTime;
        ProcessClock.SinceProcessStart().Should().BeCloseTo(expected, Ms(100));
    }

    [Fact]
    public void Time_goes_on()
    {
        var first = ProcessClock.SinceProcessStart();
        SpinWait.SpinUntil(() => ProcessClock.SinceProcessStart() > first, 1000).Should().BeTrue();
    }
}
