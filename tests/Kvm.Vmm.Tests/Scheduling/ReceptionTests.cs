using Kvm.Sched;
using Kvm.Vmm.Scheduling;
using Kvm.Vmm.Scheduling.Service;

namespace Kvm.Vmm.Tests.Scheduling;

/// <summary>The door of a real dispatcher, with more guests than a host has descriptors for.</summary>
public sealed class ReceptionTests : IDisposable
{
    private readonly Dispatcher _dispatcher = new(new DispatcherSettings { Policy = "rr", RealTime = false, Slots = 8 });
    private readonly List<SchedulingEvent> _events = [];

    public void Dispose() => _dispatcher.Dispose();

    [Fact]
    public void A_hundred_thousand_wait_each_with_a_reason_and_one_more_is_refused()
    {
        var reception = new Reception(_dispatcher, new AdmissionLimits(1 << 30, 4), null);
        var guests = Enumerable.Range(0, 100_004).Select(i => Guest($"g{i}", i, 1)).ToArray();
        foreach (var guest in guests.Take(4))
            reception.Ask(guest, mayWait: true, out _).Should().Be(AdmissionAnswer.Admitted);

        int queued = guests.Skip(4).Count(guest => reception.Ask(guest, mayWait: true, out string why) == AdmissionAnswer.Queued && why.StartsWith("it asks for 1 MiB and 1 vCPUs; 4 MiB and 4 vCPUs of", StringComparison.Ordinal));

        queued.Should().Be(100_000);
        reception.Ask(Guest("last", 9, 1), mayWait: true, out string refused).Should().Be(AdmissionAnswer.Refused);
        refused.Should().Be("100000 guests wait already");
        reception.View().Queue.Should().HaveCount(1000);
        SchedulingText.Table(_dispatcher.Look(), reception.View()).Should().Contain("100000 wait to be admitted").And.Contain("\n1  g4 (process 4), since ").And.EndWith("and 99980 more\n");
        reception.Why("g100003").Should().Contain("100000 of 100000: it asks for");

        // Most give up, from the end and from the middle; the others come in as places become free, in their order.
        foreach (var guest in guests.Skip(50_000).Concat(guests.Skip(2_004).Take(47_996)))
            reception.Leave(guest);
        for (int i = 0; i < 2_000; i++)
        {
            reception.Leave(guests[i]);
            var next = reception.Next(out _);
            next.Should().BeSameAs(guests[i + 4]);
            next!.Vm.Should().NotBeNull();
        }

        reception.Waiting.Should().Be(0);
        reception.Guests.Should().Be(4);
    }

    [Fact]
    public void A_small_guest_behind_a_large_one_is_told_who_waits_before_it()
    {
        var reception = new Reception(_dispatcher, new AdmissionLimits(100 << 20, 8), _events.Add);
        reception.Ask(Guest("in", 1, 90), false, out _);
        reception.Ask(Guest("large", 2, 50), true, out _);
        reception.Ask(Guest("small", 3, 5), true, out string why).Should().Be(AdmissionAnswer.Queued);

        why.Should().Be("1 guests wait before it");
        reception.Why("small").Should().MatchRegex(@"^small waits to be admitted since \d+ ms, 2 of 2: 1 guests wait before it\.\n$");
        reception.Why("2").Should().StartWith("large waits");
        reception.Why("in").Should().BeNull("it is in, and the dispatcher tells of it");
        _events.Select(e => (e.Kind, e.Subject)).Should().Equal(("admitted", "in"), ("queued", "large"), ("queued", "small"));
    }

    [Fact]
    public void Where_the_table_is_full_a_guest_is_refused_at_the_door_or_when_its_turn_comes()
    {
        var reception = new Reception(_dispatcher, new AdmissionLimits(1 << 30, 100), _events.Add);
        Applicant first = Guest("first", 1, 600, vcpus: 8), second = Guest("second", 2, 500);
        reception.Ask(first, false, out _).Should().Be(AdmissionAnswer.Admitted);

        reception.Ask(Guest("third", 3, 1), false, out string why).Should().Be(AdmissionAnswer.Refused);
        why.Should().Be("the scheduler's table is full");

        reception.Ask(second, true, out _).Should().Be(AdmissionAnswer.Queued);
        var filler = _dispatcher.Join(new SchedulingRequest { Job = new JobSpec { Vcpus = 1 } });
        filler.Should().BeNull();
        reception.Leave(first);
        _dispatcher.Join(new SchedulingRequest { Job = new JobSpec { Vcpus = 8 } }).Should().NotBeNull();
        reception.Next(out why)!.Vm.Should().BeNull();
        why.Should().Be("the scheduler's table is full");
        reception.Guests.Should().Be(0);
        reception.Next(out _).Should().BeNull();
    }

    private static Applicant Guest(string name, int process, int mib, int vcpus = 1) => new(
        new SchedulingRequest { Name = name, ProcessId = process, Job = new JobSpec { Vcpus = vcpus, Needs = new ResourceVector(0, (double)mib * (1 << 20)) } }, (ulong)process);
}
