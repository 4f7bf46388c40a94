using System.Text;
using Kvm.Vmm.Tracing;

namespace Kvm.Vmm.Tests.Tracing;

public class TraceReaderTests
{
    private static readonly ExitSample[] Exits = [Samples.Serial(1), Samples.Serial(2, (byte)'B'), Samples.Serial(3, (byte)'C', vcpu: 1) with { GoesOn = false }];

    private static byte[] Recorded() => Samples.Document(TraceFormat.Binary, long.MaxValue, null, Exits);

    private static ReplayResult Replay(byte[] trace, out string text, TraceFilter? filter = null)
    {
        using var output = new MemoryStream();
        try
        {
            return TraceReader.Replay(new MemoryStream(trace), "t", filter ?? new TraceFilter(), TraceFormat.Text, output, long.MaxValue, null);
        }
        finally
        {
            text = Encoding.UTF8.GetString(output.ToArray());
        }
    }

    [Fact]
    public void A_recorded_trace_reads_as_it_would_have_been_shown()
    {
        Replay(Recorded(), out string text).Should().Be(new ReplayResult(3, 3, 0));
        text.Should().Be(Samples.Text(TraceFormat.Text, Exits));
    }

    [Fact]
    public void Registers_that_did_not_change_are_the_vCPU_s_last_ones()
    {
        var second = Samples.Serial(2) with { Changed = 0, Reason = Kvm.Interop.KvmExit.Mmio, Address = 0x3f8 };
        Samples.SetCode(ref second, 0, 0x88, 0x02); // mov [rdx],al: found by the value of rdx
        byte[] trace = Samples.Document(TraceFormat.Binary, long.MaxValue, null, Samples.Serial(1), second);
        Replay(trace, out string text);
        text.Should().Contain("mov [rdx],al");
    }

    [Fact]
    public void Filters_hold_for_replays()
    {
        Replay(Recorded(), out _, new TraceFilter { From = 2 }).Shown.Should().Be(2);
        Replay(Recorded(), out _, new TraceFilter { Count = 1 }).Shown.Should().Be(1);
        Replay(Recorded(), out _, new TraceFilter { Only = ["mmio"] }).Shown.Should().Be(0);
        Replay(Recorded(), out _, new TraceFilter { Ports = [new AddressRange(0x3f0, 16)] }).Shown.Should().Be(3);
        Replay(Recorded(), out _, new TraceFilter { Addresses = [new AddressRange(0x3f0, 16)] }).Shown.Should().Be(0);
    }

    [Fact]
    public void A_trace_that_was_cut_anywhere_shows_what_is_there()
    {
        byte[] trace = Recorded();
        for (int length = BinaryTraceFormat.HeaderSize; length < trace.Length; length++)
        {
            var result = Replay(trace[..length], out _);
            result.Lost.Should().BeNull("it has no end");
            result.Exits.Should().BeInRange(0, 3);
        }
    }

    [Fact]
    public void What_is_no_trace_is_told_with_its_offset()
    {
        for (int length = 0; length < BinaryTraceFormat.HeaderSize; length++)
            Refused(Recorded()[..length]).Should().Contain("does not begin as a trace");
        byte[] later = Recorded();
        later[12] = 2;
        Refused(later).Should().Contain("version is 2");
        byte[] longRecord = Recorded();
        (longRecord[16], longRecord[17]) = (0xff, 0xff);
        Refused(longRecord).Should().Contain("offset 0x12").And.Contain("65535 bytes");
    }

    [Fact]
    public void A_lying_trace_is_refused_or_read_and_never_breaks()
    {
        byte[] good = Recorded();
        var random = new Random(7);
        for (int i = 0; i < 5_000; i++)
        {
            byte[] bad = (byte[])good.Clone();
            for (int flips = random.Next(1, 4); flips > 0; flips--)
                bad[random.Next(bad.Length)] = (byte)random.Next(256);
            try
            {
                Replay(bad, out string text).Exits.Should().BeLessThanOrEqualTo(3);
                text.Should().NotContain("\u001b");
            }
            catch (VmmException e)
            {
                e.Error.Id.Should().Be("KVM0028");
            }
        }
    }

    private static string Refused(byte[] trace)
    {
        var act = () => Replay(trace, out _);
        return act.Should().Throw<VmmException>().Where(e => e.Error.Id == "KVM0028" && e.ExitCode == 3).Which.Message;
    }
}
