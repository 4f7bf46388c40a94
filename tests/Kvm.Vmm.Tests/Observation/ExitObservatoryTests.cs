using Kvm.Interop;
using Kvm.Tests.Support;
using Kvm.Vmm.Observation;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Scheduling;
using Kvm.X86.Engine;

namespace Kvm.Vmm.Tests.Observation;

public class ExitObservatoryTests
{
    [Fact]
    public void Exits_are_counted_by_reason_and_by_what_they_went_to()
    {
        var observatory = new ExitObservatory(0);
        for (int i = 0; i < 100; i++)
        {
            observatory.Begin(KvmExit.Io, 0x3f8, true);
            observatory.End();
            observatory.Begin(KvmExit.Mmio, 0xfee0_0000, false);
            observatory.End();
        }

        observatory.Begin(KvmExit.Hlt);
        observatory.End();
        observatory.Counts.Total.Should().Be(201);
        observatory.Counts[(uint)KvmExit.Hlt].Should().Be(1);
        var details = ExitDetailReport.Of([observatory, observatory]);
        details.Accesses.Should().Equal(new AccessReport("io", 0x3f8, true, 200, "COM1_DATA"), new AccessReport("mmio", 0xfee0_0000, false, 200, "local-apic"));
        details.OtherAccesses.Should().Be(0);
    }

    [Fact]
    public void Times_are_a_sample_of_one_exit_in_sixteen()
    {
        var observatory = new ExitObservatory(3);
        for (int i = 0; i < 16_000; i++)
        {
            observatory.Begin(KvmExit.Io, 0x80, true);
            observatory.End();
        }

        var times = ExitDetailReport.Of([observatory]).Latencies;
        times.Keys.Should().Equal("io");
        times["io"].Samples.Should().BeInRange(900, 1_100);
        times["io"].LongestNs.Should().BeGreaterThanOrEqualTo(times["io"].P99Ns).And.BePositive();
    }

    [Fact]
    public void Reasons_without_a_histogram_of_their_own_share_one()
    {
        var observatory = new ExitObservatory(0);
        foreach (var reason in new[] { KvmExit.Intr, KvmExit.Unknown, (KvmExit)999 })
        {
            for (int i = 0; i < 100; i++)
            {
                observatory.Begin(reason);
                observatory.End();
            }
        }

        ExitDetailReport.Of([observatory]).Latencies.Keys.Should().Equal("other");
        observatory.Counts.Total.Should().Be(300);
    }

    [Fact]
    public void An_exit_allocates_nothing()
    {
        var observatory = new ExitObservatory(1);
        Allocation.Of(i =>
        {
            observatory.Begin(KvmExit.Mmio, (ulong)i * 4096, (i & 1) != 0);
            observatory.End();
        }).Should().Be(0);
    }

    [Fact]
    public void No_access_is_lost_however_many_addresses_a_guest_tries()
    {
        var table = new AccessTable();
        for (uint i = 0; i < 100_000; i++)
        {
            table.Add(KvmExit.Mmio, 0xc000_0000 + (ulong)(i * 8), false);
            table.Add(KvmExit.Io, 0x60, false);
        }

        var counts = new Dictionary<AccessKey, long>();
        table.AddTo(counts);
        counts.Count.Should().BeLessThanOrEqualTo(512);
        (counts.Values.Sum() + table.Others).Should().Be(200_000);
        counts[new AccessKey(KvmExit.Io, 0x60, false)].Should().Be(100_000, "what is asked for often keeps its place");
    }

    [Fact]
    public void Reads_and_writes_and_reasons_are_told_apart_at_the_same_number()
    {
        var table = new AccessTable();
        AccessKey[] keys = [new(KvmExit.Io, 0x10, false), new(KvmExit.Io, 0x10, true), new(KvmExit.Mmio, 0x10, true), new(KvmExit.X86Wrmsr, 0x10, true), new(KvmExit.Mmio, (1UL << 56) - 1, true)];
        foreach (var key in keys)
            table.Add(key.Reason, key.Address, key.IsWrite);
        var counts = new Dictionary<AccessKey, long>();
        table.AddTo(counts);
        counts.Keys.Should().BeEquivalentTo(keys);
        counts.Values.Should().OnlyContain(count => count == 1);
    }

    [Fact]
    public void A_software_processor_s_accesses_are_exits_too()
    {
        IAccessObserver observer = new ExitObservatory(0);
        observer.Begin(true, 0x80, 1, true, 0x1000);
        observer.End(1);
        observer.Begin(false, 0xfec0_0000, 4, false, 0x1000);
        observer.End(0);
        ExitDetailReport.Of([(ExitObservatory)observer]).Accesses.Select(a => (a.Reason, a.Name)).Should().Equal(("io", "POST_CODE"), ("mmio", "io-apic"));
    }

    [Fact]
    public void Histograms_add_up()
    {
        var (all, one, two) = (new LatencyCounts(), new LatencyCounts(), new LatencyCounts());
        one.Add(100);
        two.Add(300);
        all.Add(one);
        all.Add(two);
        (all.Count, all.Sum, all.Longest).Should().Be((2, 400, 300));
        all.Percentile(0.5).Should().BeInRange(100, 112);
    }
}
