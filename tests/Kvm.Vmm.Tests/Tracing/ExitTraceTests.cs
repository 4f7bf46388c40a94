using System.Text;
using Kvm.Interop;
using Kvm.Vmm.Tracing;

namespace Kvm.Vmm.Tests.Tracing;

public class ExitTraceTests
{
    /// <summary>Takes nothing until it is let.</summary>
    private sealed class Held : MemoryStream
    {
        public ManualResetEventSlim Writing { get; } = new();

        public ManualResetEventSlim Let { get; } = new();

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            Writing.Set();
            Let.Wait();
            base.Write(buffer);
        }

        protected override void Dispose(bool disposing)
        {
            Writing.Dispose();
            Let.Dispose();
            base.Dispose(disposing);
        }
    }

    private sealed class Broken : MemoryStream
    {
        public override void Write(ReadOnlySpan<byte> buffer) => throw new IOException("full");
    }

    [Fact]
    public void Exits_are_written_in_the_order_they_came()
    {
        var output = new MemoryStream();
        using var trace = new ExitTrace(new TraceFilter(), TraceFormat.Text, output, long.MaxValue, null);
        for (int i = 1; i <= 10_000; i++)
            trace.Add(Samples.Serial(i));
        trace.Finish();
        (trace.Recorded, trace.Lost).Should().Be((10_000, 0));
        Encoding.UTF8.GetString(output.ToArray()).Split('\n').Where(l => l.StartsWith('#')).Select(l => long.Parse(l.AsSpan(1, l.IndexOf(' ', StringComparison.Ordinal) - 1)))
            .Should().Equal(Enumerable.Range(1, 10_000).Select(n => (long)n));
    }

    [Fact]
    public void A_vCPU_waits_for_room_until_the_machine_ends_and_what_found_none_is_counted()
    {
        var output = new Held();
        var trace = new ExitTrace(new TraceFilter(), TraceFormat.Binary, output, long.MaxValue, null);
        const int many = 20_000;
        var vcpu = new Thread(() =>
        {
            for (int i = 1; i <= many; i++)
                trace.Add(Samples.Serial(i));
        });
        vcpu.Start();
        output.Writing.Wait();
        trace.Release();
        vcpu.Join();
        output.Let.Set();
        trace.Finish();
        (trace.Recorded + trace.Lost).Should().Be(many);
        trace.Lost.Should().BePositive();
        trace.Dispose();
    }

    [Fact]
    public void An_output_that_fails_is_told_once_and_nobody_waits_for_it()
    {
        var told = 0;
        using var trace = new ExitTrace(new TraceFilter(), TraceFormat.Binary, new Broken(), long.MaxValue, null);
        trace.OutputFailed += _ => told++;
        for (int i = 1; i <= 20_000; i++)
            trace.Add(Samples.Serial(i));
        trace.Finish();
        told.Should().Be(1);
        trace.Lost.Should().BePositive();
    }

    [Fact]
    public void After_so_many_exits_the_trace_is_complete()
    {
        var complete = 0;
        using var trace = new ExitTrace(new TraceFilter { From = 3, Count = 2, Only = ["io"] }, TraceFormat.Text, new MemoryStream(), long.MaxValue, null);
        trace.Complete += () => complete++;
        trace.Shows(1, KvmExit.Io, 0).Should().BeFalse("it begins with the third");
        trace.Shows(3, KvmExit.Hlt, 0).Should().BeFalse();
        trace.Shows(4, KvmExit.Io, 0).Should().BeTrue();
        complete.Should().Be(0);
        trace.Shows(5, KvmExit.Io, 0).Should().BeTrue();
        trace.Shows(6, KvmExit.Io, 0).Should().BeFalse();
        trace.Shows(7, KvmExit.Io, 0).Should().BeFalse();
        complete.Should().Be(1);
    }

    [Fact]
    public void Every_name_of_a_reason_can_be_asked_for() =>
        TraceFilter.ReasonNames.Should().Contain(["io", "mmio", "hlt", "wrmsr", "internal-error", "debug"]).And.OnlyHaveUniqueItems();
}
